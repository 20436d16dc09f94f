"""Exports: each tile in its place, names that are safe, files that other tools read, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import openslide
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from shapely.geometry import box

from tests.conftest import coordinate_image, file_bytes, file_size_limit, noise_image, save_svs, write_geojson
from tests.tiles.made import SPEC, made_pixels, made_tiles
from w2wpath.config import TileSettings
from w2wpath.errors import ConfigError, DiskError, StoreError
from w2wpath.progress import Step
from w2wpath.tiles import export as module
from w2wpath.tiles.cohort import tile
from w2wpath.tiles.entries import Entry
from w2wpath.tiles.export import COLUMNS, FORMATS, Exported, export, safe_names
from w2wpath.tiles.store import SlideTiles, StoreSpec, TileStore

FACTS = {"size0": [800, 600], "slide_mpp": 0.5, "mpp": 0.5}


def made(n: int, seed: int = 0, **names: Any) -> SlideTiles:
    tiles = made_tiles(n, seed, **names)
    return SlideTiles(tiles.columns, {**tiles.attributes, **FACTS})


@pytest.fixture
def store(tmp_path: Path) -> TileStore:
    """Slide ``a`` with tiles -, AC, H, -, AC and slide ``b`` with -, H, T; x0 counts by 8, y0 is 0 and 1."""
    found = TileStore.create_or_open(tmp_path / "tiles.zarr", SPEC)
    found.add("a", made(5), made_pixels(5))
    found.add("b", made(3, 1, classes=("H", "T"), patients=("P2",)), made_pixels(3, 1))
    return found


def done(store: TileStore, format_: str = "png", out: str = "out", **how: Any) -> Exported:
    return export(store, store.table(), store.path.parent / out, format_, **how)


def files(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def lines(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((out / "tiles.csv").read_text("utf-8"))))


def pixels_of(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)))


# folders ------------------------------------------------------------------------------------------------------------


def test_a_folder_a_class_and_a_line_a_tile(store: TileStore) -> None:
    found = done(store)
    assert found == Exported(found.out, 5, {"AC": 2, "H": 2, "T": 1}, 0, 7)
    images = ["AC/a_x32_y0.png", "AC/a_x8_y0.png", "H/a_x16_y0.png", "H/b_x8_y1.png", "T/b_x16_y1.png"]
    assert files(found.out) == [*images, "classes.json", "tiles.csv"]
    for seed, row, name in [(0, 1, images[1]), (0, 4, images[0]), (1, 2, images[4])]:
        assert np.array_equal(pixels_of((found.out / name).read_bytes()), made_pixels(5 if seed == 0 else 3, seed)[row])
    ids = [str(uuid.UUID(bytes=one.tobytes())) for one in store.table().tile_id]
    assert (found.out / "tiles.csv").read_text("utf-8").splitlines() == [
        "file,slide,patient,class,x0,y0,side0,mpp,tile_id",
        f"AC/a_x8_y0.png,a,P1,AC,8,0,8,0.5,{ids[1]}",
        f"H/a_x16_y0.png,a,P1,H,16,0,8,0.5,{ids[2]}",
        f"AC/a_x32_y0.png,a,P1,AC,32,0,8,0.5,{ids[4]}",
        f"H/b_x8_y1.png,b,P2,H,8,1,8,0.5,{ids[6]}",
        f"T/b_x16_y1.png,b,P2,T,16,1,8,0.5,{ids[7]}",
    ]
    assert json.loads((found.out / "classes.json").read_text())[1] == {
        "index": 1,
        "class": "H",
        "tiles": 2,
        "folder": "H",
    }


def test_classes_are_chosen_in_their_order_and_tiles_without_a_label_where_wanted(store: TileStore) -> None:
    found = done(store, classes=["T", "AC", "T"], unlabelled=True)
    assert (found.by_class, found.unlabelled, found.tiles) == ({"T": 1, "AC": 2}, 3, 6)
    assert {line["file"].partition("/")[0] for line in lines(found.out)} == {"T", "AC", "unlabelled"}
    assert [line["class"] for line in lines(found.out)] == ["", "AC", "", "AC", "", "T"]
    assert [one["class"] for one in json.loads((found.out / "classes.json").read_text())] == ["T", "AC"]


def test_a_mask_says_which_tiles_stay(store: TileStore) -> None:
    keep = np.zeros(8, dtype=np.bool_)
    keep[[0, 4, 6]] = True
    found = done(store, keep=keep, run="20260101T000000Z-abcdef")
    assert [line["file"] for line in lines(found.out)] == ["AC/a_x32_y0.png", "H/b_x8_y1.png"]
    told = json.loads((found.out.parent / "out.provenance.jsonl").read_text())
    assert (told["command"], told["settings"]["run"], told["tiles"]) == ("export", "20260101T000000Z-abcdef", 2)


def test_jpegs_have_the_quality_asked_for_and_full_colour(tmp_path: Path) -> None:
    store = TileStore.create_or_open(tmp_path / "tiles.zarr", StoreSpec(64, 0.5, 64, "lanczos3"))
    pixels = noise_image(64, 128).reshape(2, 64, 64, 3)
    store.add("a", made(2), pixels)
    sizes = {}
    for quality in (None, 90, 30):
        found = done(store, "jpeg", out=f"q{quality}", quality=quality)
        data = (found.out / "AC" / "a_x8_y0.jpg").read_bytes()
        image = Image.open(io.BytesIO(data))
        assert (image.format, image.size, image.layer[0][1:3]) == ("JPEG", (64, 64), (1, 1))  # type: ignore[attr-defined]
        sizes[quality] = len(data)
    assert sizes[None] == sizes[90] > sizes[30]


# names --------------------------------------------------------------------------------------------------------------

HOSTILE = (
    "..",
    "a/b",
    "a\\b",
    "A/b",
    "tiles.csv",
    "",
    "con",
    "Unlabelled",
    ".git",
    "x" * 300,
    "腫瘍 🙂",
    "a\nb",
    "end. ",
)


def test_names_hostile_to_file_systems_stay_in_the_folder_and_apart(tmp_path: Path) -> None:
    store = TileStore.create_or_open(tmp_path / "tiles.zarr", SPEC)
    for seed, name in enumerate(("S:1", "S?1", "s_1", "NUL", "...")):
        store.add(name, made(14, seed, classes=HOSTILE), made_pixels(14, seed))
    found = done(store, unlabelled=True)
    assert {entry.name for entry in found.out.iterdir()} == {
        *("_", "_-2", "_.git", "A_b", "Unlabelled", "a_b-2", "a_b-3", "a_b-4", "_con", "end", "tiles.csv-2", "x" * 100),
        *("腫瘍 🙂", "unlabelled-2", "tiles.csv", "classes.json"),
    }
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "out.provenance.jsonl", "tiles.zarr"]
    rows = lines(found.out)
    assert len(rows) == len({row["file"].casefold() for row in rows}) == 70
    for row in rows:
        images = store.images(row["slide"], np.array([int(row["x0"]) // 8]))
        assert np.array_equal(pixels_of((found.out / row["file"]).read_bytes()), images[0])
    assert {row["class"] for row in rows} == {*HOSTILE}


@given(st.lists(st.text(max_size=120), max_size=12), st.booleans())
def test_safe_names_are_safe_and_never_the_same(names: list[str], dots: bool) -> None:
    found = safe_names(names, taken=["Tiles.csv"], dots=dots)
    assert len({name.casefold() for name in [*found, "tiles.csv"]}) == len(names) + 1
    for name in found:
        assert 0 < len(name.encode()) <= 110
        assert name.isprintable()
        assert not set(name) & set('<>:"/\\|?*')
        assert name == name.strip()
        assert name[0] != "."
        assert name[-1] != "."
        assert dots or "." not in name
    assert safe_names(names, taken=["Tiles.csv"], dots=dots) == found


def test_plain_names_stay_as_they_are() -> None:
    names = ["AC", "TCGA-CR-7395-01A.ab", "Immune cells", "腫瘍", "Tumor: Positive"]
    assert safe_names(names) == ["AC", "TCGA-CR-7395-01A.ab", "Immune cells", "腫瘍", "Tumor_ Positive"]
    assert safe_names(["a.b", "a_b"], dots=False) == ["a_b", "a_b-2"]
    assert safe_names(["aux", "AUX.tif", "com5", "auxiliary"]) == ["_aux", "_AUX.tif", "_com5", "auxiliary"]


# WebDataset ---------------------------------------------------------------------------------------------------------


def shards(out: Path) -> list[list[tuple[str, bytes]]]:
    found = []
    for path in sorted(out.glob("tiles-*.tar")):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
            assert all((m.mtime, m.uid, m.gid, m.uname, m.mode) == (0, 0, 0, "", 0o644) for m in members)
            found.append([(m.name, tar.extractfile(m).read()) for m in members])  # type: ignore[union-attr]
    return found


def test_shards_hold_each_tile_as_class_json_and_image(store: TileStore) -> None:
    found = done(store, "webdataset", unlabelled=True, shard_tiles=3)
    assert files(found.out) == ["classes.json", *(f"tiles-00000{i}.tar" for i in range(3)), "tiles.csv"]
    told = shards(found.out)
    assert [len(shard) for shard in told] == [9, 9, 6]
    members = [member for shard in told for member in shard]
    keys = [name.partition(".")[0] for name, _ in members[::3]]
    assert keys == [f"a_x{8 * i}_y0" for i in range(5)] + [f"b_x{8 * i}_y1" for i in range(3)]
    assert [name for name, _ in members] == [f"{key}.{end}" for key in keys for end in ("cls", "json", "png")]
    # what WebDataset's decoders make of them
    assert [int(data) for _, data in members[::3]] == [-1, 0, 1, -1, 0, -1, 1, 2]
    ids = [str(uuid.UUID(bytes=one.tobytes())) for one in store.table().tile_id]
    about = {"slide": "b", "patient": "P2", "class": "T", "x0": 16, "y0": 1, "side0": 8, "mpp": 0.5, "tile_id": ids[7]}
    assert json.loads(members[-2][1]) == about
    assert list(json.loads(members[-2][1])) == sorted(about)
    pixels = [*made_pixels(5), *made_pixels(3, 1)]
    assert all(np.array_equal(pixels_of(data), tile) for (_, data), tile in zip(members[2::3], pixels, strict=True))
    assert lines(found.out)[7]["file"] == "tiles-000002.tar/b_x16_y1.png"
    assert json.loads((found.out / "classes.json").read_text())[2] == {"index": 2, "class": "T", "tiles": 1}


def test_shards_hold_jpegs_where_a_quality_is_given_and_keys_have_no_dot(tmp_path: Path) -> None:
    store = TileStore.create_or_open(tmp_path / "tiles.zarr", SPEC)
    store.add("a.b", made(2), made_pixels(2))
    store.add("a_b", made(2), made_pixels(2))
    (members,) = shards(done(store, "webdataset", quality=80).out)
    keys = ("a_b_x8_y0", "a_b-2_x8_y0")
    assert [name for name, _ in members] == [f"{key}.{end}" for key in keys for end in ("cls", "json", "jpg")]
    assert Image.open(io.BytesIO(members[2][1])).format == "JPEG"


# coordinates --------------------------------------------------------------------------------------------------------


def test_coordinates_have_what_trident_clam_and_wsinfer_read(store: TileStore) -> None:
    found = done(store, "h5", unlabelled=True)
    assert files(found.out) == ["a.h5", "b.h5", "classes.json", "tiles.csv"]
    assert [line["file"] for line in lines(found.out)] == ["a.h5"] * 5 + ["b.h5"] * 3
    with h5py.File(found.out / "b.h5") as file:
        coords, label = file["coords"], file["label"]
        assert (coords.dtype, coords[:].tolist()) == (np.int64, [[0, 1], [8, 1], [16, 1]])
        assert (label[:].tolist(), label.attrs["classes"].tolist()) == ([-1, 1, 2], ["AC", "H", "T"])
        about = {name: np.asarray(value).tolist() for name, value in coords.attrs.items()}
    assert about == {
        "patch_size": 8,
        "patch_size_level0": 8,
        "patch_level": 0,
        "patch_spacing_um_px": 0.5,
        "level0_magnification": 20,
        "target_magnification": 20,
        "overlap": 0,
        "downsample": [1.0, 1.0],
        "level_dim": [800, 600],
        "downsampled_level_dim": [800, 600],
        "level0_width": 800,
        "level0_height": 600,
        "name": "b",
        "save_path": ".",
        "savetodir": ".",
        "tile_px": 8,
    }


@pytest.mark.parametrize(("mpp", "stride_px", "overlap"), [(0.5, 64, 0), (1.0, 32, 64)])
def test_other_tools_read_the_very_pixels_of_the_store(
    tmp_path: Path, mpp: float, stride_px: int, overlap: int
) -> None:
    image = coordinate_image(640, 512)
    slide = save_svs(tmp_path / "a.svs", image)
    rois = write_geojson(tmp_path / "a.geojson", [("Tumor", box(64, 64, 576, 448))])
    tile(tmp_path / "tiles.zarr", [Entry(slide, rois, "P")], TileSettings(tile_px=64, mpp=mpp, stride_px=stride_px))
    store = TileStore.open(tmp_path / "tiles.zarr")
    found = done(store, "h5")
    rows = store.table().labelled()
    with h5py.File(found.out / "a.h5") as file, openslide.OpenSlide(slide) as opened:
        coords, about = file["coords"], dict(file["coords"].attrs)
        assert len(coords) == len(rows) > 20
        assert about["overlap"] == overlap
        # WSIPatcher of TRIDENT, with 10 / magnification um/px on both sides
        down = (10 / about["target_magnification"]) / (10 / about["level0_magnification"])
        assert round(about["patch_size"] * down) == about["patch_size_level0"] == 64 * mpp / 0.5
        for (x, y), stored in zip(coords[:].tolist(), store.images("a", rows), strict=True):
            # Whole_Slide_Bag_FP of CLAM; WholeSlideImagePatches of wsinfer at level 0
            size = (int(about["patch_size"]),) * 2
            read = opened.read_region((x, y), int(about["patch_level"]), size).convert("RGB")
            assert np.array_equal(np.asarray(read), image[y : y + size[1], x : x + size[0]])
            if mpp == 0.5:
                assert np.array_equal(np.asarray(read), stored)


@pytest.mark.parametrize(
    ("slide_mpp", "magnification"), [(0.1, 80), (0.18, 60), (0.25, 40), (0.5, 20), (1.0, 10), (2.0, 5), (4.0, 2)]
)
def test_the_magnification_is_the_one_that_trident_takes(tmp_path: Path, slide_mpp: float, magnification: int) -> None:
    store = TileStore.create_or_open(tmp_path / "tiles.zarr", SPEC)
    tiles = made(2)
    store.add("a", SlideTiles(tiles.columns, {**tiles.attributes, "slide_mpp": slide_mpp}), made_pixels(2))
    with h5py.File(done(store, "h5").out / "a.h5") as file:
        assert file["coords"].attrs["level0_magnification"] == magnification


def test_a_slide_that_does_not_know_its_size_has_no_coordinates(tmp_path: Path) -> None:
    store = TileStore.create_or_open(tmp_path / "tiles.zarr", SPEC)
    store.add("a", made_tiles(2), made_pixels(2))
    with pytest.raises(StoreError) as caught:
        done(store, "h5")
    assert str(caught.value) == (
        f"{store.path}: the attributes of slide 'a' lack its size or um/px. Tile this slide again."
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiles.zarr"]


# whole or not at all ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
def test_the_same_store_gives_the_same_bytes(store: TileStore, format_: str) -> None:
    one, other = (done(store, format_, out=name, unlabelled=True).out for name in ("one", "other"))
    assert file_bytes(one) == file_bytes(other)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, format_: str) -> None:
    store = TileStore.create_or_open(tmp_path / "tiles.zarr", StoreSpec(64, 0.5, 64, "lanczos3"))
    store.add("a", made(60), noise_image(64, 64 * 60).reshape(60, 64, 64, 3))
    before = file_bytes(tmp_path)
    with pytest.raises(DiskError) as caught, file_size_limit(1000):
        done(store, format_)
    out = tmp_path / "out"
    assert str(caught.value) == (
        f"{out}: could not be written, the file-size limit is met. Nothing that was there before has changed; "
        "make room (or choose another place with -o) and run the same command again."
    )
    assert file_bytes(tmp_path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiles.zarr"]


@pytest.mark.parametrize("format_", ["png", "webdataset"])
def test_damaged_tiles_leave_nothing_behind(store: TileStore, format_: str) -> None:
    table = store.table()
    (shard,) = [path for path in (store.path / "slides" / "b" / "images").rglob("*") if path.stat().st_size > 500][:1]
    data = bytearray(shard.read_bytes())
    for place in range(0, 300, 20):
        data[place] ^= 0xFF
    shard.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="the tiles of slide 'b' cannot be read"):
        export(store, table, store.path.parent / "out", format_)
    assert [entry.name for entry in store.path.parent.iterdir()] == ["tiles.zarr"]


def test_an_export_that_is_stopped_leaves_nothing_behind(store: TileStore) -> None:
    class Stopped:
        @contextmanager
        def track(self, what: str, total: int) -> Iterator[Step]:
            assert (what, total) == ("export", 5)

            def step(done: int, note: str) -> None:
                raise KeyboardInterrupt

            yield step

        def say(self, line: str) -> None: ...

    with pytest.raises(KeyboardInterrupt):
        done(store, progress=Stopped())
    assert [entry.name for entry in store.path.parent.iterdir()] == ["tiles.zarr"]


def test_tiles_are_read_in_batches(store: TileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    read = []
    really = TileStore.images

    def spy(self: TileStore, slide: str, rows: Any = None) -> Any:
        read.append((slide, rows.tolist()))
        return really(self, slide, rows)

    monkeypatch.setattr(TileStore, "images", spy)
    assert done(store, unlabelled=True).tiles == 8
    assert read == [("a", [0, 1]), ("a", [2, 3]), ("a", [4]), ("b", [0, 1]), ("b", [2])]


# refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"format_": "jpg"}, "format must be one of png, jpeg, webdataset, h5; got 'jpg'. Did you mean 'jpeg'?"),
        ({"classes": ["AC", "h"]}, "{store}: class must be one of AC, H, T; got 'h'."),
        (
            {"keep": np.zeros(8, dtype=np.bool_)},
            "{store}: no tile is left to export. Choose other classes, or another run.",
        ),
        ({"out": "there"}, "{home}/there: exists already. Choose another folder with -o."),
        ({"out": "dangling"}, "{home}/dangling: exists already. Choose another folder with -o."),
        (
            {"out": "no/out"},
            "{home}/no/out: there is no folder {home}/no. Make it, or choose another place with -o.",
        ),
        ({"out": "tiles.zarr/out"}, "{store}/out: lies in the store. Choose another folder with -o."),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(store: TileStore, how: dict[str, Any], said: str) -> None:
    home = store.path.parent
    (home / "there").mkdir()
    (home / "dangling").symlink_to(home / "nothing")
    before = sorted(entry.name for entry in home.iterdir()), file_bytes(store.path)
    with pytest.raises(ConfigError) as caught:
        done(store, **how)
    assert str(caught.value) == said.format(store=store.path, home=home)
    assert (sorted(entry.name for entry in home.iterdir()), file_bytes(store.path)) == before


def test_every_column_is_in_the_header(store: TileStore) -> None:
    assert tuple(lines(done(store).out)[0]) == COLUMNS
