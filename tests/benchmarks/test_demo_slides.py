"""The demo's slides: small, readable as any slide, with faults that are where the truth says."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import file_bytes
from w2wpath.benchmarks import demo_slides
from w2wpath.benchmarks.demo_slides import CLASSES, MPP, PATIENTS, TILE_PX, DemoSlide, make_demo_slides
from w2wpath.config import TileSettings
from w2wpath.qupath.read import read_rois
from w2wpath.slides.reader import open_slide
from w2wpath.tiles.cohort import tile
from w2wpath.tiles.entries import Entry
from w2wpath.tiles.store import TileStore, TileTable

Made = tuple[list[DemoSlide], Path]
Key = tuple[str, int, int]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The slides of seed 0; read them, never write them."""
    return make_demo_slides(tmp_path_factory.mktemp("demo") / "slides")


@pytest.fixture(scope="module")
def tiles(made: Made, tmp_path_factory: pytest.TempPathFactory) -> TileTable:
    """All of them, tiled as the demo does."""
    path = tmp_path_factory.mktemp("store") / "tiles.zarr"
    entries = [Entry(one.slide, one.rois, one.patient) for one in made[0]]
    outcomes = tile(path, entries, TileSettings(tile_px=TILE_PX, mpp=MPP))
    assert [outcome.error for outcome in outcomes] == [""] * PATIENTS
    return TileStore.open(path).table()


def truth_of(made: Made) -> dict[Key, dict[str, str]]:
    with made[1].open(encoding="utf-8", newline="") as file:
        return {(row["slide"], int(row["x0"]), int(row["y0"])): row for row in csv.DictReader(file)}


def label_of(table: TileTable) -> dict[Key, str]:
    return {
        (table.slides[table.slide[i]], int(table.x0[i]), int(table.y0[i])): table.classes[table.label[i]]
        for i in table.labelled()
    }


def test_there_is_a_slide_with_regions_for_each_of_eight_patients(made: Made) -> None:
    slides, truth = made
    assert [one.slide.name for one in slides] == [f"demo-{i}.tif" for i in range(1, 9)]
    assert [one.rois.name for one in slides] == [f"demo-{i}.geojson" for i in range(1, 9)]
    assert [one.patient for one in slides] == [f"patient-{i}" for i in range(1, 9)]
    assert truth.name == "truth.csv"
    assert len(file_bytes(truth.parent)) == 17


def test_each_opens_as_a_slide_of_two_levels_that_knows_its_scale(made: Made) -> None:
    for one in made[0]:
        with open_slide(one.slide) as slide:
            assert (slide.width0, slide.height0) == (224, 384)
            assert slide.downsamples == (1.0, 2.0)
            assert slide.mpp == pytest.approx(MPP, rel=1e-4)
            assert slide.mpp_from == "header"
            assert slide.bounds0 is None


def test_the_regions_are_of_the_two_classes_and_need_no_repair(made: Made) -> None:
    for one in made[0]:
        rois = read_rois(one.rois)
        assert rois.classes == CLASSES
        assert {line.reason for line in rois.report} == {""}


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(made: Made, tmp_path: Path) -> None:
    first = file_bytes(made[1].parent)
    again = file_bytes(make_demo_slides(tmp_path / "again")[1].parent)
    other = file_bytes(make_demo_slides(tmp_path / "other", seed=1)[1].parent)
    text = [name for name in first if not name.endswith(".tif")]
    assert {name: again[name] for name in text} == {name: first[name] for name in text}
    assert list(other) == list(first)
    assert all(other[name] != first[name] for name in text)


def test_the_same_seed_gives_the_same_pixels(made: Made, tmp_path: Path) -> None:
    again, _ = make_demo_slides(tmp_path)
    for one, other in zip(made[0], again, strict=True):
        with open_slide(one.slide) as first, open_slide(other.slide) as second:
            pixels = [slide.read_rgb(0, 0, 0, slide.width0, slide.height0) for slide in (first, second)]
        assert np.array_equal(*pixels)


def test_no_two_patients_share_a_pixel_of_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[NDArray[np.uint8]] = []
    really: Callable[..., Any] = demo_slides._augmented

    def spy(part: NDArray[np.uint8], *others: Any) -> Any:
        parts.append(part)
        return really(part, *others)

    monkeypatch.setattr(demo_slides, "_augmented", spy)
    make_demo_slides(tmp_path)
    assert [part.shape for part in parts] == [(256, 128, 3)] * PATIENTS
    assert all(part.base is parts[0].base for part in parts)
    assert not any(np.shares_memory(one, other) for one, other in itertools.combinations(parts, 2))


def test_each_slide_has_faults_of_every_kind(made: Made) -> None:
    truth = truth_of(made)
    for one in made[0]:
        kinds = [row["kind"] for (slide, _, _), row in truth.items() if slide == one.slide.stem and row["kind"]]
        assert {kind: kinds.count(kind) for kind in set(kinds)} == {"label": 4, "blur": 3, "background": 3}


def test_what_has_a_kind_is_spurious_and_nothing_else(made: Made) -> None:
    for (_, x0, y0), row in truth_of(made).items():
        assert (x0 % TILE_PX, y0 % TILE_PX, row["side0"]) == (0, 0, str(TILE_PX))
        assert row["spurious"] == ("1" if row["kind"] else "0")
        assert row["content"] in (("",) if row["kind"] == "background" else CLASSES)


def test_every_wrong_region_gives_a_tile_with_the_wrong_label(made: Made, tiles: TileTable) -> None:
    labels = label_of(tiles)
    wrong = {key: row["content"] for key, row in truth_of(made).items() if row["kind"] == "label"}
    assert len(wrong) == 4 * PATIENTS
    assert {key: labels[key] for key in wrong} == {key: CLASSES[1 - CLASSES.index(wrong[key])] for key in wrong}


def test_every_piece_of_glass_in_a_region_gives_a_labelled_tile(made: Made, tiles: TileTable) -> None:
    labels = label_of(tiles)
    glass = [key for key, row in truth_of(made).items() if row["kind"] == "background"]
    assert len(glass) == 3 * PATIENTS
    assert [key for key in glass if key not in labels] == []


def test_glass_is_bright_and_blur_is_smooth(made: Made) -> None:
    truth = truth_of(made)
    detail: dict[str, list[float]] = {"": [], "blur": []}
    for one in made[0]:
        with open_slide(one.slide) as slide:
            for (name, x0, y0), row in truth.items():
                if name == one.slide.stem and row["kind"] in ("", "blur", "background"):
                    grey = slide.read_rgb(x0, y0, 0, TILE_PX, TILE_PX).mean(axis=-1)
                    if row["kind"] == "background":
                        assert grey.min() > 225
                    else:
                        detail[row["kind"]].append(float(np.abs(np.diff(grey, axis=1)).mean()))
    assert len(detail["blur"]) == 3 * PATIENTS
    assert np.median(detail["blur"]) < 0.5 * np.median(detail[""])


def test_good_tiles_with_one_content_carry_its_label(made: Made, tiles: TileTable) -> None:
    labels, truth = label_of(tiles), truth_of(made)
    good = [key for key, row in truth.items() if row["spurious"] == "0" and key in labels]
    assert len(good) > 150
    assert [key for key in good if labels[key] != truth[key]["content"]] == []
