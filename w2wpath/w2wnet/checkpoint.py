"""Training that was interrupted goes on after its last whole epoch, to the same bits (K18)."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import NetSettings
from w2wpath.errors import RunError, writing
from w2wpath.provenance import write_whole
from w2wpath.w2wnet.learner import Rows, Run
from w2wpath.w2wnet.stopping import StopRule
from w2wpath.w2wnet.trackers import Arrays, Tracker

RESULT_FREE = frozenset({"device", "loader_workers"})
"""Settings that may differ when interrupted training goes on; of the device, which one of its kind."""
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Best:
    """The epoch with the least std so far: what is used if the rule never fires."""

    std: float
    epoch: int
    run: bytes
    tracker: Arrays


@dataclass(frozen=True)
class Point:
    """How far a training has come."""

    epoch: int
    rule: StopRule
    fired: bool
    best: Best | None
    seconds: float = 0.0
    """What its epochs took, in whichever processes."""


class Checkpoint:
    """One file that holds the state after the last epoch: a sha256, then arrays only. It is replaced whole."""

    def __init__(
        self, path: Path, rows: Rows, labels: NDArray[np.int16], seed: int, settings: NetSettings, pixels: str = ""
    ) -> None:
        self._path = path
        digest = hashlib.sha256(pixels.encode())
        for part in (np.asarray(rows, dtype=np.int64), labels.astype(np.int64)):
            digest.update(part.tobytes())
        digest.update(json.dumps([seed, settings.digest(without=RESULT_FREE)]).encode())
        self._key = digest.hexdigest()

    def write(self, point: Point, run: Run, tracker: Tracker) -> None:
        """Keep the state after an epoch.

        Raises
        ------
        DiskError
            There is no room; the state of the epoch before stays.
        """
        facts: dict[str, Any] = {"key": self._key, "epoch": point.epoch, "fired": point.fired}
        facts["seconds"] = point.seconds
        rule = point.rule.state()
        arrays: dict[str, Any] = {"run": _bytes(run.state()), **_named("tracker", tracker.state())}
        if point.best is not None:
            facts["best"] = {"std": point.best.std, "epoch": point.best.epoch}
            arrays |= {"best_run": _bytes(point.best.run), **_named("best_tracker", point.best.tracker)}
        arrays |= _named("rule", {name: value for name, value in rule.items() if isinstance(value, np.ndarray)})
        facts["rule"] = {name: value for name, value in rule.items() if not isinstance(value, np.ndarray)}
        file = io.BytesIO()
        np.savez(file, facts=_bytes(json.dumps(facts).encode()), **arrays)
        content = file.getvalue()
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, hashlib.sha256(content).digest() + content)

    def read(self, run: Run, tracker: Tracker, rule: StopRule) -> Point | None:
        """Bring run, tracker and rule back to where they were; None where there is nothing of use.

        Raises
        ------
        RunError
            It cannot go on, to the same bits, on this device.
        """
        if (arrays := _read(self._path)) is None:
            return None
        facts = json.loads(arrays.pop("facts").tobytes())
        if facts["key"] != self._key:
            return None
        try:
            run.load(arrays["run"].tobytes())
        except RunError as error:
            raise RunError(f"{self._path}: {error}") from None
        tracker.load(_taken("tracker", arrays))
        best = None
        if "best" in facts:
            held = _taken("best_tracker", arrays)
            best = Best(facts["best"]["std"], facts["best"]["epoch"], arrays["best_run"].tobytes(), held)
        restored = type(rule).from_state({**facts["rule"], **_taken("rule", arrays)})
        return Point(facts["epoch"], restored, facts["fired"], best, facts.get("seconds", 0.0))


def reached(path: Path) -> tuple[int, float] | None:
    """Return how many epochs a checkpoint holds, and the seconds that they took; None where there is nothing of use."""
    if (arrays := _read(path)) is None:
        return None
    facts = json.loads(arrays["facts"].tobytes())
    return int(facts["epoch"]), float(facts.get("seconds", 0.0))


def _read(path: Path) -> dict[str, NDArray[Any]] | None:
    """Return what a file holds; None where there is none, or it is not as it was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    # NumPy and zip find damage late or not at all: a shape that shrank leaves bytes that nobody checks
    written, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != written:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except Exception:
        return None  # a stranger's: no arrays, or objects, which only unpickling could read
    return arrays if "facts" in arrays else None


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)


def _named(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}/{name}": value for name, value in arrays.items()}


def _taken(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    head = f"{prefix}/"
    return {name.removeprefix(head): value for name, value in arrays.items() if name.startswith(head)}
