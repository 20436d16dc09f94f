"""The picture of annotations on a slide: outlines where they belong, a panel for each frame, no wider than agreed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from shapely.geometry import Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from w2wpath.frames import candidate_frames
from w2wpath.qupath import alignment_picture
from w2wpath.qupath.align import Alignment, FrameScore
from w2wpath.qupath.alignment_picture import GAP, IGNORED, MOST_WIDTH, TEXT, TITLE, alignment_png, plausible
from w2wpath.qupath.read import Roi, Rois

SIZE0 = (2000, 1000)
BOUNDS = (400, 200, 1200, 600)
THUMBNAIL = np.full((200, 400, 3), (235, 205, 225), np.uint8)
TUMOR, STROMA = (200, 0, 0), (150, 200, 150)
NAMES = ["qupath", "slide", "qupath-rot90", "qupath-rot180", "qupath-rot270"]


def marked(*areas: tuple[str, BaseGeometry], ignored: tuple[BaseGeometry, ...] = ()) -> Rois:
    return Rois(Path("a.geojson"), tuple(Roi(name, area, i) for i, (name, area) in enumerate(areas)), ignored=ignored)


def scored(frame: str | None, *fit: str) -> Alignment:
    """The alignment of a slide with bounds, all vertices inside the frames named in `fit`."""
    scores = [FrameScore(one, float(one.name in fit), 0.6) for one in candidate_frames(*SIZE0, BOUNDS)]
    return Alignment(next((s.frame for s in scores if s.frame.name == frame), None), tuple(scores))


def drawn(rois: Rois, alignment: Alignment, *, title: str = "a.svs", thumbnail: NDArray[np.uint8] = THUMBNAIL) -> Image:
    picture = Image.open(io.BytesIO(alignment_png(rois, thumbnail, SIZE0, alignment, title)))
    assert isinstance(picture, PngImagePlugin.PngImageFile)
    assert picture.mode == "RGB"
    assert picture.width <= MOST_WIDTH
    return picture


def panels(picture: Image.Image) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom of each panel: what lies within a light grey frame."""
    frame = (np.asarray(picture) == 200).all(axis=-1)
    rows, columns = np.flatnonzero(frame.sum(axis=1) > 100), np.flatnonzero(frame.sum(axis=0) > 50)
    top, bottom = int(rows[0]) + 1, int(rows[-1])
    return [(int(a) + 1, top, int(b), bottom) for a, b in zip(columns[::2], columns[1::2], strict=True)]


def where(picture: Image.Image, panel: tuple[int, int, int, int], colour: tuple[int, int, int]) -> tuple[float, ...]:
    """The box around all of a colour in a panel, in level-0 pixels."""
    inside = np.asarray(picture.crop(panel)).astype(int)
    found = np.argwhere(np.abs(inside - colour).sum(axis=-1) < 30)
    if not len(found):
        return ()
    scale = SIZE0[0] / (panel[2] - panel[0])
    (top, left), (bottom, right) = found.min(axis=0) * scale, (found.max(axis=0) + 1) * scale
    return left, top, right, bottom


def test_outlines_lie_where_the_regions_lie() -> None:
    rois = marked(("Tumor", box(300, 200, 700, 500)), ("Stroma", box(900, 100, 1100, 550)))
    picture = drawn(rois, scored("slide"))
    (panel,) = panels(picture)
    assert where(picture, panel, TUMOR) == pytest.approx((300, 200, 700, 500), abs=5)
    assert where(picture, panel, STROMA) == pytest.approx((900, 100, 1100, 550), abs=5)


@pytest.mark.parametrize(
    ("frame", "area0"),
    [
        ("qupath", (500, 250, 700, 500)),
        ("slide", (100, 50, 300, 300)),
        ("qupath-rot90", (450, 500, 700, 700)),
        ("qupath-rot180", (1300, 500, 1500, 750)),
        ("qupath-rot270", (1300, 300, 1550, 500)),
    ],
)
def test_outlines_follow_the_frame(frame: str, area0: tuple[int, ...]) -> None:
    picture = drawn(marked(("Tumor", box(100, 50, 300, 300))), scored(frame))
    assert where(picture, panels(picture)[0], TUMOR) == pytest.approx(area0, abs=5)


def test_holes_have_outlines_and_areas_are_not_filled() -> None:
    ring = Point(1000, 500).buffer(300).difference(Point(1000, 500).buffer(100))
    picture = drawn(marked(("Tumor", ring)), scored("slide"))
    (left, top, right, bottom) = panels(picture)[0]
    row = np.abs(np.asarray(picture)[(top + bottom) // 2, left:right].astype(int) - TUMOR).sum(axis=-1) < 60
    crossings = np.flatnonzero(np.diff(row.astype(int)) == 1) * SIZE0[0] / (right - left)
    assert crossings == pytest.approx([700, 900, 1100, 1300], abs=8)


def test_ignored_areas_are_dashed_and_in_the_legend() -> None:
    rois, area = marked(("Tumor", box(300, 200, 700, 500))), box(900, 200, 1500, 800)
    without = drawn(rois, scored("slide"))
    picture = drawn(marked(("Tumor", box(300, 200, 700, 500)), ignored=(area,)), scored("slide"))
    (panel,) = panels(picture)
    assert where(picture, panel, IGNORED) == pytest.approx(area.bounds, abs=5)
    scale = (panel[2] - panel[0]) / SIZE0[0]
    edge = np.asarray(picture.crop(panel))[round(200 * scale), round(950 * scale) : round(1450 * scale)]
    dark = np.abs(edge.astype(int) - IGNORED).sum(axis=-1) < 60
    assert 0.3 < dark.mean() < 0.7
    below = [np.asarray(one.crop((0, panel[3] + 2, one.width, one.height))) for one in (picture, without)]
    dark_below = [(one.max(axis=-1) < 130).sum() for one in below]
    assert dark_below[0] > dark_below[1] + 300


@pytest.mark.parametrize(
    ("frame", "fit", "shown"),
    [
        ("qupath", NAMES, ["qupath"]),
        ("qupath-rot90", [], ["qupath-rot90"]),
        (None, [], ["qupath", "slide"]),
        (None, ["slide", "qupath-rot180"], ["qupath", "slide", "qupath-rot180"]),
        (None, NAMES, NAMES),
    ],
)
def test_a_panel_is_drawn_for_each_frame_that_is_possible(frame: str | None, fit: list[str], shown: list[str]) -> None:
    found = scored(frame, *fit)
    assert [score.frame.name for score in plausible(found)] == shown
    picture = drawn(marked(("Tumor", box(100, 50, 300, 300))), found)
    seen = panels(picture)
    assert len(seen) == len(shown)
    places = [where(picture, panel, TUMOR) for panel in seen]
    assert len({tuple(round(value, -1) for value in place) for place in places}) == len(shown)


@pytest.mark.parametrize("shape", [(200, 400), (1024, 700), (150, 900), (900, 12), (40, 20)])
@pytest.mark.parametrize("frame", ["qupath", None])
def test_panels_keep_the_shape_of_the_slide_and_the_picture_its_width(
    frame: str | None, shape: tuple[int, int]
) -> None:
    thumbnail = np.full((*shape, 3), 220, np.uint8)
    picture = drawn(marked(("Tumor", box(100, 50, 300, 300))), scored(frame, *NAMES), thumbnail=thumbnail)
    assert picture.width >= 640
    assert picture.height <= 1250
    if shape[1] > 100:
        left, top, right, bottom = panels(picture)[0]
        assert (right - left) / (bottom - top) == pytest.approx(shape[1] / shape[0], rel=0.02)


def test_no_letter_lies_on_the_slide_and_letters_are_large_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, tuple[int, int], int]] = []
    really = alignment_picture._write

    def spy(draw: object, at: tuple[int, int], text: str, letters: int, room: int, **look: bool) -> None:
        written.append((text, at, letters))
        really(draw, at, text, letters, room, **look)  # type: ignore[arg-type]

    monkeypatch.setattr(alignment_picture, "_write", spy)
    rois = marked(("Tumor", box(100, 50, 300, 300)), ("Stroma", box(0, 0, 9, 9)), ignored=(box(5, 5, 9, 9),))
    picture = drawn(rois, scored(None, "slide"))
    top, bottom = panels(picture)[0][1], panels(picture)[0][3]
    assert [text for text, _, _ in written] == [
        "a.svs",
        "The file does not record its frame. Which panel is right? Pass its name with --origin.",
        "qupath",
        "inside 0 %, on tissue 60 %",
        "slide",
        "inside 100 %, on tissue 60 %",
        "Stroma",
        "Tumor",
        "ignored, subtracted",
    ]
    assert all(y + 1.25 * letters <= top or y >= bottom for _, (_, y), letters in written)
    assert min(TEXT, TITLE) >= 14


def test_any_name_can_be_written_and_none_leaves_the_picture() -> None:
    names = ["腫瘍 🙂", "line\nbreak", "x" * 500, "", "\x00", *[f"class {i}" for i in range(40)]]
    rois = marked(*[(name, box(40 * i, 100, 40 * i + 30, 200)) for i, name in enumerate(names)])
    picture = drawn(rois, scored("slide"), title="y" * 500)
    pixels = np.asarray(picture)
    assert (pixels[:, -GAP + 4 :] > 150).all()
    assert (pixels[-GAP // 2 :] > 150).all()


def test_an_annotation_file_without_regions_shows_the_slide() -> None:
    picture = drawn(marked(), scored("qupath"))
    (left, top, right, bottom) = panels(picture)[0]
    assert (np.asarray(picture)[top:bottom, left:right] == THUMBNAIL[0, 0]).all()


def test_far_off_coordinates_are_cut_at_the_edge() -> None:
    far = 2.0**31 - 1
    rois = marked(("Tumor", box(-far, 300, far, 700)), ("Stroma", Polygon([(far, far), (far - 1, far), (far, 0)])))
    picture = drawn(rois, scored("slide"))
    (panel,) = panels(picture)
    assert where(picture, panel, TUMOR) == pytest.approx((0, 300, 2000, 700), abs=5)
    assert where(picture, panel, STROMA) == ()


def test_many_outlines_are_thin(monkeypatch: pytest.MonkeyPatch) -> None:
    rois = marked(*[("Tumor", box(100 * i, 100, 100 * i + 60, 160)) for i in range(10)])
    inked = []
    for most in (11, 10):
        monkeypatch.setattr(alignment_picture, "MANY", most)
        inked.append((np.asarray(drawn(rois, scored("slide")))[..., 1] < 120).sum())
    assert inked[1] < 0.7 * inked[0]
