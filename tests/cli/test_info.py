"""``info`` tells a store or a slide in tables that add up, in JSON, and with the exit code that scripts need."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from shapely.geometry import box
from typer.testing import CliRunner, Result

from tests.conftest import coordinate_image, run_python, save_svs, write_geojson
from w2wpath.cli import info
from w2wpath.config import TileSettings
from w2wpath.errors import StoreError
from w2wpath.tiles.cohort import Entry, tile
from w2wpath.tiles.info import store_info
from w2wpath.tiles.store import TileStore

Call = Callable[..., Result]
ROIS = [("S", box(0, 0, 256, 192)), ("T", box(224, 0, 576, 192))]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call the command in the test's own folder, where ``tiles.zarr`` holds slides ``a`` and ``b``."""
    monkeypatch.chdir(tmp_path)
    image = coordinate_image(640, 512)
    for name, patient, mpp in (("a", "P1", 0.5), ("b", None, 0.25)):
        slide = save_svs(Path(f"{name}.svs"), image, mpp=mpp)
        rois = write_geojson(Path(f"{name}.geojson"), ROIS)
        tile("tiles.zarr", [Entry(slide, rois, patient)], TileSettings(tile_px=64))
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command(info.NAME)(info.run)
    app.callback()(lambda: None)
    return lambda *words: CliRunner().invoke(app, ["info", *words])


def test_a_store_is_told_in_tables(call: Call) -> None:
    said = call()
    assert said.exit_code == 0, said.output
    lines = said.stdout.splitlines()
    assert lines[:2] == [
        "tiles.zarr: tile store, schema 1",
        "tiles: 64 px at 0.5 um/px, step 64 px, lanczos3, zstd",
    ]
    assert "label_share 0.5" in lines[2]
    assert "strict" not in lines[2]
    assert lines[3].startswith("on disk: ")
    assert lines[4:] == [
        "",
        "class  tiles  share  patients  slides",
        "-----  -----  -----  --------  ------",
        "S         12  37.5%         2       2",
        "T         20  62.5%         2       2",
        "all       32                2       2",
        "without a label: 5 (1 border, 4 conflict)",
        "",
        "patient  slides  tiles  S   T",
        "-------  ------  -----  -  --",
        "P1            1     27  9  15",
        "b             1     10  3   5",
        "",
        "slide  patient  tiles  S   T  border  conflict  damaged  over edge  um/px  level  frame   repaired  ignored",
        "-----  -------  -----  -  --  ------  --------  -------  ---------  -----  -----  ------  --------  -------",
        "a      P1          27  9  15       0         3        0          0    0.5      0  qupath         0        0",
        "b      b           10  3   5       1         1        0          0   0.25      0  qupath         0        0",
        "",
        "differs: um/px of the slides: 0.25 (b); 0.5 (a)",
        "",
        "1 slide(s) without a patient: each counts as a patient of its own",
        "not cleaned yet. Next: w2wpath clean --folds 5",
    ]


def test_json_is_all_that_is_on_stdout(call: Call) -> None:
    said = call("tiles.zarr", "--json")
    assert (said.exit_code, said.stderr) == (0, "")
    assert json.loads(said.stdout) == store_info(TileStore.open("tiles.zarr"))


def test_a_damaged_slide_is_warned_of_and_the_others_are_told(call: Call) -> None:
    (Path("tiles.zarr") / "slides" / "a" / "zarr.json").write_text("{}")
    said = call("tiles.zarr")
    assert said.exit_code == 3
    assert said.stderr.startswith("warning: skipped: tiles.zarr: the tiles of slide 'a' cannot be read (")
    assert "1 slide(s) cannot be read: tile them again" in said.stdout.splitlines()
    (Path("tiles.zarr") / "slides" / "b" / "zarr.json").write_text("{}")
    assert call("tiles.zarr").exit_code == 1


def test_a_slide_is_told_line_by_line(call: Call) -> None:
    said = call("b.svs")
    assert said.exit_code == 0
    found = json.loads(call("b.svs", "--json").stdout)
    assert said.stdout.splitlines() == [
        f"b.svs: slide, {found['bytes'] / 1000:.3g} kB",
        "size: 640 x 512 px at level 0",
        "um/px: 0.25 (from header), 0.16 x 0.128 mm",
        "bounds: none, QuPath's frame is the slide's",
        "vendor: aperio",
        "objective-power: 20",
        "mpp-x: 0.25",
        "mpp-y: 0.25",
        f"fingerprint: {found['fingerprint']}",
        "tiles of the default settings: 224 px at 0.5 um/px, 448 level-0 pixels, read from level 0",
        "",
        "level  width  height  downsample",
        "-----  -----  ------  ----------",
        "    0    640     512  1",
        "    1    160     128  4",
    ]


def test_the_scale_of_a_slide_can_be_given(call: Call) -> None:
    save_svs(Path("c.svs"), coordinate_image(640, 512), mpp=None)
    assert "um/px: not known (pass --slide-mpp)" in call("c.svs").stdout.splitlines()
    assert "um/px: 0.5 (from flag), 0.32 x 0.256 mm" in call("c.svs", "--slide-mpp", "0.5").stdout.splitlines()


def test_bounds_are_told(call: Call, bounded_slide: Path) -> None:
    assert "bounds, to which QuPath crops: 512 x 384 px from x0=256, y0=128" in call(str(bounded_slide)).stdout


def test_nothing_there_is_an_error_in_words(call: Call) -> None:
    error = call("no.zarr").exception
    assert isinstance(error, StoreError)
    assert str(error) == "no.zarr: no such tile store or slide. Check the path."


@pytest.mark.parametrize(
    ("size", "said"), [(999, "999 bytes"), (1000, "1 kB"), (25_300_000, "25.3 MB"), (10**13, "10 TB")]
)
def test_sizes_are_short(size: int, said: str) -> None:
    assert info._size(size) == said


def test_the_command_loads_nothing_heavy() -> None:
    code = "import sys, w2wpath.cli.info; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = run_python(code)
    assert loaded.returncode == 0
    assert set(loaded.stdout.split()) & {"numpy", "zarr", "PIL", "shapely", "openslide", "pydantic", "torch"} == set()
