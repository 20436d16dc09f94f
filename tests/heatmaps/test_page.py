"""The page as a file: what it holds, what it escapes, how large it is; its cells and its picture."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from tests.conftest import coordinate_image, noise_image, save_svs
from tests.heatmaps.made import CLASSES, made_maps
from tests.heatmaps.pages import EVIL, facts, maps_of, write
from w2wpath.errors import ConfigError, SlideError
from w2wpath.frames import FRAMES, named_frame
from w2wpath.heatmaps import pyramid
from w2wpath.heatmaps.annotations import Region
from w2wpath.heatmaps.cells import cells_of
from w2wpath.heatmaps.leaflet import PACKAGE, assets
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, REASONS, UNCERTAIN
from w2wpath.heatmaps.page import content_of, page_html, served
from w2wpath.slides.reader import open_slide
from w2wpath.w2wnet.domain import Domain

WHOLE = named_frame("qupath", 600, 400, None)
GRID = [1, 2, 0, 1, 2, 1, 0, 1, 1, 2, 1, 1]
BEST = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0]


def data_in(page: str) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    data: dict[str, Any] = json.loads(found)
    return data


def numbers(text: str, dtype: str = "u1") -> list[int]:
    return list(np.frombuffer(base64.b64decode(text), dtype).tolist())


def page(**changes: Any) -> str:
    maps = replace(made_maps(GRID, BEST, columns=6), **changes.pop("maps", {}))
    return page_html(content_of(maps, changes.pop("facts", facts(WHOLE)), **changes), served(600, 400))


# cells --------------------------------------------------------------------------------------------------------------


def test_cells_are_the_tiles_where_these_do_not_overlap() -> None:
    maps = made_maps(GRID, BEST, columns=6)
    cells = cells_of(maps)
    assert (cells.columns, cells.rows, cells.averaged) == (6, 2, 1)
    assert cells.state.tolist() == GRID
    assert cells.predicted.tolist() == maps.predicted.tolist()
    assert cells.mm2(maps.slide_mpp) == pytest.approx(0.05**2)


def test_overlapping_tiles_become_their_mean() -> None:
    # two by two tiles of 100 px at a step of 50: three by three cells, the middle one below all four
    u = np.array([0.1, 0.2, 0.5, np.nan], dtype=np.float32)
    maps = replace(
        made_maps([1, 1, 2, 0], [0, 1, 1, 0], columns=2),
        step0=50,
        width0=150,
        height0=150,
        u=u,
        reason=np.array([0, 0, REASONS.index("focus"), 0], dtype=np.uint8),
        unread=np.array([False, False, False, True]),
    )
    cells = cells_of(maps)
    assert (cells.columns, cells.rows, cells.averaged, cells.step0) == (3, 3, 2, 50)
    assert cells.u == pytest.approx(
        np.array([0.1, 0.15, 0.2, 0.3, 0.8 / 3, 0.2, 0.5, 0.5, np.nan]), nan_ok=True, abs=1e-6
    )
    assert cells.probs_nk[4] == pytest.approx([(0.75 + 0.25 + 0.25) / 3, (0.25 + 0.75 + 0.75) / 3])
    # half of the tiles above the threshold's row are out of focus: that reason holds; a third is too few
    focus = REASONS.index("focus")
    assert cells.reason.tolist() == [0, 0, 0, focus, 0, 0, focus, focus, 0]
    assert cells.state.tolist() == [1, 1, 1, 2, 1, 1, 2, 2, 0]
    assert cells.unread.tolist() == [False] * 8 + [True]


def test_a_tile_counts_by_what_it_covers_of_a_cell() -> None:
    # tiles of 100 px at a step of 60: a tile covers its own cell, and two thirds of the next
    maps = replace(made_maps([1, 1], [0, 0], columns=2), step0=60, width0=160, u=np.float32([0.1, 0.2]))
    cells = cells_of(maps)
    assert (cells.columns, cells.rows, cells.averaged) == (2, 1, 2)  # a third cell would reach over the slide's edge
    assert cells.u == pytest.approx([0.1, (0.1 * 2 / 3 + 0.2) / (5 / 3)])


def test_a_mean_above_the_threshold_is_uncertain() -> None:
    maps = replace(made_maps([2, 1], [0, 0], columns=2), step0=50, width0=150, u=np.float32([0.5, 0.2]))
    assert cells_of(maps).state.tolist() == [UNCERTAIN, UNCERTAIN, CONFIDENT, UNCERTAIN, UNCERTAIN, CONFIDENT]


# picture ------------------------------------------------------------------------------------------------------------


def test_tiles_of_the_picture_are_the_slides_pixels(coordinate_svs: Path) -> None:
    image = coordinate_image(640, 512)
    with open_slide(coordinate_svs) as slide:
        assert pyramid.min_zoom(640, 512) == -2
        assert np.array_equal(pyramid.cut_tile(slide, 0, 2, 1), image[256:512, 512:640])
        half = pyramid.cut_tile(slide, -1, 1, 0)
        assert half.shape == (256, 64, 3)
        assert np.abs(half - image[::2, 512::2].astype(float)).max() <= 1
        with pytest.raises(SlideError) as caught:
            pyramid.cut_tile(slide, 0, 3, 0)
        assert str(caught.value) == f"{coordinate_svs}: has no tile 3, 0 at zoom 0; it has 3 x 2."


def test_a_slide_without_coarse_levels_is_halved_step_by_step(
    coordinate_svs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_slide(coordinate_svs) as slide:
        at_once = pyramid.cut_tile(slide, -1, 0, 0)
        monkeypatch.setattr(pyramid, "MOST_SHRINK", 1)
        assert np.abs(at_once.astype(int) - pyramid.cut_tile(slide, -1, 0, 0)).max() <= 1


@pytest.mark.parametrize(("budget", "zoom", "side"), [(10**7, 0, 1500), (10**6, 0, 1125), (4, -3, 141)])
def test_size_is_given_up_until_the_picture_fits(tmp_path: Path, budget: int, zoom: int, side: int) -> None:
    with open_slide(save_svs(tmp_path / "noise.svs", noise_image(1500, 900))) as slide:
        made = pyramid.embed(slide, budget)
    assert (made.min_zoom, made.max_zoom, made.side_px) == (-3, zoom, side)
    assert made.size <= budget or budget == 4
    assert set(made.tiles) == {
        (z, x, y)
        for z in range(-3, zoom + 1)
        for x in range(pyramid.tile_counts(1500, 900, z)[0])
        for y in range(pyramid.tile_counts(1500, 900, z)[1])
    }


def test_quality_is_given_up_last(tmp_path: Path) -> None:
    with open_slide(save_svs(tmp_path / "noise.svs", noise_image(1500, 900))) as slide:
        made = pyramid.embed(slide, 600_000)
    assert made.side_px == 1125
    assert made.quality < pyramid.QUALITY


# file ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_mb", [3.0, 1.2])
def test_the_file_keeps_to_its_size(tmp_path: Path, max_mb: float) -> None:
    slide = save_svs(tmp_path / "noise.svs", noise_image(2048, 2048))
    maps = made_maps([1] * 64, [0] * 64, columns=8, side0=256)
    path, _ = write(tmp_path / "report.html", slide, maps=maps, max_mb=max_mb)
    assert 0.4 * max_mb * 1e6 < path.stat().st_size <= max_mb * 1e6


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    one, _ = write(tmp_path / "a" / "report.html")
    other, _ = write(tmp_path / "b" / "report.html")
    assert one.read_bytes() == other.read_bytes()


def test_what_users_and_slides_say_is_escaped() -> None:
    html = page(
        maps={"classes": (EVIL, "Tumor")},
        facts=replace(facts(WHOLE, EVIL, Domain(False, 2.0, (EVIL,))), model={EVIL: EVIL}, provenance={EVIL: [EVIL]}),
        rois=[Region(EVIL, (1, 2, 3), shapely.box(0, 0, 9, 9))],
        downloads=[EVIL, "javascript:alert(1)"],
        truth={EVIL: EVIL},
        warnings=[EVIL],
    )
    assert "alert(1)</script>" not in html
    assert "<img src=x" not in html
    assert 'href="javascript%3Aalert%281%29"' in html
    assert data_in(html)["classes"] == [EVIL, "Tumor"]
    assert html.count("</script>") == 4


def test_leaflet_stands_in_the_page_with_its_header_and_licence() -> None:
    html = page()
    assert "@preserve\n * Leaflet 1." in html
    assert "BSD 2-Clause" in html
    assert "THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS" in html
    assert "sourceMappingURL" not in html
    assert "url(images" not in html
    assert "Research use only" in html


def test_without_leaflet_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("w2wpath.heatmaps.leaflet.files", lambda name: [])
    with pytest.raises(ConfigError) as caught:
        assets.__wrapped__()
    assert str(caught.value) == (
        f"{PACKAGE}: is not installed, or lacks leaflet.js. Run: pip install --force-reinstall {PACKAGE}"
    )


def test_the_numbers_are_those_of_the_maps() -> None:
    maps = made_maps(GRID, BEST, columns=6)
    data = data_in(page())
    assert numbers(data["state"]) == GRID
    assert numbers(data["best"]) == [255 if best < 0 else best for best in maps.predicted]
    assert numbers(data["probs"])[:3] == [191, 64, 0]
    assert numbers(data["u"], "<u2")[:3] == [16383, 16383, 0]
    assert (data["columns"], data["rows"], data["step0"], data["threshold"]) == (6, 2, 100, 0.3)
    assert (data["colours"], data["most_u"]) == ([[150, 200, 150], [200, 0, 0]], 0.5)


@pytest.mark.parametrize("name", FRAMES)
def test_points_are_told_in_the_frame(name: str) -> None:
    frame = named_frame(name, 600, 400, (40, 30, 200, 100))
    a, b, c, d, e, f = data_in(page(facts=facts(frame)))["frame"]["to"]
    for x, y in ((0, 0), (123, 45), (600, 400)):
        assert [a * x + b * y + c, d * x + e * y + f] == frame.from_slide(np.array([[x, y]]))[0].tolist()


def test_the_page_says_what_its_reader_must_know() -> None:
    html = page(facts=facts(WHOLE, domain=Domain(False, 2.0, ("eosin 1.00, training slides 0.20 +- 0.05",))))
    assert (
        '<p class="out" role="alert"><strong>Out of domain: eosin 1.00, training slides 0.20 +- 0.05. '
        "What the model says of this slide may be wrong everywhere.</strong></p>"
    ) in html
    assert "3 of 10 tiles masked (30.0 %)" in html
    assert ">probability of Tumor<" in html
    inside = page(facts=facts(WHOLE, domain=Domain(True, 0.5), calibrated=True))
    assert 'class="out"' not in inside
    assert "The slide looks like the training slides in stain, sharpness and scale." in inside
    assert ">calibrated probability of Tumor<" in inside
    assert "The model cannot tell whether the slide is like its training slides." in page()


def test_areas_count_confident_tiles_only() -> None:
    rows = re.findall(r'data-cells="(\w)">(\d+)</td><td class="n" data-mm2="\w">([\d.]+)<', page())
    assert rows == [("0", "4", "0.010"), ("1", "3", "0.008"), ("u", "3", "0.008")]


def test_tiles_that_cannot_be_read_are_listed() -> None:
    unread = np.zeros(12, dtype=np.bool_)
    unread[[2, 6]] = True
    html = page(maps={"unread": unread}, facts=facts(named_frame("qupath", 600, 400, (40, 30, 500, 300))))
    assert "2 tiles should have been analysed, but their pixels cannot be decoded." in html
    assert re.findall(r"<code>(-?\d+, -?\d+)</code>", html) == ["160, -30", "-40, 70"]


@pytest.mark.parametrize(
    ("state", "columns", "says"),
    [
        ([], 1, "No tile was analysed: the slide is smaller than one tile."),
        ([NOT_ANALYSED] * 6, 3, "No tile was analysed: no tissue was found."),
    ],
)
def test_a_page_without_a_tile_says_why(tmp_path: Path, state: list[int], columns: int, says: str) -> None:
    maps = replace(
        made_maps(state, [0] * len(state), columns=columns), width0=columns * 100 if state else 50, height0=200
    )
    slide = save_svs(tmp_path / "empty.svs", np.full((200, maps.width0, 3), 255, dtype=np.uint8))
    path, _ = write(tmp_path / "report.html", slide, maps=maps)
    html = path.read_text("utf-8")
    assert says in html
    assert 'id="layer"' not in html


def test_overlap_is_said() -> None:
    html = page(maps={"step0": 50, "width0": 350, "height0": 150})
    assert "Tiles overlap: each square is the mean of the tiles that cover it, up to 2 × 2." in html
    assert "Tiles overlap" not in page()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"colour_map": "infernal"},
            "colour map must be one of inferno, cividis; got 'infernal'. Did you mean 'inferno'?",
        ),
        ({"opacity": 0.9}, "opacity must be from 0 to 0.8, so that tissue stays visible; got 0.9."),
    ],
)
def test_a_wrong_look_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        page(**change)
    assert str(caught.value) == says


def test_the_reader_of_colours_and_the_page_agree(tmp_path: Path) -> None:
    path, maps = write(tmp_path / "report.html")
    data = data_in(path.read_text("utf-8"))
    assert data["classes"] == list(CLASSES)
    assert numbers(data["state"]) == maps.state.tolist()
    with open_slide(tmp_path / "slide.svs") as slide:
        assert maps_of(slide).state.tolist() == maps.state.tolist()
