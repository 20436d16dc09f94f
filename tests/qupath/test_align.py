"""Which frame annotations are in: found where the tissue decides, refused in words where it does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from tests.conftest import save_bounded_tiff, save_svs
from w2wpath.frames import FRAMES, Frame, named_frame
from w2wpath.qupath.align import MOST_PX, Alignment, FrameScore, align, percent
from w2wpath.qupath.read import Roi, Rois, read_rois
from w2wpath.slides.contract import Slide
from w2wpath.slides.reader import open_slide
from w2wpath.slides.tissue import TissueMask, tissue_mask

WIDTH, HEIGHT = 1024, 768
BOUNDS = (256, 128, 512, 384)
TISSUE = (300, 180, 500, 300)
"""Left, top, right and bottom of the only tissue, in level-0 pixels of the slide frame."""
ON_TISSUE = box(310, 190, 490, 290)
IN_QUPATH = translate(ON_TISSUE, -BOUNDS[0], -BOUNDS[1])


def sheet(*tissue: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """A white picture of the slide's size with pink rectangles."""
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    for left, top, right, bottom in tissue:
        image[top:bottom, left:right] = (205, 120, 170)
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("align")


@pytest.fixture(scope="module")
def bounded(folder: Path) -> Iterator[Slide]:
    """A slide with bounds, and tissue in one place."""
    with open_slide(save_bounded_tiff(folder / "bounded.tiff", sheet(TISSUE), BOUNDS)) as slide:
        assert slide.bounds0 == BOUNDS
        yield slide


@pytest.fixture(scope="module")
def full(folder: Path) -> Iterator[Slide]:
    """A slide with bounds, and tissue wherever it was scanned."""
    with open_slide(save_bounded_tiff(folder / "full.tiff", sheet((0, 0, WIDTH, HEIGHT)), BOUNDS)) as slide:
        yield slide


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[Slide]:
    """A slide without bounds, and tissue in one place."""
    with open_slide(save_svs(folder / "plain.svs", sheet(TISSUE))) as slide:
        assert slide.bounds0 is None
        yield slide


def marked(*areas: BaseGeometry, ignored: Iterable[BaseGeometry] = ()) -> Rois:
    regions = tuple(Roi("Tumor", area, entry) for entry, area in enumerate(areas))
    return Rois(Path("a.geojson"), regions, ignored=tuple(ignored))


def aligned(
    slide: Slide, *areas: BaseGeometry, wanted: str = "auto", ignored: Iterable[BaseGeometry] = ()
) -> Alignment:
    return align(marked(*areas, ignored=ignored), slide, wanted, tissue_mask(slide), "a.tiff")


def into(name: str, area: BaseGeometry, slide: Slide) -> BaseGeometry:
    """An area of the slide frame as someone who works in frame `name` would export it."""
    frame = named_frame(name, slide.width0, slide.height0, slide.bounds0)
    return shapely.transform(area, frame.from_slide)


class Sheet:
    """The part of a slide that `align` looks at, with bounds that no file here can have."""

    def __init__(self, width0: int, height0: int, bounds0: tuple[int, int, int, int] | None) -> None:
        self.width0, self.height0, self.bounds0 = width0, height0, bounds0


def mask_of(picture: NDArray[np.bool_], width0: int, height0: int) -> TissueMask:
    return TissueMask(picture, (width0 / picture.shape[1], height0 / picture.shape[0]))


# what is chosen -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("area", "name"), [(IN_QUPATH, "qupath"), (ON_TISSUE, "slide")], ids=["qupath", "slide"])
def test_the_frame_that_lies_on_tissue_is_chosen(bounded: Slide, area: BaseGeometry, name: str) -> None:
    found = aligned(bounded, area)
    assert found.frame == named_frame(name, WIDTH, HEIGHT, BOUNDS)
    assert (found.why, found.warnings) == ("", ())
    # both hold every vertex: only the tissue tells
    assert {s.frame.name: (s.fits, s.on_tissue) for s in found.scores if s.frame.turns == 0} == {
        name: (True, 1.0),
        {"qupath": "slide", "slide": "qupath"}[name]: (True, 0.0),
    }


def test_vertices_that_only_the_whole_scan_holds_decide_where_the_tissue_does_not(full: Slide) -> None:
    found = aligned(full, box(600, 200, 700, 300))
    assert found.frame == Frame("slide", 0, 0, WIDTH, HEIGHT)
    assert found.warnings == ()
    assert found.scores[0] == FrameScore(Frame("qupath", *BOUNDS), 0.0, 0.0)


def test_a_slide_without_bounds_has_one_plain_frame(plain: Slide) -> None:
    found = aligned(plain, ON_TISSUE)
    assert found.frame == Frame("qupath", 0, 0, WIDTH, HEIGHT)
    assert (found.why, found.warnings) == ("", ())
    assert [score.frame.name for score in found.scores] == [name for name in FRAMES if name != "slide"]


@pytest.mark.parametrize("wanted", FRAMES)
def test_a_stated_frame_is_taken_whatever_the_scores(bounded: Slide, wanted: str) -> None:
    assert aligned(bounded, box(5000, 5000, 5001, 5001), wanted=wanted).frame == named_frame(
        wanted, WIDTH, HEIGHT, BOUNDS
    )


def test_slide_may_be_stated_where_it_is_the_same_as_qupath(plain: Slide) -> None:
    found = aligned(plain, ON_TISSUE, wanted="slide")
    assert found.frame == Frame("slide", 0, 0, WIDTH, HEIGHT)
    assert [score.frame.name for score in found.scores] == ["slide", "qupath-rot90", "qupath-rot180", "qupath-rot270"]
    assert found.warnings == ()


def test_two_pixels_of_rounding_are_forgiven_and_no_more(plain: Slide) -> None:
    inside = [aligned(plain, box(-edge, -edge, WIDTH + edge, HEIGHT + edge)).scores[0].inside for edge in (2, 2.01)]
    assert inside == [1.0, 0.0]


def test_vertices_of_ignored_areas_count_too(plain: Slide) -> None:
    outside = box(-50, -50, -40, -40)
    assert aligned(plain, ON_TISSUE, ignored=[outside]).scores[0] == FrameScore(
        Frame("qupath", 0, 0, WIDTH, HEIGHT), 0.5, 1.0
    )


def test_a_file_without_regions_has_nothing_to_decide(plain: Slide) -> None:
    found = aligned(plain)
    assert found.frame == Frame("qupath", 0, 0, WIDTH, HEIGHT)
    assert found.warnings == ()
    assert {(score.inside, score.on_tissue) for score in found.scores} == {(1.0, None)}


def test_bounds_that_reach_beyond_the_image_are_not_clipped() -> None:
    slide = Sheet(1000, 800, (-100, -50, 1400, 900))
    mask = mask_of(np.ones((80, 100), np.bool_), 1000, 800)
    found = align(marked(box(1300, 800, 1400, 900), box(150, 100, 600, 500)), slide, "qupath", mask, "a.mrxs")
    assert found.scores[0] == FrameScore(Frame("qupath", -100, -50, 1400, 900), 1.0, 1.0)
    assert found.warnings == ()


# what is refused ----------------------------------------------------------------------------------------------------


def test_where_tissue_is_everywhere_two_plain_frames_are_refused(full: Slide) -> None:
    found = aligned(full, box(300, 200, 480, 300))
    assert found.frame is None
    assert found.warnings == ()
    assert found.why == (
        "a.tiff: the annotations may count from the corner of the slide's bounds (qupath) or of the whole scan "
        "(slide), and the file does not record its frame: qupath (inside 100 %, on tissue 100 %); "
        "slide (inside 100 %, on tissue 100 %); qupath-rot90 (inside 40 %, on tissue 47 %); "
        "qupath-rot180 (inside 100 %, on tissue 100 %); qupath-rot270 (inside 40 %, on tissue 47 %). "
        "Look at the picture, then pass --origin qupath or --origin slide."
    )


def test_two_plain_frames_with_little_tissue_are_refused(bounded: Slide) -> None:
    found = aligned(bounded, box(44, 52, 500, 380))
    assert found.frame is None
    assert found.why.startswith("a.tiff: the annotations may count from the corner of the slide's bounds")
    assert found.scores[0].tissue - found.scores[1].tissue < 0.3


def test_two_plain_frames_are_refused_where_the_one_that_fits_has_clearly_less_tissue() -> None:
    # the vertices speak for the whole scan, of which enough is tissue; the tissue speaks for QuPath's frame
    picture = np.zeros((80, 100), np.bool_)
    picture[10:40, 20:90] = picture[:10, :23] = True
    slide, mask = Sheet(1000, 800, (200, 100, 500, 400)), mask_of(picture, 1000, 800)
    area = box(0, 0, 300, 200).union(box(501, 100, 510, 110))
    qupath, other = align(marked(area), slide, "auto", mask, "a.mrxs").scores[:2]
    assert (qupath.fits, qupath.tissue > 0.9) == (False, True)
    assert (other.fits, 0.5 < other.tissue < 0.6) == (True, True)
    assert align(marked(area), slide, "auto", mask, "a.mrxs").frame is None


def test_two_plain_frames_that_hold_only_some_vertices_are_refused(bounded: Slide) -> None:
    found = aligned(bounded, IN_QUPATH, box(1100, 20, 1104, 24))
    assert [score.inside for score in found.scores[:2]] == [0.5, 0.5]
    assert found.frame is None


@pytest.mark.parametrize("name", ["qupath-rot90", "qupath-rot180", "qupath-rot270"])
def test_turned_annotations_are_refused_and_the_frame_is_proposed(plain: Slide, name: str) -> None:
    found = aligned(plain, into(name, ON_TISSUE, plain))
    assert found.frame is None
    scores = "; ".join(f"{score.frame.name} ({score.text()})" for score in found.scores)
    assert f"{name} (inside 100 %, on tissue 100 %)" in scores
    assert found.why == (
        "a.tiff: the annotations lie on tissue better when they are turned, and the file does not record its frame: "
        f"{scores}. The image was turned at its import, or they are another slide's. "
        f"Look at the picture, then pass --origin qupath or --origin {name}."
    )


@pytest.mark.parametrize("name", ["qupath-rot90", "qupath-rot180", "qupath-rot270"])
def test_with_bounds_turned_annotations_are_refused_and_the_frame_is_proposed(bounded: Slide, name: str) -> None:
    found = aligned(bounded, into(name, box(310, 185, 400, 215), bounded))
    assert found.frame is None
    assert found.why.endswith(f"Look at the picture, then pass --origin qupath or --origin slide or --origin {name}.")


def test_a_turned_frame_that_holds_every_vertex_is_proposed_though_the_plain_one_has_tissue() -> None:
    slide, picture = Sheet(1000, 400, None), np.zeros((40, 100), np.bool_)
    picture[5:25, 10:90] = picture[25:30, 15:22] = True
    # turned it lies on tissue; as it is, most lies below the slide, and of the rest half is tissue
    area = into("qupath-rot90", box(100, 50, 900, 250), slide)
    found = align(marked(area), slide, "auto", mask_of(picture, 1000, 400), "a.svs")
    plain, turned = found.scores[:2]
    assert (plain.fits, 0.5 < plain.tissue < 0.6) == (False, True)
    assert (turned.frame.name, turned.fits, turned.tissue > 0.9) == ("qupath-rot90", True, True)
    assert found.frame is None


def test_a_turned_frame_that_does_not_hold_every_vertex_is_not_proposed(plain: Slide) -> None:
    # turned by 90 degrees it lies on the tissue, but a speck is outside
    found = aligned(plain, into("qupath-rot90", ON_TISSUE, plain), box(1000, 20, 1004, 24))
    assert (found.scores[1].fits, found.scores[1].tissue > 0.95) == (False, True)
    assert found.frame == Frame("qupath", 0, 0, WIDTH, HEIGHT)


def test_annotations_of_another_slide_are_refused(plain: Slide) -> None:
    found = aligned(plain, box(5000, 4000, 6000, 4500), box(7000, 4000, 7100, 4100))
    assert found.frame is None
    assert found.why == (
        "a.tiff: no region lies on the slide, so they may be another slide's. The file does not record its frame: "
        "qupath (inside 0 %, no region on the slide). "
        "If the slide is the right one, look at the picture and pass --origin NAME."
    )


def test_with_bounds_annotations_of_another_slide_are_refused(bounded: Slide) -> None:
    found = aligned(bounded, box(5000, 4000, 6000, 4500))
    assert found.frame is None
    assert found.why.startswith("a.tiff: no region lies on the slide, so they may be another slide's. ")


# what is warned of --------------------------------------------------------------------------------------------------


def test_vertices_outside_the_only_plain_frame_are_a_warning(plain: Slide) -> None:
    found = aligned(plain, ON_TISSUE, box(1100, 900, 1200, 950), box(320, 200, 330, 210))
    assert found.frame == Frame("qupath", 0, 0, WIDTH, HEIGHT)
    assert found.warnings == (
        "a.tiff: 33 % of the vertices lie outside frame qupath (1024 x 768 px). "
        "Check that the annotations belong to this slide.",
    )


def test_little_tissue_is_a_warning(plain: Slide) -> None:
    found = aligned(plain, box(300, 180, 700, 480))
    assert found.frame is not None
    assert found.warnings == (
        "a.tiff: 20 % of the annotated area is tissue. Check that the annotations belong to this slide.",
    )


def test_no_tissue_in_the_top_left_quarter_hints_at_another_unit(plain: Slide) -> None:
    found = aligned(plain, box(10, 10, 200, 150))
    assert found.frame is not None
    assert found.warnings == (
        "a.tiff: 0 % of the annotated area is tissue. Check that the annotations belong to this slide. "
        "All of it lies in the top left quarter: perhaps it is in um, or in pixels of a smaller export.",
    )


def test_a_stated_frame_in_which_nothing_lies_on_the_slide_is_a_warning(bounded: Slide) -> None:
    found = aligned(bounded, box(5000, 4000, 6000, 4500), wanted="slide")
    assert found.warnings == (
        "a.tiff: no region lies on the slide in frame slide. "
        "Check that the annotations belong to this slide and frame.",
    )


def test_a_stated_frame_that_another_one_beats_is_a_warning(bounded: Slide) -> None:
    found = aligned(bounded, ON_TISSUE, wanted="qupath")
    assert found.frame == Frame("qupath", *BOUNDS)
    assert found.warnings == (
        "a.tiff: 0 % of the annotated area is tissue. Check that the annotations belong to this slide.",
        "a.tiff: frame slide (inside 100 %, on tissue 100 %) suits the annotations better than qupath "
        "(inside 100 %, on tissue 0 %). Pass --origin slide if that is right.",
    )


def test_with_bounds_a_turned_frame_that_beats_both_plain_ones_is_refused(bounded: Slide) -> None:
    found = aligned(bounded, into("qupath-rot180", ON_TISSUE, bounded))
    assert found.frame is None
    assert found.why.endswith(
        "Look at the picture, then pass --origin qupath or --origin slide or --origin qupath-rot180."
    )


def test_annotations_mostly_outside_the_only_plain_frame_are_refused(plain: Slide) -> None:
    found = aligned(plain, ON_TISSUE, box(1100, 900, 1200, 950), box(1100, 700, 1200, 800))
    assert (found.frame, found.why) == (
        None,
        "a.tiff: most of the annotations lie outside the slide, so they may be another slide's. The file does not "
        "record its frame: qupath (inside 33 %, on tissue 100 %). "
        "If the slide is the right one, look at the picture and pass --origin NAME.",
    )


def test_a_turned_frame_that_holds_every_vertex_is_told_of_where_the_plain_one_does_not() -> None:
    slide, mask = Sheet(1000, 400, None), mask_of(np.ones((40, 100), np.bool_), 1000, 400)
    found = align(marked(box(10, 100, 200, 790)), slide, "auto", mask, "a.svs")
    assert found.frame == Frame("qupath", 0, 0, 1000, 400)
    assert found.warnings == (
        "a.svs: 40 % of the vertices lie outside frame qupath (1000 x 400 px). "
        "Check that the annotations belong to this slide.",
        "a.svs: frame qupath-rot90 (inside 100 %, on tissue 100 %) suits the annotations better than qupath "
        "(inside 60 %, on tissue 100 %). Pass --origin qupath-rot90 if that is right.",
    )


# how tissue is measured ---------------------------------------------------------------------------------------------

CHECKS = np.random.default_rng(0).random((96, 128)) > 0.5


@given(
    name=st.sampled_from(FRAMES),
    bounds=st.none() | st.tuples(*[st.integers(-300, 500)] * 2, *[st.integers(300, 2000)] * 2),
    corner=st.tuples(st.integers(0, 800), st.integers(0, 600)),
    size=st.tuples(st.integers(40, 200), st.integers(40, 160)),
)
def test_the_share_of_tissue_is_the_same_from_every_frame(
    name: str, bounds: tuple[int, int, int, int] | None, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    slide = Sheet(WIDTH, HEIGHT, bounds)
    # the left half is tissue: the true share is a matter of areas
    mask = mask_of(np.arange(WIDTH)[None, :].repeat(HEIGHT, axis=0) < WIDTH // 2, WIDTH, HEIGHT)
    area0 = box(*corner, corner[0] + size[0], corner[1] + size[1])
    found = align(marked(into(name, area0, slide)), slide, name, mask, "a.svs")
    score = next(score for score in found.scores if score.frame == found.frame)
    true = area0.intersection(box(0, 0, WIDTH // 2, HEIGHT)).area / area0.intersection(box(0, 0, WIDTH, HEIGHT)).area
    assert score.on_tissue == pytest.approx(true, abs=0.03)


def test_a_hole_is_no_annotated_area_and_wipes_nothing_of_others() -> None:
    slide, picture = Sheet(1000, 1000, None), np.zeros((500, 500), np.bool_)
    picture[200:300, 200:300] = True  # the tissue lies in the hole
    mask = mask_of(picture, 1000, 1000)
    ring = box(200, 200, 800, 800).difference(box(390, 390, 610, 610))
    island = box(450, 450, 550, 550)
    shares = [
        align(marked(*areas), slide, "qupath", mask, "a.svs").scores[0].on_tissue
        for areas in [(ring,), (ring, island), (island, ring), (MultiPolygon([ring, island]),)]
    ]
    assert shares[0] == 0.0
    true = island.area / (island.area + ring.area)
    assert shares[1:] == [pytest.approx(true, abs=0.002)] * 3
    assert len(set(shares[1:])) == 1


def test_narrow_holes_leave_the_area_between_them() -> None:
    slide, picture = Sheet(1000, 1000, None), np.zeros((100, 100), np.bool_)
    picture[:, :50] = True
    holes = [box(x, y, x + 20, y + 20) for x in range(510, 980, 40) for y in range(10, 980, 40)]
    sieve = box(0, 0, 1000, 1000).difference(MultiPolygon(holes))
    found = align(marked(sieve), slide, "auto", mask_of(picture, 1000, 1000), "a.svs")
    true = sieve.intersection(box(0, 0, 500, 1000)).area / sieve.area
    assert found.scores[0].on_tissue == pytest.approx(true, abs=0.07)


@pytest.mark.parametrize(
    "speck",
    [box(500.2, 500.2, 500.3, 500.3), Point(505, 505).buffer(0.01), box(500, 500, 500.001, 509), box(0, 0, 0.1, 0.1)],
)
def test_a_region_smaller_than_a_pixel_is_still_seen(speck: BaseGeometry) -> None:
    mask = mask_of(np.ones((100, 100), np.bool_), 1000, 1000)
    assert align(marked(speck), Sheet(1000, 1000, None), "auto", mask, "a.svs").scores[0].on_tissue == 1.0


FAR = 2.0**31 - 1


@pytest.mark.parametrize(
    ("area", "on_tissue"),
    [
        (box(-FAR, -FAR, FAR, FAR), 0.5),
        (Polygon([(-FAR, 0), (FAR, 0), (0, FAR)]), 0.5),
        (box(-FAR, 100, 250, 200), 1.0),
        (box(2**30, 2**30, FAR, FAR), None),
    ],
)
def test_far_off_coordinates_cost_neither_memory_nor_truth(area: BaseGeometry, on_tissue: float | None) -> None:
    picture = np.zeros((100, 100), np.bool_)
    picture[:, :50] = True
    found = align(marked(area), Sheet(1000, 1000, None), "qupath", mask_of(picture, 1000, 1000), "a.svs")
    assert found.scores[0].on_tissue == (None if on_tissue is None else pytest.approx(on_tissue, abs=0.02))


def test_bounds_from_a_damaged_header_cost_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def spy(polygons: object, width: int, height: int) -> NDArray[np.bool_]:
        sizes.append(width * height)
        return np.ones((height, width), np.bool_)

    monkeypatch.setattr("w2wpath.qupath.align._painted", spy)
    slide = Sheet(1000, 1000, (2**31 - 1, -(2**31), 2**31 - 1, 2**31 - 1))
    align(marked(ON_TISSUE), slide, "auto", mask_of(CHECKS, 1000, 1000), "a.mrxs")
    assert sizes[0] == pytest.approx(MOST_PX, rel=0.01)


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (0.0001, "1 %"), (0.124, "12 %"), (0.9999, "99 %"), (1.0, "100 %")]
)
def test_nothing_and_all_are_said_only_where_they_are_exact(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.realdata
def test_the_frame_of_real_annotations_is_found(test_data: Path) -> None:
    with open_slide(test_data / "slides/colon_polyp_40x.tif") as slide:
        rois = read_rois(test_data / "annotations/colon_polyp_40x.geojson")
        found = align(rois, slide, "auto", tissue_mask(slide), "polyp")
    assert found.frame == Frame("qupath", 0, 0, slide.width0, slide.height0)
    assert found.warnings == ()
    assert found.scores[0].fits
    assert found.scores[0].tissue > 0.85
