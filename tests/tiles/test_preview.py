"""Pictures of tiles: each lies where it was cut and shows what became of it; a sheet draws evenly over the patients."""

from __future__ import annotations

import io
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry import Point, box

from tests.tiles.made import SPEC, made_pixels, made_tiles
from w2wpath.errors import ConfigError
from w2wpath.qupath.colours import class_colours
from w2wpath.tiles import preview
from w2wpath.tiles.labels import labels_of
from w2wpath.tiles.preview import BORDER, CONFLICT, GAP, GREY, INK, contact_sheet_png, kinds, preview_png
from w2wpath.tiles.store import SlideTiles, StoreSpec, TileStore

SIZE0 = (800, 400)
PAPER = (235, 205, 225)
THUMBNAIL = np.full((200, 400, 3), PAPER, np.uint8)  # shown four times as large: 2 px to a level-0 pixel
RED, GREEN = (200, 0, 0), (0, 150, 0)
COLOURS = {"A": list(RED), "B": list(GREEN)}
# corner, label, shares of A and B
TILES = [((0, 0), 0, (1.0, 0.0)), ((100, 0), 1, (0.1, 0.8)), ((200, 0), -1, (0.3, 0.0)), ((300, 0), -1, (0.5, 0.5))]
SHARES: dict[str, Any] = {"label_share": 0.5, "conflict_share": 0.25}


def columns(tiles: list[tuple[tuple[int, int], int, tuple[float, ...]]], side0: int = 100) -> dict[str, NDArray[Any]]:
    corners = np.array([corner for corner, _, _ in tiles], dtype=np.int32).reshape(-1, 2)
    return {
        "x0": corners[:, 0],
        "y0": corners[:, 1],
        "side0": np.full(len(tiles), side0, dtype=np.int32),
        "label": np.array([label for _, label, _ in tiles], dtype=np.int16),
        "area_share": np.array([shares for _, _, shares in tiles], dtype=np.float32).reshape(
            len(tiles), -1 if tiles else 2
        ),
    }


def drawn(
    tiles: dict[str, NDArray[Any]] | None = None,
    regions0: Any = (),
    *,
    thumbnail: NDArray[np.uint8] = THUMBNAIL,
    classes: tuple[str, ...] = ("A", "B"),
    title: str = "a.svs",
) -> Image.Image:
    made = columns(TILES) if tiles is None else tiles
    picture = Image.open(io.BytesIO(preview_png(thumbnail, SIZE0, made, classes, COLOURS, regions0, title, **SHARES)))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    assert picture.width <= 2400
    return picture


def slide_in(picture: Image.Image) -> NDArray[np.int64]:
    """The pixels within the light grey frame."""
    pixels = np.asarray(picture).astype(np.int64)
    frame = (pixels == 200).all(axis=-1)
    rows, cols = np.flatnonzero(frame.sum(axis=1) > 100), np.flatnonzero(frame.sum(axis=0) > 50)
    return pixels[rows[0] + 1 : rows[-1], cols[0] + 1 : cols[-1]]


def near(pixels: NDArray[np.int64], colour: tuple[int, ...], within: int = 6) -> NDArray[np.bool_]:
    return np.abs(pixels - np.array(colour)).sum(axis=-1) <= within


def mixed(colour: tuple[int, int, int], opacity: int) -> tuple[int, ...]:
    return tuple(
        round((255 - opacity) / 255 * under + opacity / 255 * over) for under, over in zip(PAPER, colour, strict=True)
    )


# what became of a tile ----------------------------------------------------------------------------------------------


def test_kinds_tell_labels_border_and_conflict() -> None:
    made = columns(TILES)
    assert kinds(made["label"], made["area_share"], **SHARES).tolist() == [0, 1, BORDER, CONFLICT]


@given(st.lists(st.lists(st.sampled_from([0.0, 0.2, 0.25, 0.3, 0.5, 0.6, 1.0]), min_size=3, max_size=3), min_size=1))
@pytest.mark.parametrize("policy", ["drop-conflict", "majority"])
def test_kinds_agree_with_the_counts_of_the_policy(policy: Any, rows: list[list[float]]) -> None:
    area_share = np.array(rows, dtype=np.float32)
    labels = labels_of(area_share, policy, label_share=0.5, conflict_share=0.25)
    found = kinds(labels.label, area_share, label_share=0.5, conflict_share=0.25 if policy == "drop-conflict" else None)
    assert (found == BORDER).sum() == labels.border
    assert (found == CONFLICT).sum() == labels.conflict
    assert np.array_equal(found[labels.label >= 0], labels.label[labels.label >= 0])


def test_one_class_alone_has_no_conflict() -> None:
    found = kinds(np.array([0, -1]), np.array([[0.9], [0.3]], dtype=np.float32), **SHARES)
    assert found.tolist() == [0, BORDER]


# a slide ------------------------------------------------------------------------------------------------------------


def test_tiles_lie_where_they_were_cut_and_show_what_became_of_them() -> None:
    slide = slide_in(drawn())
    assert slide.shape[:2] == (800, 1600)
    assert near(slide[20:180, 20:180], mixed(RED, 80)).all()
    assert near(slide[0, 0:200], mixed(RED, 190)).all()
    assert near(slide[20:180, 220:380], mixed(GREEN, 80)).all()
    assert near(slide[20:180, 420:580], PAPER).all()  # a border tile is hollow
    assert 0.4 < near(slide[1, 402:598], GREY).mean() < 0.6  # and its edge is dashed
    assert near(slide[20:180, 620:780], INK, 60).sum() > 300  # a cross
    assert (near(slide[100, 690:710], INK, 60)).any()
    assert near(slide[20:60, 680:720], PAPER).all()
    assert near(slide[210:, :], PAPER).all()
    assert near(slide[:, 810:], PAPER).all()


def test_regions_are_outlined_above_the_tiles() -> None:
    slide = slide_in(drawn(regions0=[("B", box(50, 50, 350, 350))]))
    assert near(slide[100, 110:690], GREEN, 12).all()  # over tiles of A and B alike
    assert near(slide[110:690, 700], GREEN, 12).all()
    assert near(slide[250:600, 110:690], PAPER).all()


def test_a_tile_without_a_label_is_seen_where_it_overlaps_a_labelled_one() -> None:
    overlapping = [((50, 0), -1, (0.5, 0.5)), ((0, 0), 0, (1.0, 0.0))]
    slide = slide_in(drawn(columns(overlapping)))
    assert near(slide[100, 190:210], INK, 60).any()
    assert near(slide[20:60, 180:199], mixed(RED, 80)).all()


def test_a_tile_over_the_edge_of_the_slide_is_cut_there() -> None:
    slide = slide_in(drawn(columns([((-50, 350), 0, (1.0, 0.0)), ((750, -60), 1, (0.0, 1.0))])))
    assert near(slide[705:795, 5:95], mixed(RED, 80)).all()
    assert near(slide[5:75, 1505:1595], mixed(GREEN, 80)).all()
    assert near(slide[:690, :1490], PAPER).all()


def test_tiles_of_few_pixels_are_spots() -> None:
    tiny = [((8 * i, 8), label, shares) for i, (_, label, shares) in enumerate(TILES)]
    picture = drawn(columns(tiny, side0=2))
    slide = slide_in(picture)
    for i, colour in enumerate([mixed(RED, 80), mixed(GREEN, 80), mixed(GREY, 130), mixed(INK, 220)]):
        assert near(slide[16:20, 16 * i : 16 * i + 4], colour).all()
    assert near(slide[21:], PAPER).all()
    # the legend shows the same spots, on white
    legend = np.asarray(picture).astype(np.int64)[-40:]
    white = tuple(round(255 - 130 / 255 * (255 - value)) for value in GREY)
    assert near(legend, white).sum() > 400


def test_colours_are_the_given_ones_and_else_the_usual() -> None:
    tiles = columns([((0, 0), 2, (0.0, 0.0, 1.0))])
    slide = slide_in(drawn(tiles, classes=("A", "B", "Tumor")))
    assert near(slide[20:180, 20:180], mixed(class_colours(("A", "B", "Tumor"))["Tumor"], 80)).all()


def test_no_letter_lies_on_the_slide_and_the_legend_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, tuple[int, int], int]] = []
    really = preview._write

    def spy(draw: Any, at: tuple[int, int], text: str, letters: int, room: int) -> None:
        written.append((text, at, letters))
        really(draw, at, text, letters, room)

    monkeypatch.setattr(preview, "_write", spy)
    picture = drawn()
    frame = np.flatnonzero((np.asarray(picture) == 200).all(axis=-1).sum(axis=1) > 100)
    top, bottom = frame[0], frame[-1]
    assert [text for text, _, _ in written] == ["a.svs", "A 1", "B 1", "border 1", "conflict 1"]
    assert all(y + 1.25 * letters <= top or y >= bottom for _, (_, y), letters in written)
    assert min(letters for _, _, letters in written) >= 14


@pytest.mark.parametrize("shape", [(200, 400), (1024, 700), (150, 900), (3000, 12), (40, 20), (30, 4000)])
def test_any_shape_of_slide_fits(shape: tuple[int, int]) -> None:
    picture = drawn(thumbnail=np.full((*shape, 3), 220, np.uint8))
    assert 640 <= picture.width <= 2400
    assert picture.height <= 1400


def test_any_name_can_be_written_and_none_leaves_the_picture() -> None:
    names = ("腫瘍 🙂", "line\nbreak", "x" * 500, "", "\x00", "a\udcff", *(f"class {i}" for i in range(40)))
    tiles = columns([((8 * i, 0), i, tuple(float(i == j) for j in range(len(names)))) for i in range(len(names))], 8)
    pixels = np.asarray(drawn(tiles, classes=names, title="y" * 500))
    assert (pixels[:, -GAP + 4 :] > 150).all()
    assert (pixels[-GAP // 2 :] > 150).all()


def test_no_tiles_show_the_slide_alone() -> None:
    assert near(slide_in(drawn(columns([]))), PAPER).all()


def test_far_off_and_empty_regions_are_no_trouble() -> None:
    far = 2.0**31
    slide = slide_in(drawn(columns(TILES[:1]), [("B", box(-far, 300, far, 350)), ("A", shapely.Polygon())]))
    assert near(slide[600, 10:-10], GREEN, 12).all()


def test_a_hundred_thousand_tiles_take_seconds() -> None:
    corners = np.stack(np.meshgrid(np.arange(320), np.arange(320)), axis=-1).reshape(-1, 2)
    rng = np.random.default_rng(0)
    made = {
        "x0": corners[:, 0] * 2,
        "y0": corners[:, 1],
        "side0": np.full(len(corners), 1),
        "label": rng.integers(-1, 2, len(corners)),
        "area_share": rng.random((len(corners), 2), dtype=np.float32),
    }
    began = time.perf_counter()
    drawn(made, [("A", Point(400, 200).buffer(100))])
    assert time.perf_counter() - began < 8


def test_the_same_tiles_give_the_same_bytes() -> None:
    one, other = (
        preview_png(THUMBNAIL, SIZE0, columns(TILES), ("A", "B"), COLOURS, [], "a", **SHARES) for _ in range(2)
    )
    assert one == other


# a class ------------------------------------------------------------------------------------------------------------


def grey(values: list[int], side: int) -> NDArray[np.uint8]:
    return np.stack([np.full((side, side, 3), value, np.uint8) for value in values])


def with_labels(tiles: SlideTiles, labels: list[int]) -> SlideTiles:
    return SlideTiles({**tiles.columns, "label": np.array(labels, dtype=np.int16)}, tiles.attributes)


@pytest.mark.parametrize(("side", "shown"), [(8, 128), (100, 100), (128, 128), (300, 128)])
def test_a_sheet_shows_the_tiles_of_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int, shown: int
) -> None:
    written: list[str] = []
    monkeypatch.setattr(preview, "_write", lambda draw, at, text, letters, room: written.append(text))
    store = TileStore.create_or_open(tmp_path / "tiles.zarr", StoreSpec(side, 0.5, side, "lanczos3"))
    store.add("b", with_labels(made_tiles(3, 1, patients=("P2",)), [0, 1, 0]), grey([10, 20, 30], side))
    store.add("a", with_labels(made_tiles(4, 0, patients=("P1",)), [-1, 0, 1, 0]), grey([40, 50, 60, 70], side))
    picture = np.asarray(Image.open(io.BytesIO(contact_sheet_png(store, "AC"))))
    assert written == ["AC: 4 of 4 tiles, 2 of 2 patients", "a", "8, 0", "a", "24, 0", "b", "0, 1", "b", "16, 1"]
    boxes = [np.argwhere((picture == value).all(axis=-1)) for value in (50, 70, 10, 30)]
    corners = [tuple(found.min(axis=0).tolist()) for found in boxes]
    assert [tuple((np.ptp(found, axis=0) + 1).tolist()) for found in boxes] == [(shown, shown)] * 4
    assert corners == [(corners[0][0], GAP + i * (128 + GAP // 2)) for i in range(4)]
    assert not any((picture == value).all(axis=-1).any() for value in (20, 40, 60))


def test_a_small_tile_is_enlarged_in_whole_steps(tmp_path: Path) -> None:
    store = TileStore.create_or_open(tmp_path / "tiles.zarr", SPEC)
    store.add("a", with_labels(made_tiles(1), [0]), made_pixels(1))
    picture = np.asarray(Image.open(io.BytesIO(contact_sheet_png(store, "AC"))))
    top = GAP + 33 + GAP // 2
    assert np.array_equal(picture[top : top + 128, GAP : GAP + 128], np.kron(made_pixels(1)[0], np.ones((16, 16, 1))))


def test_a_sheet_is_the_same_for_a_seed_and_holds_no_more_than_asked(tmp_path: Path) -> None:
    store = TileStore.create_or_open(tmp_path / "tiles.zarr", SPEC)
    store.add("a", made_tiles(120, patients=("P1", "P2", "P3")), made_pixels(120))
    sheets = [contact_sheet_png(store, "H", most=9, seed=seed) for seed in (0, 0, 1)]
    assert sheets[0] == sheets[1] == contact_sheet_png(store, "H", most=9, table=store.table())
    assert sheets[2] != sheets[0]
    assert Image.open(io.BytesIO(sheets[0])).height < Image.open(io.BytesIO(contact_sheet_png(store, "H"))).height


def test_a_class_without_tiles_has_an_empty_sheet_and_an_unknown_one_none(tmp_path: Path) -> None:
    store = TileStore.create_or_open(tmp_path / "tiles.zarr", SPEC)
    store.add("a", with_labels(made_tiles(2), [0, -1]), made_pixels(2))
    assert Image.open(io.BytesIO(contact_sheet_png(store, "H"))).height < 100
    with pytest.raises(ConfigError) as caught:
        contact_sheet_png(store, "HH")
    assert str(caught.value) == f"{store.path}: class must be one of AC, H; got 'HH'. Did you mean 'H'?"


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 70), st.integers(0, 3))
def test_tiles_are_drawn_evenly_over_the_patients(patients: list[int], most: int, seed: int) -> None:
    patient = np.array(patients, dtype=np.int32)
    found = preview._evenly(patient, most, seed)
    assert len(set(found.tolist())) == len(found) == min(most, len(patients))
    taken, there = Counter(patient[found].tolist()), Counter(patients)
    for one in there:
        assert taken[one] == there[one] or taken[one] >= max(taken.values()) - 1
