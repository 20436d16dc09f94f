"""The maps come back as they were written, or with a message that says what is wrong with the file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import file_bytes, file_size_limit
from tests.heatmaps.made import made_maps
from w2wpath.errors import DiskError, StoreError
from w2wpath.frames import Frame
from w2wpath.heatmaps import store
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, REASONS, UNCERTAIN, Facts, Maps
from w2wpath.heatmaps.store import read_maps, write_maps
from w2wpath.w2wnet.domain import Domain

FACTS = Facts(
    slide="a.svs",
    fingerprint="ab" * 32,
    frame=Frame("qupath-rot90", 3, 4, 500, 300, 1),
    model={"threshold": "0.3, quantile", "version": "0.1.0"},
    calibrated=True,
    domain=Domain(False, 1.0 / 3, ("eosin 0.90, training slides 0.40 +- 0.02",)),
    provenance={"command": "heatmap", "argv": ["heatmap", "a.svs"], "settings": {"draws": None}},
)
STATES = [NOT_ANALYSED, CONFIDENT, UNCERTAIN, CONFIDENT, UNCERTAIN, NOT_ANALYSED]


def small() -> Maps:
    return made_maps(STATES, [0, 1, 1, 0, 0, 1], columns=3)


def same(found: Maps, maps: Maps) -> bool:
    for one in fields(Maps):
        a, b = getattr(found, one.name), getattr(maps, one.name)
        if isinstance(b, np.ndarray):
            if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
                return False
        elif (a, type(a)) != (b, type(b)):
            return False
    return True


def damaged(path: Path, why: str) -> str:
    return f"{path}: is damaged ({why}). Run `w2wpath heatmap` for the slide again."


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "a.maps.zarr"
    write_maps(made, small(), FACTS)
    return made


@st.composite
def any_maps(draw: st.DrawFn) -> Maps:
    """Maps of any small grid, overlapping tiles and empty grids too; some tiles could not be read."""
    columns, rows, k = (draw(st.integers(low, high)) for low, high in ((0, 4), (0, 3), (1, 4)))
    side0, step0 = draw(st.integers(1, 300)), draw(st.integers(1, 200))
    n = rows * columns
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    state = rng.integers(0, 3, n).astype(np.uint8)
    empty = state == NOT_ANALYSED
    index = np.arange(n, dtype=np.int32)
    maybe = [np.where(empty, np.nan, rng.random(n)).astype(np.float32) for _ in range(3)]
    reason = np.where(state == UNCERTAIN, rng.integers(1, len(REASONS), n), 0).astype(np.uint8)
    return Maps(
        classes=tuple(draw(st.lists(st.text(min_size=1), min_size=k, max_size=k, unique=True))),
        x0=(draw(st.integers(-50, 50)) * bool(n) + index % max(columns, 1) * step0).astype(np.int32),
        y0=(draw(st.integers(-50, 50)) * bool(n) + index // max(columns, 1) * step0).astype(np.int32),
        side0=side0,
        step0=step0,
        width0=side0 + (columns - 1) * step0 if columns else side0 - 1,
        height0=draw(st.integers(1, 10_000)),
        slide_mpp=draw(st.floats(0.01, 10)),
        threshold=draw(st.floats(0, 1)),
        state=state,
        reason=reason,
        probs_nk=np.where(empty[:, None], np.nan, rng.dirichlet(np.ones(k), n)).astype(np.float32),
        u=maybe[0],
        aleatoric=maybe[1],
        epistemic=maybe[2],
        draws=np.where(empty, 0, rng.integers(1, 60_000, n)).astype(np.uint16),
        unread=empty & (rng.random(n) < 0.5),
    )


@settings(max_examples=25)
@given(maps=any_maps(), domain=st.sampled_from([None, Domain(True, 0.1), FACTS.domain]), calibrated=st.booleans())
def test_what_is_written_comes_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, maps: Maps, domain: Domain | None, calibrated: bool
) -> None:
    path = tmp_path_factory.mktemp("maps") / "a.maps.zarr"
    facts = replace(FACTS, domain=domain, calibrated=calibrated)
    write_maps(path, maps, facts)
    found, said = read_maps(path)
    assert same(found, maps)
    assert said == facts


def test_any_reader_of_zarr_finds_grid_and_affine(path: Path) -> None:
    group = zarr.open_group(path, mode="r")
    about: Any = group.attrs["w2wpath"]
    maps = small()
    assert {name: (array.shape, str(array.dtype)) for name, array in group.arrays()} == {
        "probability": ((2, 2, 3), "float32"),
        **{name: ((2, 3), dtype) for name, dtype in store.ARRAYS.items() if name != "probability"},
    }
    probability: Any = group["probability"]
    for i in range(6):
        row, column = divmod(i, 3)
        assert (np.array(about["affine0"]) @ [column, row, 1]).tolist() == [maps.x0[i], maps.y0[i]]
        assert np.array_equal(probability[:, row, column], maps.probs_nk[i], equal_nan=True)
    assert (about["size0"], about["side0"]) == ([300, 200], 100)


def test_a_second_run_replaces_the_first_and_leaves_nothing_beside(path: Path) -> None:
    other = replace(small(), threshold=0.1)
    write_maps(path, other, FACTS)
    assert same(read_maps(path)[0], other)
    assert list(path.parent.iterdir()) == [path]


def test_the_same_maps_give_the_same_bytes(path: Path, tmp_path: Path) -> None:
    write_maps(tmp_path / "b", small(), FACTS)
    assert file_bytes(path) == file_bytes(tmp_path / "b")


def test_a_replacement_killed_between_its_renames_is_undone(path: Path) -> None:
    before = file_bytes(path)
    path.rename(path.with_name(f".{path.name}.replaced-{'0' * 32}"))
    assert same(read_maps(path)[0], small())
    assert file_bytes(path) == before
    assert list(path.parent.iterdir()) == [path]


def test_the_old_one_comes_back_when_the_new_one_cannot_be_put_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rename = file_bytes(path), os.rename

    def refuse(self: Path, to: Path) -> Path:
        if self.name.endswith(".partial"):
            raise PermissionError("no")
        rename(self, to)
        return to

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        write_maps(path, replace(small(), threshold=0.1), FACTS)
    assert file_bytes(path) == before
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_what_was_there(path: Path) -> None:
    before = file_bytes(path)
    with file_size_limit(300), pytest.raises(DiskError) as caught:
        write_maps(path, replace(small(), threshold=0.1), FACTS)
    assert str(caught.value) == (
        f"{path}: could not be written, the file-size limit is met. Nothing that was there before has changed; "
        "make room (or choose another place with -o) and run the same command again."
    )
    assert file_bytes(path) == before
    assert list(path.parent.iterdir()) == [path]


def test_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        read_maps(tmp_path / "no" / "a.maps.zarr")
    assert str(caught.value) == (f"{tmp_path / 'no' / 'a.maps.zarr'}: no such maps. Make them with `w2wpath heatmap`.")


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"attributes": {"w2wpath": {"schema": 1, "tile_px": 224}}}'])
def test_a_stranger_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "zarr.json").write_text(text)
    with pytest.raises(StoreError) as caught:
        read_maps(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: not the maps of a heatmap. Give a <slide>.maps.zarr of `w2wpath heatmap`."
    )


def retold(path: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> None:
    """Change the attributes; with a checksum that fits, unless told not to."""
    whole = json.loads((path / "zarr.json").read_text())
    about = whole["attributes"]["w2wpath"]
    checksum = about.pop("checksum")
    change(about)
    about["checksum"] = {**checksum, "attributes": store.checksum_of(about)} if seal else checksum
    (path / "zarr.json").write_text(json.dumps(whole))


def test_a_newer_schema_is_refused(path: Path) -> None:
    retold(path, lambda about: about.update(schema=2))
    with pytest.raises(StoreError) as caught:
        read_maps(path)
    assert str(caught.value) == (
        f"{path}: has schema 2, but this w2wpath reads schema 1. Update w2wpath if the maps are newer, "
        "or run `w2wpath heatmap` for the slide again."
    )


def test_reasons_are_known_by_name_and_not_by_number(path: Path) -> None:
    names = list(REASONS)
    order = [names[0], *names[2:], names[1]]
    retold(path, lambda about: about.update(reasons=order))
    found, _ = read_maps(path)
    assert {REASONS[code] for code in found.reason[found.state == UNCERTAIN]} == {order[1]}


CHANGES: list[tuple[Callable[[dict[str, Any]], object], bool, str]] = [
    (lambda about: about.update(threshold=0.9), False, "ValueError: its attributes are damaged (crc32c)"),
    (
        lambda about: about.update(size0=[100, 200]),
        True,
        "ValueError: a grid of 2 x 3 does not fit the size of the slide",
    ),
    (lambda about: about.update(states=["a", "b"]), True, "ValueError: its states are a, b"),
    (lambda about: about["reasons"].append("luck"), True, "ValueError: tuple.index(x): x not in tuple"),
    (lambda about: about["classes"].pop(), True, "ValueError: probability is (2, 2, 3) float32, not (1, 2, 3) float32"),
    (lambda about: about.pop("frame"), True, "KeyError: 'frame'"),
    (lambda about: about["frame"].update(turns=4), True, "ValueError: its frame has 4 turns"),
    (lambda about: about.update(slide_mpp=0), True, "ValueError: its um/px or its threshold is no number"),
    (lambda about: about.update(threshold=np.nan), True, "ValueError: its um/px or its threshold is no number"),
    (
        lambda about: about["affine0"][0].__setitem__(0, 0),
        True,
        "ZeroDivisionError: integer division or modulo by zero",
    ),
]


@pytest.mark.parametrize(("change", "seal", "why"), CHANGES)
def test_attributes_that_do_not_fit_are_refused(
    path: Path, change: Callable[[dict[str, Any]], object], seal: bool, why: str
) -> None:
    retold(path, change, seal=seal)
    with pytest.raises(StoreError) as caught:
        read_maps(path)
    assert str(caught.value) == damaged(path, why)


def test_every_damaged_byte_of_an_array_is_seen(path: Path, tmp_path: Path) -> None:
    files = [file for name in ("state", "u") for file in sorted((path / name).rglob("*")) if file.is_file()]
    for file in files:
        whole = file.read_bytes()
        for at in range(0, len(whole), 7):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
            with pytest.raises(StoreError, match=r"^.*: is damaged \(.*Run `w2wpath heatmap` for the slide again\.$"):
                read_maps(path)
        file.write_bytes(whole)
    assert same(read_maps(path)[0], small())


@pytest.mark.parametrize(
    ("claim", "chunk"), [([100_000, 100_000], [100_000, 100_000]), ([2, 3], [2_000_000, 3_000_000])]
)
def test_a_file_that_claims_much_memory_is_refused_before_it_is_read(
    path: Path, claim: list[int], chunk: list[int]
) -> None:
    head = path / "u" / "zarr.json"
    told = json.loads(head.read_text())
    told["shape"], told["chunk_grid"]["configuration"]["chunk_shape"] = claim, chunk
    head.write_text(json.dumps(told))
    whole = json.loads((path / "zarr.json").read_text())
    whole["attributes"]["w2wpath"]["checksum"]["heads"]["u"] = store.crc(head.read_bytes())
    (path / "zarr.json").write_text(json.dumps(whole))
    with pytest.raises(StoreError) as caught:
        read_maps(path)
    assert str(caught.value) == damaged(path, "ValueError: u is not laid out as maps are")


@pytest.mark.parametrize("lost", ["u/c/0/0", "u/zarr.json", "u"])
def test_a_lost_file_is_seen(path: Path, lost: str) -> None:
    gone = path / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(StoreError, match="FileNotFoundError"):
        read_maps(path)


def broken(name: str, i: int, value: float) -> Maps:
    maps = small()
    values = getattr(maps, name).copy()
    values[i] = value
    return replace(maps, **{name: values})


@pytest.mark.parametrize(
    ("maps", "why"),
    [
        (broken("u", 0, 0.5), "u must be a number where a tile was analysed, and NaN elsewhere"),
        (broken("epistemic", 1, np.nan), "epistemic must be a number where a tile was analysed, and NaN elsewhere"),
        (broken("aleatoric", 1, np.inf), "aleatoric must be a number where a tile was analysed, and NaN elsewhere"),
        (broken("probs_nk", 1, 1.5), "probability must lie between 0 and 1"),
        (broken("state", 1, 3), "state or reason is a number without a name"),
        (broken("reason", 1, 1), "reason is set where the state does not allow it"),
        (broken("draws", 0, 9), "draws is set where the state does not allow it"),
        (broken("unread", 1, 1), "unread is set where the state does not allow it"),
        (broken("x0", 1, 7), "the 6 tiles do not form a grid of 2 x 3 with step 100"),
        (replace(small(), u=small().u.astype(np.float64)), "u is (2, 3) float64, not (2, 3) float32"),
    ],
)
def test_maps_that_break_their_rules_are_not_written(tmp_path: Path, maps: Maps, why: str) -> None:
    with pytest.raises(ValueError, match=r"^.+$") as caught:
        write_maps(tmp_path / "a", maps, FACTS)
    assert str(caught.value) == why
    assert list(tmp_path.iterdir()) == []
