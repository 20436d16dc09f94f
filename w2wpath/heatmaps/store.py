"""``<slide>.maps.zarr``: all that a model says of a slide, on the grid, as one zarr v3 group that appears whole.

::

    a.maps.zarr/     attributes.w2wpath = {kind, schema, classes, states, reasons, affine0, side0, size0, slide_mpp,
                     threshold, slide, fingerprint, frame, model, calibrated, domain, provenance, checksum}
      probability    (k, rows, columns) float32, NaN where not analysed
      u aleatoric epistemic   (rows, columns) float32, NaN where not analysed
      draws uint16, state uint8, reason uint8, unread bool   (rows, columns)

``affine0`` takes (column, row, 1) to the level-0 corner (x0, y0) of a tile in the slide frame.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from w2wpath.errors import StoreError, writing
from w2wpath.frames import Frame
from w2wpath.heatmaps.maps import NOT_ANALYSED, REASONS, STATES, UNCERTAIN, Facts, Maps
from w2wpath.tiles.codecs import read_column, write_column
from w2wpath.tiles.shards import crc
from w2wpath.tiles.table import checksum_of, refuse_damaged_heads
from w2wpath.w2wnet.domain import Domain

KIND = "heatmap maps"
SCHEMA = 1
ARRAYS: Mapping[str, str] = {
    "probability": "float32",
    "u": "float32",
    "aleatoric": "float32",
    "epistemic": "float32",
    "draws": "uint16",
    "state": "uint8",
    "reason": "uint8",
    "unread": "bool",
}
"""Arrays of the group and their dtypes."""
MOST_VALUES = 1 << 27
"""A file whose arrays claim more values than this is refused, whatever memory there is."""
_ASIDE = ".replaced-"


def write_maps(path: Path, maps: Maps, facts: Facts) -> None:
    """Write a group beside `path` and rename it there; one that was there goes only when the new one is complete.

    ``facts.provenance`` and ``facts.model`` are kept as JSON has them: tuples come back as lists.

    Raises
    ------
    ValueError
        The tiles do not form the grid that ``maps`` states, or a value breaks a rule of :class:`Maps`.
    DiskError
        There is no room; what was there stays.
    """
    arrays = _gridded(maps)
    _check(arrays, len(maps.classes))
    about = json.loads(json.dumps(_about(maps, facts), allow_nan=False))
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            zarr.open_group(fresh, mode="w")
            for name, values in arrays.items():
                _write(fresh / name, values)
            heads = {name: crc((fresh / name / "zarr.json").read_bytes()) for name in arrays}
            checksum = {"heads": heads, "attributes": checksum_of(about)}
            zarr.open_group(fresh, mode="a").update_attributes({"w2wpath": {**about, "checksum": checksum}})
            swap_in(fresh, path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def read_maps(path: Path) -> tuple[Maps, Facts]:
    """Read what :func:`write_maps` wrote; a replacement that was interrupted is undone first.

    Raises
    ------
    StoreError
        Nothing is there, it is not ours, its schema is another one, or it is damaged.
    """
    _bring_back(path)
    if not path.exists():
        raise StoreError(f"{path}: no such maps. Make them with `w2wpath heatmap`.")
    about = _read_about(path)
    with _damage(path):
        checksum = about.pop("checksum")
        if checksum["attributes"] != checksum_of(about):
            raise ValueError("its attributes are damaged (crc32c)")
        refuse_damaged_heads(path, checksum["heads"], tuple(ARRAYS))
        arrays = {name: _read(path / name) for name in ARRAYS}
        codes = np.array([REASONS.index(name) for name in about["reasons"]], dtype=np.uint8)
        if tuple(about["states"]) != STATES:
            raise ValueError(f"its states are {', '.join(about['states'])}")
        _check(arrays, len(about["classes"]), len(codes))
        arrays["reason"] = codes[arrays["reason"]]
        return _maps(about, arrays), _facts(about)


def swap_in(fresh: Path, path: Path) -> None:
    """Rename the complete folder `fresh` to `path`; a folder that is there is moved aside first, and then removed."""
    for last in (False, False, True):
        aside = path.with_name(f".{path.name}{_ASIDE}{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):
            path.rename(aside)
        try:
            fresh.rename(path)
            break
        except OSError:
            with suppress(OSError):  # there was none, or another one is in place already
                aside.rename(path)
            # a reader may have brought the old one back, or another run put its own there: move that aside
            if last or not (path.exists() and fresh.exists()):
                raise
    for old in _asides(path):
        shutil.rmtree(old, ignore_errors=True)


def _bring_back(path: Path) -> None:
    """Undo a replacement that ended between its two renames."""
    if not path.exists():
        for aside in _asides(path)[:1]:
            with suppress(OSError):  # the run that moved it aside is alive and was faster
                aside.rename(path)


def _asides(path: Path) -> list[Path]:
    begin = f".{path.name}{_ASIDE}"
    return sorted(one for one in path.parent.iterdir() if one.name.startswith(begin)) if path.parent.is_dir() else []


# one array ----------------------------------------------------------------------------------------------------------


def _write(array: Path, values: NDArray[Any]) -> None:
    if values.size:
        write_column(array, values)
    else:  # zarr has no chunk of no elements
        zarr.create_array(array, shape=values.shape, chunks=(1,) * values.ndim, dtype=values.dtype)


def _read(array: Path) -> NDArray[Any]:
    found = zarr.open_array(array, mode="r")
    if found.size > MOST_VALUES or (found.size and found.chunks != found.shape):
        raise ValueError(f"{array.name} is not laid out as maps are")
    return read_column(array) if found.size else np.empty(found.shape, dtype=found.dtype)


def _gridded(maps: Maps) -> dict[str, NDArray[Any]]:
    """Return the arrays on the grid; refuse tiles that lie elsewhere, since their corners are not written."""
    rows, columns = maps.grid_shape
    x0, y0 = _corners(rows, columns, _affine0(maps))
    if not (np.array_equal(maps.x0, x0) and np.array_equal(maps.y0, y0)):
        raise ValueError(f"the {len(maps.x0)} tiles do not form a grid of {rows} x {columns} with step {maps.step0}")
    flat = {name: getattr(maps, name).reshape(rows, columns) for name in ARRAYS if name != "probability"}
    return {"probability": maps.probs_nk.T.reshape(len(maps.classes), rows, columns), **flat}


def _affine0(maps: Maps) -> list[list[int]]:
    x, y = (int(maps.x0[0]), int(maps.y0[0])) if len(maps.x0) else (0, 0)
    return [[maps.step0, 0, x], [0, maps.step0, y]]


def _corners(rows: int, columns: int, affine0: list[list[int]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    (step_x, _, x), (_, step_y, y) = affine0
    down, across = np.mgrid[0:rows, 0:columns]
    return (x + step_x * across.ravel()).astype(np.int32), (y + step_y * down.ravel()).astype(np.int32)


def _check(arrays: Mapping[str, NDArray[Any]], k: int, reasons: int = len(REASONS)) -> None:
    """Raise ValueError where shapes, dtypes or values break the rules of :class:`Maps`."""
    state = arrays["state"]
    for name, dtype in ARRAYS.items():
        shape = (k, *state.shape) if name == "probability" else state.shape
        if arrays[name].dtype != dtype or arrays[name].shape != shape or state.ndim != 2:
            raise ValueError(f"{name} is {arrays[name].shape} {arrays[name].dtype}, not {shape} {dtype}")
    empty = state == NOT_ANALYSED
    for name in ("probability", "u", "aleatoric", "epistemic"):
        values = arrays[name]
        if not np.array_equal(np.isnan(values), np.broadcast_to(empty, values.shape)) or np.isinf(values).any():
            raise ValueError(f"{name} must be a number where a tile was analysed, and NaN elsewhere")
    said = arrays["probability"][:, ~empty]
    if said.size and not (said.min() >= 0 and said.max() <= 1 + 1e-5):
        raise ValueError("probability must lie between 0 and 1")
    if state.max(initial=0) >= len(STATES) or arrays["reason"].max(initial=0) >= reasons:
        raise ValueError("state or reason is a number without a name")
    for name, allowed in (("reason", state == UNCERTAIN), ("draws", ~empty), ("unread", empty)):
        if arrays[name][~allowed].any():
            raise ValueError(f"{name} is set where the state does not allow it")


# attributes ---------------------------------------------------------------------------------------------------------


def _about(maps: Maps, facts: Facts) -> dict[str, Any]:
    domain = facts.domain
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "classes": list(maps.classes),
        "states": list(STATES),
        "reasons": list(REASONS),
        "affine0": _affine0(maps),
        "side0": maps.side0,
        "size0": [maps.width0, maps.height0],
        "slide_mpp": maps.slide_mpp,
        "threshold": maps.threshold,
        "slide": facts.slide,
        "fingerprint": facts.fingerprint,
        "frame": asdict(facts.frame),
        "model": dict(facts.model),
        "calibrated": facts.calibrated,
        "domain": None if domain is None else {**asdict(domain), "unusual": list(domain.unusual)},
        "provenance": dict(facts.provenance),
    }


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]["w2wpath"]
        kind, schema = about["kind"], about["schema"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = None
    if kind != KIND:
        raise StoreError(f"{path}: not the maps of a heatmap. Give a <slide>.maps.zarr of `w2wpath heatmap`.")
    if schema != SCHEMA:
        raise StoreError(
            f"{path}: has schema {schema!r}, but this w2wpath reads schema {SCHEMA}. "
            "Update w2wpath if the maps are newer, or run `w2wpath heatmap` for the slide again."
        )
    return about


def _maps(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Maps:
    rows, columns = arrays["state"].shape
    numbers = (about["slide_mpp"], about["threshold"])
    if not all(math.isfinite(value) for value in numbers) or about["slide_mpp"] <= 0:
        raise ValueError("its um/px or its threshold is no number")
    k = len(about["classes"])
    x0, y0 = _corners(rows, columns, about["affine0"])
    maps = Maps(
        classes=tuple(about["classes"]),
        x0=x0,
        y0=y0,
        side0=about["side0"],
        step0=about["affine0"][0][0],
        width0=about["size0"][0],
        height0=about["size0"][1],
        slide_mpp=about["slide_mpp"],
        threshold=about["threshold"],
        probs_nk=np.ascontiguousarray(arrays["probability"].reshape(k, rows * columns).T),
        **{name: arrays[name].ravel() for name in ARRAYS if name != "probability"},
    )
    if maps.grid_shape != (rows, columns):
        raise ValueError(f"a grid of {rows} x {columns} does not fit the size of the slide")
    return maps


def _facts(about: Mapping[str, Any]) -> Facts:
    domain, frame = about["domain"], Frame(**about["frame"])
    if frame.turns not in range(4):
        raise ValueError(f"its frame has {frame.turns} turns")
    return Facts(
        slide=about["slide"],
        fingerprint=about["fingerprint"],
        frame=frame,
        model=about["model"],
        calibrated=about["calibrated"],
        domain=None if domain is None else Domain(**{**domain, "unusual": tuple(domain["unusual"])}),
        provenance=about["provenance"],
    )


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn whatever damaged files raise into one message with the cure."""
    try:
        yield
    except Exception as error:
        # zarr and its codecs raise many kinds for damaged bytes; all of them mean the same to a user
        raise StoreError(
            f"{path}: is damaged ({type(error).__name__}: {error}). Run `w2wpath heatmap` for the slide again."
        ) from error
