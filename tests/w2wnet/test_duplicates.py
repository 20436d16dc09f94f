"""Copies of tiles across patients are found by their pixels, and only those."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from tests.w2wnet.conftest import add_slide, new_store, pixels_of
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.duplicates import MOST_GROUPS, across_patients, digests

CONTENT = np.arange(12) % 3


def store_of(path: Path, pixels: np.ndarray) -> TileStore:
    """Twelve tiles on two slides; patients are a and b on the first, c and a on the second, in turn."""
    store = new_store(path)
    add_slide(store, "s1", CONTENT[:6], CONTENT[:6], ["a", "b"], pixels[:6])
    add_slide(store, "s2", CONTENT[6:], CONTENT[6:], ["c", "a"], pixels[6:])
    return store


def all_digests(store: TileStore) -> np.ndarray:
    return np.concatenate([digests(store.images(slide)) for slide in store.slides()])


def test_a_digest_is_the_sha256_of_the_pixels() -> None:
    images = pixels_of(CONTENT, 0)
    assert digests(images)[3].tobytes() == hashlib.sha256(images[3].tobytes()).digest()


def test_a_tile_of_one_colour_has_no_digest() -> None:
    images = pixels_of(CONTENT, 0)
    images[2], images[5] = 255, (10, 20, 30)
    images[7] = 255
    images[7, 0, 0, 0] = 254
    assert np.flatnonzero(~digests(images).any(axis=1)).tolist() == [2, 5]


def test_copies_across_patients_are_grouped_with_their_places(tmp_path: Path) -> None:
    pixels = pixels_of(CONTENT, 0)
    pixels[6] = pixels[1]  # of patients c and b
    pixels[7] = pixels[0]  # both of patient a
    pixels[[3, 8]] = 255  # glass
    store = store_of(tmp_path / "tiles.zarr", pixels)
    found = across_patients(store.table(), all_digests(store))
    table = store.table()
    assert found.tiles == 2
    assert found.groups == [
        {
            "hash": hashlib.sha256(pixels[1].tobytes()).hexdigest(),
            "tiles": [["s1", int(table.x0[1]), 0, "b"], ["s2", int(table.x0[6]), 0, "c"]],
        }
    ]
    assert found.says() == (
        "2 tiles have the same pixels as a tile of another patient, so a network may be tested on what it was trained "
        "on. Are they one patient's slides (`w2wpath patients map.csv`), or copies?"
    )


def test_without_copies_nothing_is_said(tmp_path: Path) -> None:
    store = store_of(tmp_path / "tiles.zarr", pixels_of(CONTENT, 0))
    found = across_patients(store.table(), all_digests(store))
    assert (found.tiles, found.groups, found.says()) == (0, [], "")


def test_the_largest_groups_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    store = new_store(tmp_path / "tiles.zarr")
    content = np.zeros(2 * MOST_GROUPS + 5, dtype=np.int64)
    half = pixels_of(content[: MOST_GROUPS + 2], 1)
    pixels = np.concatenate([np.repeat(half, 2, axis=0)[: len(content) - 1], half[-1:]])
    pixels[-2] = pixels[-3] = pixels[-1]
    add_slide(store, "s", content, content, ["a", "b"], pixels)
    found = across_patients(store.table(), digests(pixels))
    assert len(found.groups) == MOST_GROUPS
    assert len(found.groups[0]["tiles"]) >= 3
    assert found.tiles > 2 * MOST_GROUPS
