"""``w2wpath view``: a folder of heatmaps or a slide, served until it is told to end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from tests.cli.conftest import ROIS
from tests.conftest import ROOT, save_bounded_tiff, save_svs, write_geojson
from tests.heatmaps.made import picture, save_slide
from tests.heatmaps.pages import facts, maps_of
from w2wpath.cli import view
from w2wpath.errors import ConfigError
from w2wpath.frames import named_frame
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, UNCERTAIN
from w2wpath.heatmaps.server import Shown, Viewer
from w2wpath.slides.reader import open_slide


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    """What `run` would serve; it comes back at once."""
    found: list[Shown] = []

    def forever(viewer: Viewer) -> None:
        found.extend(viewer.shown)
        raise KeyboardInterrupt

    monkeypatch.setattr(Viewer, "serve_forever", forever)
    return found


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one heatmap, whose slide lies elsewhere."""
    folder, slide_path = tmp_path / "out", save_slide(tmp_path / "slides" / "a.svs") if _mkdir(tmp_path) else None
    folder.mkdir()
    (folder / "a.maps.zarr").mkdir()
    (folder / "a.tiles.csv").write_text("x0\n")
    (folder / "ab.tiles.csv").write_text("x0\n")
    (folder / "a.summary.json").write_text(json.dumps({"provenance": {"slide_path": str(slide_path)}}))

    def read_maps(path: Path) -> Any:
        with open_slide(tmp_path / "slides" / "a.svs") as slide:
            frame = named_frame("qupath", slide.width0, slide.height0, None)
            return maps_of(slide), facts(frame, f"{path.name.removesuffix('.maps.zarr')}.svs")

    store = ModuleType("store")
    vars(store)["read_maps"] = read_maps
    monkeypatch.setitem(sys.modules, "w2wpath.heatmaps.store", store)
    return folder


def _mkdir(tmp_path: Path) -> bool:
    (tmp_path / "slides").mkdir()
    return True


def test_a_folder_shows_its_heatmap_and_offers_its_files(
    out: Path, served: list[Shown], capsys: pytest.CaptureFixture[str]
) -> None:
    view.run(out, browser=False)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/\n", capsys.readouterr().out)
    (one,) = served
    assert one.slide.path.name == "a.svs"
    assert list(one.downloads) == ["a.summary.json", "a.tiles.csv"]
    assert one.content.downloads == ("files/a.summary.json", "files/a.tiles.csv")
    assert not one.content.of_labels
    assert one.content.tissue is not None


def test_regions_are_outlined_in_the_frame_of_the_heatmap(out: Path, served: list[Shown], tmp_path: Path) -> None:
    rois = write_geojson(tmp_path / "a.geojson", [("Tumor", box(10, 20, 200, 180))])
    view.run(out, rois=rois, browser=False)
    assert [one.geometry.bounds for one in served[0].content.rois] == [(10, 20, 200, 180)]


def test_a_slide_that_moved_is_named_by_flag(out: Path, served: list[Shown], tmp_path: Path) -> None:
    slide, moved = tmp_path / "slides" / "a.svs", tmp_path / "moved.svs"
    moved.write_bytes(slide.read_bytes())
    view.run(out, slide=moved, browser=False)
    assert served[0].slide.path == moved
    for text in ('{"provenance": {"slide_path": "/gone/a.svs"}}', "{}", "no json"):
        (out / "a.summary.json").write_text(text)
        with pytest.raises(ConfigError) as caught:
            view.run(out, browser=False)
        place = "/gone/a.svs" if "gone" in text else out / "a.svs"
        assert str(caught.value) == f"{out}: the slide of a is not at {place}. Pass --slide with its path."
    (out / "a.svs").write_bytes(slide.read_bytes())
    view.run(out, browser=False)
    assert served[-1].slide.path == out / "a.svs"


def test_another_slide_is_refused(out: Path, tmp_path: Path) -> None:
    other = save_svs(tmp_path / "other.svs", np.zeros((256, 320, 3), dtype=np.uint8))
    with pytest.raises(ConfigError) as caught:
        view.run(out, slide=other, browser=False)
    assert str(caught.value) == (
        f"{other}: has 320 x 256 px, and the maps of a belong to a slide of 384 x 256. "
        "Pass --slide with the slide that they were made from."
    )


def test_several_heatmaps_are_listed_and_a_slide_chooses_its_own(out: Path, served: list[Shown]) -> None:
    (out / "b.maps.zarr").mkdir()
    (out / "b.svs").write_bytes((out.parent / "slides" / "a.svs").read_bytes())
    view.run(out, browser=False)
    assert [one.name for one in served] == ["a", "b"]
    # opened only when asked for
    assert [one.shown().content.facts.slide for one in served] == ["a.svs", "b.svs"]

    served.clear()
    view.run(out, slide=out / "b.svs", browser=False)
    assert [one.content.facts.slide for one in served] == ["b.svs"]
    with pytest.raises(ConfigError) as caught:
        view.run(out, slide=out / "c.svs", browser=False)
    assert str(caught.value) == (
        f"{out}: holds a, b, none of which is 'c'. Give --slide and --rois files that are named like one of them."
    )


def test_a_folder_without_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        view.run(tmp_path, browser=False)
    assert str(caught.value) == (f"{tmp_path}: holds no *.maps.zarr. Make it with `w2wpath heatmap`, or give a slide.")


def test_a_slide_shows_the_tiles_that_tile_would_store(
    coordinate_svs: Path, served: list[Shown], tmp_path: Path
) -> None:
    # a column of tiles is half Stroma, half Tumor; the last row of regions covers half a tile more
    regions = [("Stroma", box(0, 0, 288, 192)), ("Tumor", box(288, 0, 640, 192))]
    rois = write_geojson(tmp_path / "rois.geojson", regions)
    view.run(coordinate_svs, rois=rois, origin="qupath", tile_px=64, browser=False)
    content = served[0].content
    assert (content.of_labels, content.cells.columns, content.cells.rows) == (True, 10, 8)
    state = content.cells.state.reshape(8, 10)
    assert (state[:3, [0, 1, 2, 3, 5, 6, 7, 8, 9]] == CONFIDENT).all()
    assert (state[:3, 4] == UNCERTAIN).all()
    assert (state[3:] == NOT_ANALYSED).all()
    assert content.cells.predicted.reshape(8, 10)[0].tolist() == [0] * 5 + [1] * 5
    html = served[0].page().decode()
    assert "no label: border of a region, or two classes" in html
    assert ">uncertainty u<" not in html
    assert 'id="threshold"' not in html


def test_labels_are_those_of_the_policy_in_the_settings(
    coordinate_svs: Path, served: list[Shown], tmp_path: Path
) -> None:
    regions = [("Stroma", box(0, 0, 64, 64)), ("Tumor", box(0, 0, 64, 40))]
    rois = write_geojson(tmp_path / "rois.geojson", regions)
    config = tmp_path / "w2w.toml"
    config.write_text('[tile]\ntile_px = 64\npolicy = "priority"\npriority = ["Tumor", "Stroma"]\n')
    view.run(coordinate_svs, rois=rois, origin="qupath", config=config, browser=False)
    cells = served[0].content.cells
    assert (cells.classes, cells.predicted[0], cells.state[0]) == (("Stroma", "Tumor"), 1, CONFIDENT)


def test_regions_of_a_cropped_slide_lie_where_they_were_drawn(served: list[Shown], tmp_path: Path) -> None:
    slide = save_bounded_tiff(tmp_path / "slide.tiff", picture(), (128, 0, 256, 256))
    rois = write_geojson(tmp_path / "rois.geojson", [("Tumor", box(0, 0, 64, 64))])
    view.run(slide, rois=rois, origin="qupath", tile_px=64, browser=False)
    content = served[0].content
    assert np.flatnonzero(content.cells.state).tolist() == [2]
    assert content.rois[0].geometry.bounds == (128, 0, 192, 64)
    assert content.facts.frame.name == "qupath"


def test_a_slide_alone_is_shown_without_tiles(coordinate_svs: Path, served: list[Shown]) -> None:
    view.run(coordinate_svs, browser=False)
    assert len(served[0].content.cells.state) == 0
    assert "No regions were given: this is the slide alone." in served[0].page().decode()


def test_a_port_in_use_is_an_error_in_words(coordinate_svs: Path, served: list[Shown]) -> None:
    with Viewer([]) as busy:
        port = int(busy.server_address[1])
        with pytest.raises(ConfigError) as caught:
            view.run(coordinate_svs, port=port, browser=False)
    assert str(caught.value) == f"port {port}: Address already in use. Choose another --port, or leave it out."


def test_the_browser_is_opened_at_the_address_unless_told(
    coordinate_svs: Path, served: list[Shown], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    view.run(coordinate_svs, browser=False)
    assert opened == []
    capsys.readouterr()
    view.run(coordinate_svs)
    assert opened == [capsys.readouterr().out.strip()]


def test_the_command_serves_until_it_is_interrupted(coordinate_svs: Path, tmp_path: Path) -> None:
    rois = write_geojson(tmp_path / "rois.geojson", ROIS)
    words = ["view", str(coordinate_svs), "--rois", str(rois), "--origin", "qupath", "--tile-px", "64", "--no-browser"]
    command = [sys.executable, "-m", "w2wpath", *words]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and passes that on
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        signal.signal(signal.SIGINT, before)
        try:
            assert running.stdout is not None
            url = running.stdout.readline().strip()
            with urllib.request.urlopen(url, timeout=30) as answer:
                assert "Tiles of" in answer.read().decode()
            with urllib.request.urlopen(f"{url}0/tiles/0/0/0.jpg", timeout=30) as answer:
                assert answer.read(2) == b"\xff\xd8"
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(url.rpartition("/")[0][:-1] + "/", timeout=30)
            caught.value.close()
            assert caught.value.code == 403
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=30) == 0
            assert running.stderr is not None
            assert running.stderr.read() == ""
        finally:
            running.kill()
