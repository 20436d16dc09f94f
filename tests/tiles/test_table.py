"""Columns and attributes: rows are left out in all columns, slides join by name, a checksum guards what is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.tiles.made import made_tiles
from w2wpath.errors import StoreError
from w2wpath.tiles.codecs import write_pixels
from w2wpath.tiles.store import COLUMNS
from w2wpath.tiles.table import SlideTiles, check_name, damage, join, read_attributes, read_columns, write_slide


def written(group: Path) -> SlideTiles:
    tiles = made_tiles(3)
    write_pixels(group, "zstd", 8, iter([b"a", b"b", b"c"]))
    write_slide(group, tiles, "zstd")
    return tiles


def test_nothing_changes_where_every_tile_was_read() -> None:
    tiles = made_tiles(3)
    assert tiles.without_damaged(np.ones(3, dtype=np.bool_)) is tiles


def test_damaged_tiles_are_added_to_those_known() -> None:
    once = made_tiles(4).without_damaged(np.array([True, False, True, True]))
    twice = once.without_damaged(np.array([True, True, False]))
    assert twice.attributes["damaged"] == [[8, 0], [24, 0]]
    assert twice.corners == [(0, 0), (16, 0)]
    assert all(len(twice.columns[name]) == 2 for name in COLUMNS)


def test_joining_keeps_the_order_of_slides_and_sorts_names() -> None:
    parts = [made_tiles(2, 0, classes=("H", "AC")), made_tiles(1, 1, classes=("AD",), patients=("P0",))]
    table = join(["b", "a"], parts)
    assert (table.slides, table.classes, table.patients) == (("b", "a"), ("AC", "AD", "H"), ("P0", "P1"))
    assert (table.slide.tolist(), table.label.tolist(), table.patient.tolist()) == ([0, 0, 1], [-1, 2, -1], [1, 1, 0])


def test_attributes_and_columns_come_back_whatever_the_order_of_the_json(tmp_path: Path) -> None:
    tiles = written(tmp_path)
    head = json.loads((tmp_path / "zarr.json").read_text())
    (tmp_path / "zarr.json").write_text(json.dumps({key: head[key] for key in sorted(head)}, sort_keys=True))
    attributes, heads = read_attributes(tmp_path)
    assert attributes == tiles.attributes
    columns = read_columns(tmp_path, "zstd", heads)
    assert all(np.array_equal(columns[name], tiles.columns[name]) for name in COLUMNS)


def test_an_attribute_that_was_changed_is_noticed(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "zarr.json"
    path.write_text(path.read_text().replace('"P1"', '"P2"'))
    with pytest.raises(ValueError, match=r"^its attributes are damaged \(crc32c\)$"):
        read_attributes(tmp_path)


def test_a_description_that_was_changed_is_noticed(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "label" / "zarr.json"
    path.write_text(path.read_text().replace('"fill_value": 0', '"fill_value": 1'))
    with pytest.raises(ValueError, match=r"^the description of label is damaged \(crc32c\)$"):
        read_columns(tmp_path, "zstd", read_attributes(tmp_path)[1])


@pytest.mark.parametrize("name", ["", "..", "__x", "a/b"])
def test_a_name_that_could_leave_the_store_is_refused(name: str) -> None:
    with pytest.raises(StoreError) as caught:
        check_name(name)
    assert str(caught.value) == f"slide name {name!r} cannot name a folder of the store. Rename the file."


def test_damage_says_which_slide_and_how_to_cure_it(tmp_path: Path) -> None:
    def read() -> None:
        with damage(tmp_path, "a"):
            raise KeyError("codecs")

    with pytest.raises(StoreError) as caught:
        read()
    assert str(caught.value) == (
        f"{tmp_path}: the tiles of slide 'a' cannot be read (KeyError: 'codecs'). "
        f"Remove {tmp_path / 'slides' / 'a'} and tile this slide again; the others are not affected."
    )
