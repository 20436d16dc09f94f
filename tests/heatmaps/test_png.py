"""The picture shows what the maps say: colour where confident, a hatch where not, the bare slide elsewhere."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tests.heatmaps.made import made_maps
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, REASONS, UNCERTAIN, Maps
from w2wpath.heatmaps.png import overlay_png
from w2wpath.qupath.colours import class_colours
from w2wpath.w2wnet.domain import Domain

SLIDE = np.array([250, 0, 250])
"""Colour of the slide; nothing else in the picture has it."""
STATES = [NOT_ANALYSED, CONFIDENT, CONFIDENT, UNCERTAIN, CONFIDENT, UNCERTAIN, CONFIDENT, NOT_ANALYSED]
PREDICTED = [0, 0, 1, 1, 1, 0, 0, 0]
COLUMNS = 4


def decode(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def drawn(maps: Maps, *, title: str = "a.svs", opacity: float = 0.5) -> NDArray[np.uint8]:
    shape = (maps.height0 // 2, maps.width0 // 2, 3)
    thumbnail = np.broadcast_to(SLIDE, shape).astype(np.uint8)
    return decode(overlay_png(maps, thumbnail, title, opacity=opacity))


def panels(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Cut out the three panels; the slide shows through in two opposite corners of each."""
    found = []
    for third in np.array_split(image, 3, axis=1):
        rows, columns = np.nonzero((third == SLIDE).all(axis=-1))
        found.append(third[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    return found


def cells(panel: NDArray[np.uint8], columns: int = COLUMNS) -> list[NDArray[np.uint8]]:
    """Cut a panel into its tiles, without their edges."""
    rows = len(STATES) // columns
    height, width = panel.shape[0] / rows, panel.shape[1] / columns
    margin = 3
    return [
        panel[
            round(r * height) + margin : round((r + 1) * height) - margin,
            round(c * width) + margin : round((c + 1) * width) - margin,
        ]
        for r in range(rows)
        for c in range(columns)
    ]


@pytest.fixture(scope="module")
def maps() -> Maps:
    return made_maps(STATES, PREDICTED, columns=COLUMNS)


def shows_classes(image: NDArray[np.uint8], maps: Maps, opacity: float = 0.5) -> bool:
    colours = class_colours(maps.classes)
    found = [
        np.abs(cell - (opacity * np.array(colours[maps.classes[predicted]]) + (1 - opacity) * SLIDE)).max() <= 3
        for state, predicted, cell in zip(STATES, PREDICTED, cells(panels(image)[1]), strict=True)
        if state == CONFIDENT
    ]
    return len(found) == 4 and all(found)


@pytest.mark.parametrize("opacity", [0.5, 0.8])
def test_a_confident_tile_has_its_class_colour_over_the_slide(maps: Maps, opacity: float) -> None:
    assert shows_classes(drawn(maps, opacity=opacity), maps, opacity)


def test_an_uncertain_tile_is_hatched_and_not_filled(maps: Maps) -> None:
    _, classes, _ = panels(drawn(maps))
    for state, cell in zip(STATES, cells(classes), strict=True):
        if state == UNCERTAIN:
            bare = (cell == SLIDE).all(axis=-1)
            dark = cell.max(axis=-1) < 140
            assert bare.mean() > 0.3
            # several separate lines, not a patch
            assert dark.mean() > 0.02
            assert ndimage.label(dark, np.ones((3, 3)))[1] >= 3


def test_a_tile_that_was_not_analysed_is_left_as_it_is(maps: Maps) -> None:
    for panel in panels(drawn(maps)):
        for state, cell in zip(STATES, cells(panel), strict=True):
            if state == NOT_ANALYSED:
                assert (cell == SLIDE).all()


def test_the_last_panel_colours_every_analysed_tile_by_u_on_a_fixed_scale() -> None:
    low = panels(drawn(made_maps(STATES, PREDICTED, columns=COLUMNS, u=0.05)))[2]
    high = panels(drawn(made_maps(STATES, PREDICTED, columns=COLUMNS, u=0.45)))[2]
    for state, dim, bright in zip(STATES, cells(low), cells(high), strict=True):
        if state != NOT_ANALYSED:
            assert dim.std(axis=(0, 1)).max() < 2
            assert bright[..., 1].mean() > dim[..., 1].mean() + 60  # cividis goes from dark blue to bright yellow


def test_the_same_maps_give_the_same_bytes(maps: Maps) -> None:
    assert np.array_equal(drawn(maps), drawn(maps))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("state", [NOT_ANALYSED, CONFIDENT, UNCERTAIN])
def test_very_small_slides_can_be_drawn(shape: tuple[int, int], state: int) -> None:
    rows, columns = shape
    maps = made_maps([state] * (rows * columns), [0] * (rows * columns), columns=columns, side0=1)
    thumbnail = np.full((rows, columns, 3), 128, dtype=np.uint8)
    image = decode(overlay_png(maps, thumbnail, "tiny", opacity=0.5))
    assert image.shape[1] == 1500
    assert (image != 255).any()


def test_a_slide_without_a_tile_can_be_drawn() -> None:
    maps = made_maps([NOT_ANALYSED] * 8, [0] * 8, columns=COLUMNS)
    for panel in panels(drawn(maps))[1:]:
        assert (panel == SLIDE).all()


@pytest.mark.parametrize("title", [r"$\nope$.svs", "a$b$c.svs", "_under.svs", "<b>ä µ</b>.svs", "组织.svs", ""])
def test_any_name_can_be_a_title(maps: Maps, title: str) -> None:
    assert shows_classes(drawn(maps, title=title), maps)


@pytest.mark.parametrize("names", [(r"$\nope$", r"\frac{"), ("_hidden", "组织"), ("A: B", "C & <D>")])
def test_any_name_can_be_a_class_and_is_in_the_legend(names: tuple[str, str]) -> None:
    made = made_maps(STATES, PREDICTED, columns=COLUMNS)
    renamed = Maps(**{**vars(made), "classes": names})
    image, without = drawn(renamed), drawn(Maps(**{**vars(made), "classes": ("-", "-")}))
    assert shows_classes(image, renamed)
    assert not np.array_equal(image[-110:], without[-110:])


def test_the_legend_alone_says_that_image_quality_masked_too(maps: Maps) -> None:
    blurred = np.where(maps.reason > 0, REASONS.index("focus"), 0).astype(np.uint8)
    by_u, by_focus = drawn(maps), drawn(Maps(**{**vars(maps), "reason": blurred}))
    assert np.array_equal(by_u[:-110], by_focus[:-110])
    assert not np.array_equal(by_u[-110:], by_focus[-110:])


def test_a_slide_out_of_domain_is_said_in_red_and_one_inside_changes_nothing(maps: Maps) -> None:
    thumbnail = np.broadcast_to(SLIDE, (100, 200, 3)).astype(np.uint8)
    plain, inside, outside = (
        decode(overlay_png(maps, thumbnail, "a.svs", opacity=0.5, domain=domain))
        for domain in (None, Domain(True, 0.5), Domain(False, 2.0, ("eosin 0.9, training slides 0.4 +- 0.1",) * 6))
    )
    assert np.array_equal(plain, inside)
    # three lines, above panels that look as before
    assert outside.shape[0] == plain.shape[0] + 60
    above = outside[:130].astype(int)
    assert ((above[..., 0] > 150) & (above[..., 1:].max(axis=-1) < 60)).sum() > 500
    assert shows_classes(outside, maps)


def test_tiles_that_overlap_are_each_drawn_around_their_middle() -> None:
    made = made_maps([CONFIDENT] * 2, [0, 1], columns=2)
    maps = Maps(**{**vars(made), "x0": made.x0 // 2, "step0": 50, "width0": 150, "height0": 100})
    thumbnail = np.broadcast_to(SLIDE, (100, 150, 3)).astype(np.uint8)
    image = decode(overlay_png(maps, thumbnail, "a.svs", opacity=1.0))[:-110]  # without the legend
    colours = class_colours(maps.classes)
    red, green = (np.argwhere((image == colours[name]).all(axis=-1)) for name in ("Tumor", "Stroma"))
    panel = image.shape[1] / 3 * 0.94
    assert np.ptp(red[:, 1]) == pytest.approx(panel / 3, abs=3)
    in_panel = green[green[:, 0] <= red[:, 0].max()]
    assert np.ptp(in_panel[:, 1]) == pytest.approx(panel / 3, abs=3)
