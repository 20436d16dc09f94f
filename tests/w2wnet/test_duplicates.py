"""Tiles with the same pixels in several patients."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.w2wnet.conftest import PX, add_slide, new_store
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet import duplicates
from w2wpath.w2wnet.duplicates import Duplicates, find_duplicates, warning


@pytest.fixture
def images() -> NDArray[np.uint8]:
    """Twelve tiles that differ; in the two slides made of them, patients take turns."""
    return np.random.default_rng(0).integers(0, 256, (12, PX, PX, 3), dtype=np.uint8)


def found_in(
    path: Path, images: NDArray[np.uint8], label: tuple[int, ...] = (0, 1, 2) * 2
) -> tuple[TileStore, Duplicates]:
    store = new_store(path / "tiles.zarr")
    add_slide(store, "s1", np.array(label), np.array(label), ["a", "b"], images[:6])
    add_slide(store, "s2", np.array(label), np.array(label), ["a", "c"], images[6:])
    return store, find_duplicates(store, store.table())


def test_tiles_that_differ_are_none(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    _, found = found_in(tmp_path, images)
    assert found == Duplicates([], 0)
    assert warning(found.about()) == ""


def test_copies_within_one_patient_are_none(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    images[2] = images[6] = images[0]  # all of patient a
    assert found_in(tmp_path, images)[1] == Duplicates([], 0)


def test_copies_across_patients_are_listed_with_their_places(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    images[1] = images[2] = images[0]  # a, b and a again
    images[11] = images[3]  # b and c
    _, found = found_in(tmp_path, images)
    assert found.about() == {
        "duplicates": [
            {
                "hash": hashlib.sha256(images[0].tobytes()).hexdigest(),
                "tiles": [["s1", 0, 0, "a"], ["s1", PX, 0, "b"], ["s1", 2 * PX, 0, "a"]],
            },
            {
                "hash": hashlib.sha256(images[3].tobytes()).hexdigest(),
                "tiles": [["s1", 3 * PX, 0, "b"], ["s2", 5 * PX, 0, "c"]],
            },
        ],
        "duplicate_tiles": 5,
    }
    assert warning(found.about()) == (
        "5 tiles have the same pixels as a tile of another patient, for instance s1 x0=0 y0=0 of patient a. A network "
        "may be tested on what it was trained on. Tell whether they are slides of one patient (`w2wpath patients`), "
        "or remove the copies."
    )


def test_tiles_of_one_colour_and_tiles_without_a_label_are_left_out(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    images[[0, 1]] = 255
    images[[2, 8]] = (250, 240, 245)
    images[[7, 10]] = images[4]
    images[7, 0, 0, 0] ^= 1  # one bit of one pixel
    images[11] = images[5]
    assert found_in(tmp_path, images, (0, 1, 2, 0, 1, -1))[1] == Duplicates([], 0)


def test_chunks_do_not_part_copies_and_the_list_is_capped(
    tmp_path: Path, images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    images[[7, 9, 11]] = images[[0, 2, 4]]  # a and c, three times
    monkeypatch.setattr(duplicates, "IMAGES_AT_ONCE", 5)
    monkeypatch.setattr(duplicates, "MOST_GROUPS", 2)
    _, found = found_in(tmp_path, images)
    assert (len(found.groups), found.tiles) == (2, 6)
