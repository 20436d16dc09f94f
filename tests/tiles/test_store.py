"""The store: what goes in comes out; slides are joined by name; strangers are refused in words."""

from __future__ import annotations

import json
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import zarr

from tests.conftest import file_bytes, run_python
from tests.tiles.made import SPEC, empty_store, given, made_pixels, made_tiles, relabelled
from w2wpath.errors import StoreError
from w2wpath.tiles.codecs import CODECS, Codec, decoder, encoder
from w2wpath.tiles.store import COLUMNS, SHARD_TILES, SlideTiles, StoreSpec, TileStore


@pytest.fixture
def store(tmp_path: Path) -> TileStore:
    return TileStore.create_or_open(tmp_path / "tiles.zarr", SPEC)


@pytest.fixture(params=CODECS)
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> TileStore:
    """A store of each codec with 300 tiles of slide ``a``: one shard is full, one is not."""
    made = empty_store(tmp_path / f"{request.param}.zarr", request.param)
    assert made.add("a", made_tiles(300), given(request.param, made_pixels(300))) == 300
    return made


def shown(codec: Codec, pixels: Any) -> Any:
    """What `codec` makes of pixels."""
    if codec == "zstd":
        return pixels
    out = np.empty_like(pixels)
    for tile, into in zip(pixels, out, strict=True):
        decoder("jpeg")(encoder("jpeg")(tile), into)
    return out


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


# codecs -------------------------------------------------------------------------------------------------------------


def test_rows_come_in_the_order_asked_for_and_as_often(filled: TileStore) -> None:
    pixels = shown(filled.spec.codec, made_pixels(300))
    assert np.array_equal(filled.images("a"), pixels)
    rows = np.random.default_rng(0).integers(0, 300, 500)
    for threads in (None, 1, 2, 5):
        assert np.array_equal(filled.images("a", rows, threads=threads), pixels[rows])
    assert np.array_equal(filled.images("a", np.array([299, 0, 0])), pixels[[299, 0, 0]])
    assert filled.images("a", np.array([], dtype=np.int64)).shape == (0, 8, 8, 3)


@pytest.mark.parametrize("row", [-1, 300])
def test_a_row_that_is_not_there_is_an_index_error(filled: TileStore, row: int) -> None:
    with pytest.raises(IndexError) as caught:
        filled.images("a", np.array([5, row]))
    assert str(caught.value) == f"rows of slide 'a' go from 0 to 299; got {min(5, row)}, {max(5, row)}"


def test_zarr_reads_the_same(filled: TileStore) -> None:
    group = zarr.open_group(filled.path / "slides" / "a", mode="r")
    if filled.spec.codec == "zstd":
        assert np.array_equal(group["images"][...], made_pixels(300))
        assert group["images"].shards == (SHARD_TILES, 8, 8, 3)
        assert group["images"].chunks == (1, 8, 8, 3)
    else:
        data = group["data"][...].tobytes()
        places = zip(group["offset"][...].tolist(), group["length"][...].tolist(), strict=True)
        records = [data[offset : offset + length] for offset, length in places]
        assert records == [encoder("jpeg")(tile) for tile in made_pixels(300)]
    for name in COLUMNS:
        assert np.array_equal(group[name][...], made_tiles(300).columns[name])


def test_two_runs_give_the_same_bytes(filled: TileStore, tmp_path: Path) -> None:
    codec = filled.spec.codec
    again = empty_store(tmp_path / "again.zarr", codec)
    with ThreadPoolExecutor(3) as pool:
        tiles = given(codec, made_pixels(300)) if codec == "source" else pool.map(again.encode, made_pixels(300))
        again.add("a", made_tiles(300), tiles)
    assert file_bytes(again.path) == file_bytes(filled.path)
    filled.add("a", made_tiles(300), given(codec, made_pixels(300)))
    assert file_bytes(again.path) == file_bytes(filled.path)


def test_tiles_that_could_not_be_read_are_left_out_and_listed(store: TileStore) -> None:
    tiles, pixels = made_tiles(6), list(made_pixels(6))
    counts = {"tiles": 6, "by_class": {"AC": 2, "H": 2}, "border": 1, "conflict": 1}
    tiles = SlideTiles(tiles.columns, {**tiles.attributes, "counts": counts})
    kept = [0, 2, 3, 5]
    assert store.add("a", tiles, [pixel if i in kept else None for i, pixel in enumerate(pixels)]) == 4
    found = store.read("a")
    assert found.attributes == {
        **tiles.attributes,
        "damaged": [[8, 0], [32, 0]],
        "counts": {"tiles": 4, "by_class": {"AC": 0, "H": 2}, "border": 1, "conflict": 1},
    }
    assert np.array_equal(store.images("a"), made_pixels(6)[kept])
    for name in COLUMNS:
        assert np.array_equal(found.columns[name], tiles.columns[name][kept])


def test_a_tile_that_was_lost_changes_the_content_hash(store: TileStore) -> None:
    store.add("a", made_tiles(2), made_pixels(2))
    whole = store.content_hash()
    store.add("a", made_tiles(2), [made_pixels(2)[0], None])
    assert store.content_hash() != whole


@pytest.mark.parametrize("codec", CODECS)
def test_a_slide_of_which_nothing_could_be_read_is_refused(tmp_path: Path, codec: Codec) -> None:
    store = empty_store(tmp_path / "tiles.zarr", codec)
    with pytest.raises(StoreError) as caught:
        store.add("a", made_tiles(3), [None] * 3)
    assert str(caught.value) == (
        f"{store.path}: slide 'a': none of its 3 tiles could be read. "
        "Check the slide in a viewer, and copy it again if it is damaged."
    )
    assert store.slides() == []
    assert not store.scratch.exists()


@pytest.mark.parametrize("came", [2, 4])
def test_pixels_for_other_rows_are_refused(store: TileStore, came: int) -> None:
    with pytest.raises(ValueError, match=rf"^slide 'a': {came} tiles of pixels for 3 rows$"):
        store.add("a", made_tiles(3), made_pixels(came))
    assert store.slides() == []


def test_pixels_of_another_size_are_refused(store: TileStore) -> None:
    with pytest.raises(ValueError, match=r"^tiles of this store are \(8, 8, 3\) uint8, got \(9, 8, 3\) uint8$"):
        store.encode(np.zeros((9, 8, 3), dtype=np.uint8))


def test_a_store_of_another_codec_is_refused(filled: TileStore) -> None:
    codec = filled.spec.codec
    other: Codec = "jpeg" if codec == "zstd" else "zstd"
    with pytest.raises(StoreError) as caught:
        empty_store(filled.path, other)
    assert str(caught.value) == (
        f"{filled.path}: holds tiles as {codec}; asked for {other}. Use the same codec, or another store with -o."
    )


@pytest.mark.parametrize("codec", ["zstd", "jpeg"])
def test_a_hundred_thousand_tiles_stay_under_3000_files(tmp_path: Path, codec: Codec) -> None:
    store, tiles = empty_store(tmp_path / "tiles.zarr", codec), list(made_pixels(50))
    began = time.perf_counter()
    store.add("a", made_tiles(100_000), (tiles[i % 50] for i in range(100_000)))
    took = time.perf_counter() - began
    assert sum(path.is_file() for path in store.path.rglob("*")) < 500
    assert took < 15
    assert np.array_equal(store.images("a", np.array([99_999])), shown(codec, made_pixels(50)[49:]))


def test_many_slides_keep_few_files_each(filled: TileStore) -> None:
    files = [path for path in (filled.path / "slides" / "a").rglob("*") if path.is_file()]
    assert len(files) <= 30  # 100 slides of 1000 tiles: four shards of images each, or one of JPEG files


def test_present_tells_what_is_there(store: TileStore) -> None:
    assert store.present("a") is None
    store.add("a", made_tiles(1), made_pixels(1))
    assert store.present("a") == made_tiles(1).attributes


# dask ---------------------------------------------------------------------------------------------------------------


def test_dask_gives_the_same_tiles(filled: TileStore) -> None:
    lazy, pixels = filled.dask("a"), filled.images("a")
    assert (lazy.shape, lazy.dtype, lazy.chunks[0]) == ((300, 8, 8, 3), np.uint8, (256, 44))
    for scheduler in ("threads", "synchronous"):
        with dask.config.set(scheduler=scheduler):
            assert np.array_equal(lazy.compute(), pixels)
            assert np.array_equal(lazy[250:260, ::2, 3].compute(), pixels[250:260, ::2, 3])
            assert np.array_equal(lazy[[299, 3]].compute(), pixels[[299, 3]])
            assert lazy.sum().compute() == pixels.sum(dtype=np.uint64)


def test_dask_works_in_other_processes(filled: TileStore) -> None:
    lazy = pickle.dumps(filled.dask("a"))
    code = "import sys, pickle, numpy; sys.stdout.write(str(pickle.loads(bytes.fromhex(sys.argv[1])).sum().compute()))"
    assert run_python(code, lazy.hex()).stdout == str(filled.images("a").sum(dtype=np.uint64))


def test_dask_names_follow_the_content(store: TileStore) -> None:
    names = []
    for seed in (0, 0, 1):
        store.add("a", made_tiles(2, seed), made_pixels(2, seed))
        names.append(store.dask("a").name)
    assert names[0] == names[1] != names[2]


# labels -------------------------------------------------------------------------------------------------------------


def inodes(store: TileStore) -> dict[str, int]:
    """The files of the pixels of slide ``a``."""
    home = store.path / "slides" / "a"
    names = [name for name in ("images", "data", "offset", "length") if (home / name).exists()]
    files = [path for name in names for path in (home / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(home)): path.stat().st_ino for path in files}


def test_new_labels_share_the_files_of_the_pixels(filled: TileStore) -> None:
    before, pixels = inodes(filled), filled.images("a")
    new = relabelled(made_tiles(300))
    filled.replace_labels("a", new)
    assert inodes(filled) == before
    found = TileStore.open(filled.path).read("a")
    assert found.attributes == new.attributes
    assert (found.columns["label"] == 1).all()
    assert np.array_equal(filled.images("a"), pixels)
    assert not filled.scratch.exists()


def test_a_slide_with_new_labels_is_as_one_tiled_with_them(filled: TileStore, tmp_path: Path) -> None:
    filled.replace_labels("a", relabelled(made_tiles(300)))
    fresh = empty_store(tmp_path / "fresh.zarr", filled.spec.codec)
    fresh.add("a", relabelled(made_tiles(300)), given(filled.spec.codec, made_pixels(300)))
    assert file_bytes(filled.path) == file_bytes(fresh.path)


def test_new_labels_leave_out_the_tiles_that_could_not_be_read(store: TileStore) -> None:
    store.add("a", made_tiles(4), [None, *made_pixels(4)[1:]])
    for new in (relabelled(made_tiles(4)), relabelled(store.read("a"))):
        store.replace_labels("a", new)
        found = store.read("a")
        assert (found.n, found.attributes["damaged"], found.attributes["labels_hash"]) == (3, [[0, 0]], "new labels")
        assert np.array_equal(store.images("a"), made_pixels(4)[1:])


@pytest.mark.parametrize("tiles", [made_tiles(3), made_tiles(5), made_tiles(4, 1)], ids=["fewer", "more", "elsewhere"])
def test_labels_of_other_tiles_are_refused(store: TileStore, tiles: SlideTiles) -> None:
    store.add("a", made_tiles(4), made_pixels(4))
    before = file_bytes(store.path)
    for wrong in (tiles, SlideTiles(made_tiles(4).columns, tiles.attributes | {"pixels_hash": "other"})):
        with pytest.raises(StoreError) as caught:
            store.replace_labels("a", wrong)
        assert str(caught.value) == (
            f"{store.path}: the new labels of slide 'a' are for other tiles or other pixels. "
            "Run `w2wpath tile` for this slide again."
        )
    assert file_bytes(store.path) == before


WITHOUT_LINKS = """
import errno, sys
from tests.tiles.made import made_tiles, relabelled
from w2wpath.tiles.store import TileStore

def refuse(event, args):
    if event == "os.link":
        raise OSError(errno.EPERM, "Operation not permitted")

store = TileStore.open(sys.argv[1])
sys.addaudithook(refuse)
store.replace_labels("a", relabelled(made_tiles(300)))
"""


def test_without_hard_links_the_pixels_are_copied(filled: TileStore) -> None:
    before, pixels = inodes(filled), filled.images("a")
    ran = run_python(WITHOUT_LINKS, filled.path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert filled.attributes("a")["labels_hash"] == "new labels"
    assert set(inodes(filled)) == set(before)
    assert not set(inodes(filled).values()) & set(before.values())
    assert np.array_equal(filled.images("a"), pixels)
