"""What is told of a store and of a slide: counts that add up, what differs, what is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import MakeSlide
from tests.tiles.made import SPEC, made_pixels, made_tiles
from w2wpath.errors import SlideError, StoreError
from w2wpath.provenance import fingerprint
from w2wpath.tiles.info import info, slide_info, store_info
from w2wpath.tiles.store import SlideTiles, TileStore


@pytest.fixture
def store(tmp_path: Path) -> TileStore:
    return TileStore.create_or_open(tmp_path / "tiles.zarr", SPEC)


def add(
    store: TileStore, name: str, n: int, *, labels: list[int] | None = None, names: Any = None, **facts: Any
) -> None:
    tiles = made_tiles(n, **(names or {}))
    columns = dict(tiles.columns)
    if labels is not None:
        columns["label"] = np.array(labels, dtype=np.int16)
    about = {"slide_mpp": 0.5, "mpp": 0.5, "settings": {"tile_px": 8, "label_share": 0.5}, "patient_from": "given"}
    store.add(name, SlideTiles(columns, {**tiles.attributes, **about, **facts}), made_pixels(n))


# a store ------------------------------------------------------------------------------------------------------------


def test_everything_is_counted_by_class_patient_and_slide(store: TileStore) -> None:
    counts = {"border": 1, "conflict": 2}
    add(store, "a", 5, labels=[-1, 0, 0, 1, -1], counts=counts, names={"patients": ("P1", "P2")})
    add(
        store,
        "b",
        3,
        labels=[0, 1, 0],
        names={"classes": ("H", "T"), "patients": ("P2",)},
        counts={"border": 3, "conflict": 0},
        origin={"name": "slide"},
        source_level=1,
        import_report={"repaired": 1, "ignored": 2, "ignored_by_reason": {"no class": 2}},
    )
    found = store_info(store)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {key: found[key] for key in ("kind", "schema", "tile_px", "mpp", "stride_px", "resample")} == {
        "kind": "store",
        "schema": 1,
        "tile_px": 8,
        "mpp": 0.5,
        "stride_px": 8,
        "resample": "lanczos3",
    }
    assert (found["tiles"], found["labelled"], found["border"], found["conflict"]) == (8, 6, 4, 2)
    assert found["by_class"] == {
        "AC": {"tiles": 2, "patients": 2, "slides": 1},
        "H": {"tiles": 3, "patients": 1, "slides": 2},
        "T": {"tiles": 1, "patients": 1, "slides": 1},
    }
    assert found["by_patient"] == {
        "P1": {"slides": 1, "tiles": 3, "labelled": 1, "by_class": {"AC": 1}},
        "P2": {"slides": 2, "tiles": 5, "labelled": 5, "by_class": {"AC": 1, "H": 3, "T": 1}},
    }
    a, b = found["slides"]
    assert (a["slide"], a["tiles"], a["labelled"], a["patients"]) == ("a", 5, 3, ["P1", "P2"])
    assert (a["by_class"], b["by_class"]) == ({"AC": 2, "H": 1}, {"H": 2, "T": 1})
    assert {key: b[key] for key in ("origin", "source_level", "repaired_objects", "ignored_objects", "side0")} == {
        "origin": "slide",
        "source_level": 1,
        "repaired_objects": 1,
        "ignored_objects": 2,
        "side0": 8,
    }
    assert (b["ignored_by_reason"], a["origin"], a["repaired_objects"]) == ({"no class": 2}, None, None)
    assert (found["damaged"], found["differences"]) == ([], {})
    assert found["settings"] == {"tile_px": 8, "label_share": 0.5}
    on_disk = [path.stat().st_size for path in store.path.rglob("*") if path.is_file()]
    assert (found["bytes"], found["files"]) == (sum(on_disk), len(on_disk))
    assert found["verdict"] == [
        "class H comes from one patient: it cannot be tested on another",
        "class T comes from one patient: it cannot be tested on another",
        "not cleaned yet. Next: w2wpath clean --folds 5",
    ]


def test_settings_and_scales_that_differ_are_told_with_their_slides(store: TileStore) -> None:
    add(store, "a", 4)
    add(store, "b", 4, slide_mpp=0.25)
    add(store, "c", 4, settings={"tile_px": 8, "label_share": 0.7, "policy": "majority"})
    found = store_info(store)
    assert found["differences"] == {
        "label_share": [{"value": 0.5, "slides": ["a", "b"]}, {"value": 0.7, "slides": ["c"]}],
        "policy": [{"value": None, "slides": ["a", "b"]}, {"value": "majority", "slides": ["c"]}],
        "slide_mpp": [{"value": 0.5, "slides": ["a", "c"]}, {"value": 0.25, "slides": ["b"]}],
    }
    assert found["settings"] == {"tile_px": 8}
    assert "slides were tiled with different settings: label_share, policy" in found["verdict"]


def test_slides_of_other_um_per_px_alone_are_no_different_settings(store: TileStore) -> None:
    add(store, "a", 4)
    add(store, "b", 4, slide_mpp=0.25)
    assert not any("settings" in line for line in store_info(store)["verdict"])


def test_a_damaged_slide_is_listed_and_the_others_are_told(store: TileStore) -> None:
    add(store, "a", 3)
    add(store, "b", 4)
    (store.path / "slides" / "a" / "label" / "zarr.json").unlink()
    found = store_info(store)
    assert ([slide["slide"] for slide in found["slides"]], found["tiles"]) == (["b"], 4)
    ((slide, error),) = [tuple(one.values()) for one in found["damaged"]]
    assert slide == "a"
    assert error.startswith(f"{store.path}: the tiles of slide 'a' cannot be read (")
    assert found["verdict"][0] == "1 slide(s) cannot be read: tile them again"


def test_tiles_that_could_not_be_read_or_reach_over_the_edge_are_counted(store: TileStore) -> None:
    tiles = made_tiles(3)
    valid = np.array([1, 0.5, 1], dtype=np.float32)
    add(store, "a", 4, damaged=[[8, 0], [16, 0]])
    store.add("b", SlideTiles({**tiles.columns, "valid_share": valid}, tiles.attributes), made_pixels(3))
    found = store_info(store)
    assert [(slide["damaged_tiles"], slide["over_the_edge"]) for slide in found["slides"]] == [(2, 0), (0, 1)]
    assert found["damaged_tiles"] == 2
    assert "2 tile(s) could not be read from their slides and are not in the store" in found["verdict"]


def test_runs_of_clean_are_told(store: TileStore) -> None:
    add(store, "a", 3)
    for run in ("20260102T000000Z-aaaaaa", "20260101T000000Z-bbbbbb"):
        with store.publish(f"decisions/{run}") as folder:
            folder.mkdir()
    found = store_info(store)
    assert found["runs"] == ["20260101T000000Z-bbbbbb", "20260102T000000Z-aaaaaa"]
    assert found["verdict"][-1] == "cleaned 2 time(s), last in run 20260102T000000Z-aaaaaa"


@pytest.mark.parametrize(
    ("labels", "names", "facts", "said"),
    [
        (
            [0, 1, -1],
            {},
            {"patient_from": "slide name"},
            "1 slide(s) without a patient: each counts as a patient of its own",
        ),
        ([0, 0, -1], {}, {}, "class H has no tile"),
        ([0, 0, 0], {"classes": ("H",)}, {}, "one class only: nothing to learn from"),
    ],
)
def test_what_should_be_looked_at_is_said(
    store: TileStore, labels: list[int], names: Any, facts: Any, said: str
) -> None:
    add(store, "a", 3, labels=labels, names=names, **facts)
    assert said in store_info(store)["verdict"]


def test_an_empty_store_and_one_of_damaged_slides_only_are_told(store: TileStore) -> None:
    found = store_info(store)
    assert (found["tiles"], found["slides"], found["border"], found["by_class"]) == (0, [], None, {})
    assert found["verdict"] == ["holds no slide: add one with `w2wpath tile slide.svs rois.geojson`"]
    add(store, "a", 3)
    (store.path / "slides" / "a" / "zarr.json").unlink()
    assert store_info(store)["verdict"] == ["no slide can be read: add one with `w2wpath tile slide.svs rois.geojson`"]


# a slide ------------------------------------------------------------------------------------------------------------


def test_a_slide_tells_its_levels_scale_and_what_tiles_would_be(make_svs: MakeSlide) -> None:
    path = make_svs(mpp=0.25)
    found = slide_info(path)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found == {
        "kind": "slide",
        "path": str(path),
        "bytes": path.stat().st_size,
        "fingerprint": fingerprint(path),
        "size0": [640, 512],
        "levels": [
            {"width": 640, "height": 512, "downsample": 1.0},
            {"width": 160, "height": 128, "downsample": 4.0},
        ],
        "mpp": 0.25,
        "mpp_from": "header",
        "bounds0": None,
        "properties": {"vendor": "aperio", "objective-power": "20", "mpp-x": "0.25", "mpp-y": "0.25"},
        "default_tiles": {"tile_px": 224, "side0": 448, "step0": 448, "mpp": 0.5, "source_level": 0, "error": None},
    }


def test_a_slide_without_a_scale_says_what_to_do(make_svs: MakeSlide) -> None:
    path = make_svs(mpp=None)
    found = slide_info(path)
    assert (found["mpp"], found["default_tiles"]["error"]) == (
        None,
        f"{path}: no um/px in the header. Pass --slide-mpp (20x is about 0.5, 40x about 0.25).",
    )
    given = slide_info(path, slide_mpp=0.5)
    assert (given["mpp"], given["mpp_from"], given["default_tiles"]["side0"]) == (0.5, "flag", 224)


def test_the_bounds_of_a_slide_are_told(bounded_slide: Path) -> None:
    assert slide_info(bounded_slide)["bounds0"] == [256, 128, 512, 384]


def test_what_lies_at_a_path_is_found_out(store: TileStore, make_svs: MakeSlide, tmp_path: Path) -> None:
    add(store, "a", 3)
    assert info(store.path)["kind"] == "store"
    assert info(make_svs())["kind"] == "slide"
    with pytest.raises(StoreError) as missing:
        info(tmp_path / "no.svs")
    assert str(missing.value) == f"{tmp_path / 'no.svs'}: no such tile store or slide. Check the path."
    with pytest.raises(StoreError) as stranger:
        info(tmp_path)
    assert str(stranger.value) == f"{tmp_path}: not a w2wpath tile store. Give another path, or move it away."
    (tmp_path / "text.svs").write_text("no slide")
    with pytest.raises(SlideError) as text:
        info(tmp_path / "text.svs")
    assert str(text.value).startswith(f"{tmp_path / 'text.svs'}: not a readable slide (")
