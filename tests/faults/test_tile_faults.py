"""What kills, company and damaged slides do to `w2wpath tile`: the same command again sets all right."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from shapely.geometry import box

from tests.conftest import ROOT, file_bytes, noise_image, save_svs, tear, write_geojson
from tests.contracts.made import CENTIMETRE, write_jpeg_page
from w2wpath.slides.source_tiles import tiled_tiff
from w2wpath.tiles.store import TileStore

WIDTH, HEIGHT = 640, 512
HEX = "[0-9a-f]{32}"
CURE = "The file is damaged there; scan or copy it again."
TABLE = """\
slide  status{pad}  Tumor  border  conflict
-----  ------{dash}  -----  ------  --------
{rows}
import reports, alignment checks and previews (look at the pictures): {store}.imports
store: {store}. Next: w2wpath clean --folds 5
"""


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "w2wpath", "tile", *map(str, args), "--tile-px", "64"]


def start(*args: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command(*args), cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*args), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def noise_svs(path: Path, seed: int = 0) -> Path:
    return save_svs(path, noise_image(WIDTH, HEIGHT, seed))


@dataclass(frozen=True)
class Cohort:
    """Two slides, and the store of a run that nothing disturbed."""

    folder: Path
    store: Path
    before: float
    """Seconds until the store appeared."""
    after: float
    """Seconds from then to the end of the run."""

    @property
    def table(self) -> Path:
        return self.folder / "cohort.csv"

    def one(self, name: str, store: Path) -> tuple[object, ...]:
        """Arguments that tile one slide as the table would."""
        patient = {"a": "P1", "b": "P2"}[name]
        return self.folder / f"{name}.svs", self.folder / "r.geojson", "--patient", patient, "-o", store


def made_cohort(folder: Path) -> Path:
    for seed, name in enumerate("ab"):
        noise_svs(folder / f"{name}.svs", seed)
    write_geojson(folder / "r.geojson", [("Tumor", box(0, 0, WIDTH, HEIGHT))])
    (folder / "cohort.csv").write_text("slide,rois,patient\na.svs,r.geojson,P1\nb.svs,r.geojson,P2\n")
    return folder / "cohort.csv"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("cohort")
    table, store = made_cohort(folder), folder / "undisturbed" / "tiles.zarr"
    began = time.monotonic()
    process = start("--cohort", table, "-o", store)
    while not store.exists() and process.poll() is None:
        time.sleep(0.002)
    appeared = time.monotonic()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return Cohort(folder, store, appeared - began, time.monotonic() - appeared)


# kills ----------------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("flags", [(), ("--overwrite",)], ids=["add", "overwrite"])
def test_a_run_killed_again_and_again_ends_as_if_nothing_had_happened(
    cohort: Cohort, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    store, dice = tmp_path / "tiles.zarr", random.Random(len(flags))
    undisturbed = file_bytes(cohort.store)
    for _ in range(4):
        process = start("--cohort", cohort.table, "-o", store, *flags)
        time.sleep(cohort.before + dice.uniform(-0.1, 1) * cohort.after)
        process.kill()
        process.communicate(timeout=60)
        if store.exists():
            for name in TileStore.open(store).slides():
                assert file_bytes(store / "slides" / name) == file_bytes(cohort.store / "slides" / name)
    ran = run("--cohort", cohort.table, "-o", store, *flags)
    assert ran.returncode == 0, ran.stderr
    assert file_bytes(store) == undisturbed
    # a killed run cannot clear up: what it had not finished stays beside the store, under names that nothing reads
    beside = {path.name for path in tmp_path.iterdir()}
    known = {path.name for path in cohort.store.parent.iterdir()}
    assert known <= beside
    assert all(re.fullmatch(rf"\.tiles\.zarr\.(scratch|{HEX}\.new)", name) for name in beside - known)
    scratch = TileStore.open(store).scratch
    left = [path.name for path in scratch.iterdir()] if scratch.exists() else []
    assert all(re.fullmatch(rf"[ab]-{HEX}", name) for name in left)


def test_a_run_that_nothing_disturbs_leaves_nothing_beside_the_store(cohort: Cohort) -> None:
    names = {path.name for path in cohort.store.parent.iterdir()}
    assert names == {"tiles.zarr", "tiles.zarr.imports", "tiles.zarr.provenance.jsonl"}


# company --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slides", ["ab", "aa"], ids=["different slides", "the same slide"])
def test_two_runs_at_once_leave_what_one_after_the_other_leaves(cohort: Cohort, tmp_path: Path, slides: str) -> None:
    store = tmp_path / "tiles.zarr"
    both = [start(*cohort.one(name, store)) for name in slides]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    found = file_bytes(store)
    assert found == {
        name: content
        for name, content in file_bytes(cohort.store).items()
        if not name.startswith("slides") or Path(name).parts[1] in slides
    }
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"tiles.zarr", "tiles.zarr.imports", "tiles.zarr.provenance.jsonl"}
    assert len((tmp_path / "tiles.zarr.provenance.jsonl").read_text().splitlines()) == 2


# damaged slides -------------------------------------------------------------------------------------------------------


def test_a_torn_source_tile_costs_its_tiles_and_running_again_tries_only_that_slide(tmp_path: Path) -> None:
    table, store = made_cohort(tmp_path), tmp_path / "tiles.zarr"
    whole = (tmp_path / "a.svs").read_bytes()
    tear(tmp_path / "a.svs", {(4, 1)})
    lost = [[512, 128], [576, 128], [512, 192], [576, 192]]
    words = (
        f"warning: tiles lost: {tmp_path / 'a.svs'}: level 0, block (4, 1) cannot be decoded "
        f"(it has 9 of 49152 bytes). {CURE}"
    )
    first = run("--cohort", table, "-o", store)
    assert first.returncode == 3
    assert first.stdout == TABLE.format(
        pad="  ",
        dash="--",
        store=store,
        rows="a      tiled        76       0         0\n"
        "b      tiled        80       0         0\n"
        "all    2 slides    156       0         0",
    )
    assert [line for line in first.stderr.splitlines() if line.startswith("warning: tiles lost")] == [words]
    opened = TileStore.open(store)
    assert sorted(opened.attributes("a")["damaged"]) == sorted(lost)
    assert opened.attributes("a")["counts"] == {"tiles": 76, "by_class": {"Tumor": 76}, "border": 0, "conflict": 0}
    assert "damaged" not in opened.attributes("b")
    image, stored = noise_image(WIDTH, HEIGHT, 0), opened.read("a")
    assert sorted([*map(list, stored.corners), *lost]) == sorted(
        [x, y] for y in range(0, 512, 64) for x in range(0, 640, 64)
    )
    for pixels, (x0, y0) in zip(opened.images("a"), stored.corners, strict=True):
        assert np.array_equal(pixels, image[y0 : y0 + 64, x0 : x0 + 64])

    other = {path: path.stat().st_mtime_ns for path in (store / "slides" / "b").rglob("*")}
    before = file_bytes(store)
    again = run("--cohort", table, "-o", store)
    assert again.returncode == 3
    assert again.stdout == TABLE.format(
        pad="   ",
        dash="---",
        store=store,
        rows="a      tiled         76       0         0\n"
        "b      unchanged     80       0         0\n"
        "all    2 slides     156       0         0",
    )
    assert [line for line in again.stderr.splitlines() if line.startswith("warning: tiles lost")] == [words]
    assert file_bytes(store) == before
    assert {path: path.stat().st_mtime_ns for path in (store / "slides" / "b").rglob("*")} == other

    (tmp_path / "a.svs").write_bytes(whole)
    cured = run("--cohort", table, "-o", store)
    assert cured.returncode == 0, cured.stderr
    assert "tiles lost" not in cured.stderr
    assert np.array_equal(
        TileStore.open(store).images("a"),
        np.stack([image[y : y + 64, x : x + 64] for y in range(0, 512, 64) for x in range(0, 640, 64)]),
    )
    assert "damaged" not in TileStore.open(store).attributes("a")


def test_a_slide_without_one_tile_that_can_be_read_fails_in_words(tmp_path: Path) -> None:
    slide, store = noise_svs(tmp_path / "a.svs"), tmp_path / "tiles.zarr"
    tear(slide, {(4, 1)})
    rois = write_geojson(tmp_path / "r.geojson", [("Tumor", box(512, 128, 640, 256))])
    # what is torn looks like no tissue, so that the frame has to be said
    ran = run(slide, rois, "--patient", "P1", "--origin", "slide", "-o", store)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.splitlines()[-1] == (
        f"error: {store}: slide 'a': none of its 4 tiles could be read. "
        "Check the slide in a viewer, and copy it again if it is damaged."
    )
    assert TileStore.open(store).slides() == []
    assert not TileStore.open(store).scratch.exists()


def test_a_truncated_slide_is_named_and_the_other_is_tiled(tmp_path: Path) -> None:
    table, store = made_cohort(tmp_path), tmp_path / "tiles.zarr"
    slide = tmp_path / "a.tiff"
    with tifffile.TiffWriter(slide) as file:
        write_jpeg_page(file, noise_image(WIDTH, HEIGHT) // 4 + 96, "YCBCR", "420", **CENTIMETRE)
    slide.write_bytes(slide.read_bytes()[: int(tiled_tiff(slide).levels[0].offsets[12]) + 100])
    table.write_text(table.read_text().replace("a.svs", "a.tiff"))
    ran = run("--cohort", table, "-o", store)
    assert ran.returncode == 3
    assert ran.stderr.splitlines()[-1] == (
        f"warning: skipped: {slide}: not a readable slide (Cannot hash TIFF tiles: Short read of file {slide}: "
        "100 < 4096). Check that the file is whole."
    )
    assert TileStore.open(store).slides() == ["b"]


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (0.0, r"not a readable slide \(Unsupported or missing image file\)\. Check that the file is whole\."),
        (0.5, rf"pixels at x0=0, y0=0 cannot be decoded \(.+\)\. {re.escape(CURE)}"),
        (0.98, r"not a readable slide \(Cannot hash TIFF tiles: .+\)\. Check that the file is whole\."),
    ],
)
def test_a_truncated_svs_fails_in_words(tmp_path: Path, kept: float, words: str) -> None:
    slide, store = noise_svs(tmp_path / "a.svs"), tmp_path / "tiles.zarr"
    rois = write_geojson(tmp_path / "r.geojson", [("Tumor", box(0, 0, WIDTH, HEIGHT))])
    content = slide.read_bytes()
    slide.write_bytes(content[: int(len(content) * kept)])
    ran = run(slide, rois, "--patient", "P1", "-o", store)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "Traceback" not in ran.stderr
    assert re.fullmatch(f"error: {re.escape(str(slide))}: {words}", ran.stderr.splitlines()[-1])
    assert TileStore.open(store).slides() == []


def test_a_file_in_the_place_of_the_store_is_refused_and_kept(cohort: Cohort, tmp_path: Path) -> None:
    store = tmp_path / "tiles.zarr"
    store.write_text("years of work")
    ran = run(*cohort.one("a", store))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"error: {store}: not a w2wpath tile store. Give another path, or move it away.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["tiles.zarr"]
    assert store.read_text() == "years of work"
