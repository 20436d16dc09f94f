"""The store: what goes in comes out; slides are joined by name; strangers are refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import file_bytes
from tests.tiles.made import SPEC, made_pixels, made_tiles
from w2wpath.errors import StoreError
from w2wpath.tiles.store import COLUMNS, SHARD_TILES, StoreSpec, TileStore


@pytest.fixture
def store(tmp_path: Path) -> TileStore:
    return TileStore.create_or_open(tmp_path / "tiles.zarr", SPEC)


def refusal(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        TileStore.open(path)
    return str(caught.value)


def test_what_goes_in_comes_out(store: TileStore) -> None:
    tiles, pixels = made_tiles(5), made_pixels(5)
    store.add("a", tiles, pixels)
    found = TileStore.open(store.path).read("a")
    assert found.attributes == tiles.attributes
    for name in COLUMNS:
        assert found.columns[name].dtype == tiles.columns[name].dtype
        assert np.array_equal(found.columns[name], tiles.columns[name])
    assert np.array_equal(store.images("a"), pixels)
    assert np.array_equal(store.images("a", np.array([1, 4])), pixels[[1, 4]])
    assert store.images("a", np.array([], dtype=np.int64)).shape == (0, 8, 8, 3)


@pytest.mark.parametrize("n", [1, SHARD_TILES, SHARD_TILES + 1])
def test_any_number_of_tiles_fills_its_shards(store: TileStore, n: int) -> None:
    pixels = made_pixels(n)
    store.add("a", made_tiles(n), iter(pixels))
    assert np.array_equal(store.images("a"), pixels)
    assert store.read("a").n == n


def test_black_tiles_are_tiles(store: TileStore) -> None:
    store.add("a", made_tiles(3), np.zeros((3, 8, 8, 3), dtype=np.uint8))
    assert store.read("a").n == 3
    assert not store.images("a").any()


def test_a_second_slide_leaves_the_first_as_it_is(store: TileStore) -> None:
    store.add("a", made_tiles(3), made_pixels(3))
    before = file_bytes(store.path)
    store.add("b", made_tiles(4, 1), made_pixels(4, 1))
    after = file_bytes(store.path)
    assert store.slides() == ["a", "b"]
    assert {name: after[name] for name in before} == before
    assert not store.scratch.exists()


def test_a_slide_of_the_same_name_is_replaced(store: TileStore) -> None:
    store.add("a", made_tiles(3), made_pixels(3))
    store.add("a", made_tiles(5, 1), made_pixels(5, 1))
    assert store.slides() == ["a"]
    assert store.read("a").attributes["pixels_hash"] == "pixels 1"
    assert np.array_equal(store.images("a"), made_pixels(5, 1))
    assert not store.scratch.exists()


def test_slides_are_joined_by_the_names_of_classes_and_patients(store: TileStore) -> None:
    store.add("b", made_tiles(3, 0, classes=("AC", "H"), patients=("P2",)), made_pixels(3))
    store.add("a", made_tiles(4, 1, classes=("H", "AD"), patients=("P3", "P1")), made_pixels(4))
    table = store.table()
    assert (table.slides, table.classes, table.patients) == (("a", "b"), ("AC", "AD", "H"), ("P1", "P2", "P3"))
    assert table.slide.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert table.row.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert table.label.tolist() == [-1, 2, 1, -1, -1, 0, 2]
    assert table.patient.tolist() == [2, 0, 2, 0, 1, 1, 1]
    own = made_tiles(4, 1, classes=("H", "AD")).columns["area_share"]
    assert np.array_equal(table.area_share[:4], np.stack([np.zeros(4), own[:, 1], own[:, 0]], axis=1))
    assert (table.n, table.where(5)) == (7, "b x0=8 y0=0")


def test_taking_rows_keeps_the_names(store: TileStore) -> None:
    store.add("a", made_tiles(6), made_pixels(6))
    table = store.table()
    assert table.labelled().tolist() == [1, 2, 4, 5]
    taken = table.take(table.labelled())
    assert (taken.slides, taken.classes, taken.patients) == (table.slides, table.classes, table.patients)
    assert (taken.n, taken.row.tolist(), taken.x0.tolist()) == (4, [1, 2, 4, 5], [8, 16, 32, 40])
    assert np.array_equal(taken.tile_id, made_tiles(6).columns["tile_id"][[1, 2, 4, 5]])


def test_the_content_hash_follows_slides_names_and_labels(store: TileStore) -> None:
    hashes = [store.content_hash()]
    for name, seed in (("a", 0), ("b", 0), ("b", 1)):
        store.add(name, made_tiles(2, seed), made_pixels(2, seed))
        hashes.append(store.content_hash())
    assert len(set(hashes)) == 4
    assert store.content_hash() == hashes[-1]


def test_a_published_folder_appears_whole_or_not_at_all(store: TileStore) -> None:
    def interrupted() -> None:
        with store.publish("decisions/run-2") as fresh:
            fresh.mkdir()
            raise KeyboardInterrupt

    with store.publish("decisions/run-1") as fresh:
        fresh.mkdir()
        (fresh / "state").write_text("kept")
        assert not (store.path / "decisions").exists()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [entry.name for entry in (store.path / "decisions").iterdir()] == ["run-1"]
    assert (store.path / "decisions" / "run-1" / "state").read_text() == "kept"
    assert not store.scratch.exists()


def test_a_source_of_pixels_that_fails_leaves_the_old_slide(store: TileStore) -> None:
    def torn() -> Any:
        yield from made_pixels(2, 1)
        raise RuntimeError("the reader stopped")

    store.add("a", made_tiles(3), made_pixels(3))
    before = file_bytes(store.path)
    with pytest.raises(RuntimeError, match=r"^the reader stopped$"):
        store.add("a", made_tiles(3, 1), torn())
    assert file_bytes(store.path) == before
    assert not store.scratch.exists()


def test_a_store_of_other_tiles_is_refused(store: TileStore) -> None:
    with pytest.raises(StoreError) as caught:
        TileStore.create_or_open(store.path, StoreSpec(224, 1.0, 112, "lanczos3"))
    assert str(caught.value) == (
        f"{store.path}: holds tiles of 8 px at 0.5 um/px with step 8 (lanczos3); asked for 224 px at 1 um/px "
        "with step 112 (lanczos3). Use the same settings, or another store with -o."
    )


def test_a_store_that_is_there_is_opened_and_not_written(store: TileStore) -> None:
    before = file_bytes(store.path)
    assert TileStore.create_or_open(store.path, SPEC).spec == SPEC
    assert file_bytes(store.path) == before
    assert [entry.name for entry in store.path.parent.iterdir()] == ["tiles.zarr"]


def test_a_missing_store_names_the_command_that_makes_one(tmp_path: Path) -> None:
    path = tmp_path / "no.zarr"
    assert refusal(path) == f"{path}: no such tile store. Make one with `w2wpath tile slide.svs rois.geojson`."


def test_an_empty_store_names_the_command_that_fills_it(store: TileStore) -> None:
    with pytest.raises(StoreError) as caught:
        store.table()
    assert str(caught.value) == (f"{store.path}: holds no slide. Add one with `w2wpath tile slide.svs rois.geojson`.")


def test_a_slide_that_is_not_there_is_named(store: TileStore) -> None:
    with pytest.raises(StoreError) as caught:
        store.read("b")
    cause = caught.value.__cause__
    assert str(caught.value) == (
        f"{store.path}: the tiles of slide 'b' cannot be read ({type(cause).__name__}: {cause}). "
        f"Remove {store.path / 'slides' / 'b'} and tile this slide again; the others are not affected."
    )


@pytest.mark.parametrize("name", ["", ".", "..", "__a", "a/b", "../a", "a\0b"])
def test_a_name_that_could_leave_the_store_is_refused(store: TileStore, name: str) -> None:
    with pytest.raises(StoreError) as caught:
        store.add(name, made_tiles(1), made_pixels(1))
    assert str(caught.value) == f"slide name {name!r} cannot name a folder of the store. Rename the file."
    assert store.slides() == []


@pytest.mark.parametrize("name", ["slide 1 (2)", "p%20#1", "Ünïcode", ".hidden", "a.replaced-b", "zarr.json"])
def test_odd_file_names_are_slides_like_any_other(store: TileStore, name: str) -> None:
    store.add(name, made_tiles(2), made_pixels(2))
    assert TileStore.open(store.path).slides() == [name]
    assert np.array_equal(store.images(name), made_pixels(2))


@pytest.mark.parametrize(
    "root",
    [
        "{}",
        "not json",
        '{"attributes": {}}',
        '{"attributes": {"w2wpath": 3}}',
        '{"attributes": {"w2wpath": {"schema": 1}}}',
        '{"attributes": null}',
        "[]",
        "\udcff",
    ],
)
def test_a_root_that_is_not_ours_is_refused(tmp_path: Path, root: str) -> None:
    path = tmp_path / "tiles.zarr"
    path.mkdir()
    (path / "zarr.json").write_bytes(root.encode("utf-8", "surrogateescape"))
    assert refusal(path) == f"{path}: not a w2wpath tile store. Give another path, or move it away."


def test_a_newer_schema_is_refused(store: TileStore) -> None:
    root = store.path / "zarr.json"
    about = json.loads(root.read_text())
    about["attributes"]["w2wpath"] = {"schema": 2, "something": "new"}
    root.write_text(json.dumps(about))
    assert refusal(store.path) == (
        f"{store.path}: has schema 2, but this w2wpath reads schema 1. "
        "Update w2wpath if the store is newer, or tile again into another store."
    )
