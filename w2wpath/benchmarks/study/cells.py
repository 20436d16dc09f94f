"""Pieces of a study, a file each: a Wise on one fold, or a deterministic network on one list of one fold's tiles.

A cell appears by rename and is kept as long as what it was made from stays the same, so that a study that was
interrupted goes on. Cells hold what networks said; every judgement is made anew from that when a study is reported.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.rivals.rival import Kind
from w2wpath.benchmarks.rivals.traces import losses, margins
from w2wpath.benchmarks.study.plain import finite
from w2wpath.config import NetSettings
from w2wpath.errors import RunError, writing
from w2wpath.progress import Progress, Silent
from w2wpath.provenance import Clock, sha256_of, versions, write_whole
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.checkpoint import reached
from w2wpath.w2wnet.fit import StopRecord, draw_exact, fit_wise
from w2wpath.w2wnet.learner import Rows

WITHOUT_EFFECT = frozenset({"preset", "seed", "wiped_epochs", "device", "loader_workers", "folds", "controls"})
"""Settings that change no cell, or stand in its key by another name."""
JUDGEMENT = frozenset(
    {"second_reader", "controls", "balanced", "doubt_below", "out_of_fold_veto", "min_separation"}
    | {"quality", "threshold", "flag_share"}
)
"""Settings that judge what a Wise said and do not change what it says."""
OF_WISE = frozenset(
    {"dropout_rate", "dropout_kind", "dropout_scope", "dropout_logits", "mask_batch", "draws", "tracker", "track_every"}
    | {"ema_decay", "max_epochs", "stop_rule", "median_window", "std_window", "std_below", "split", "label_weight"}
)
"""Settings that a deterministic network has no use for."""


@dataclass(frozen=True)
class Work:
    """One cell to make; `rows` are the study's tiles in the store's table, and index `train` and `test` (rows of it).

    Attributes
    ----------
    path
        The file that appears.
    key
        What it is made from, besides the settings.
    learned
        A sha256 of the training tiles, in their order: pixels and given labels.
    knows_truth
        Its list of training tiles was made with the truth.
    twins
        Cells of the same network that have other unseen tiles; they are made with this one.
    """

    kind: Kind
    path: Path
    key: Mapping[str, Any]
    store: Path
    rows: Rows
    train: Rows
    test: Rows
    settings: NetSettings
    seed: int
    epochs: int
    learned: str
    threads: int | None = None
    knows_truth: bool = False
    twins: tuple[Work, ...] = ()

    @property
    def name(self) -> str:
        """The cell's name."""
        return self.path.stem

    @property
    def settings_that_count(self) -> dict[str, Any]:
        """Those of the settings that change what the cell holds; a trace has those of a deterministic network."""
        without = WITHOUT_EFFECT | (JUDGEMENT if self.kind == "wise" else JUDGEMENT | OF_WISE)
        found = {name: value for name, value in self.settings.model_dump(mode="json").items() if name not in without}
        if found["weights"] is not None:  # what is in the file, not what it is called
            found["weights"] = _sha256(Path(found["weights"]).resolve())
        return found


@dataclass(frozen=True)
class WiseCell:
    """What a Wise said: of its n training tiles (as in :class:`~w2wpath.w2wnet.fit.WiseFit`), and of unseen patients'.

    Attributes
    ----------
    tracked_nk, mean_nk
        Training tiles: the tracker's probabilities at the stop, and the mean draw.
    test_mean_nk, test_u
        Unseen tiles: the mean draw, and its predictive uncertainty.
    """

    tracked_nk: NDArray[np.float64]
    mean_nk: NDArray[np.float64]
    test_mean_nk: NDArray[np.float64]
    test_u: NDArray[np.float64]
    stop: StopRecord
    about: Mapping[str, Any]


@dataclass(frozen=True)
class TraceCell:
    """How a deterministic network learned its n training tiles: means over the epochs of its training forwards.

    Attributes
    ----------
    margin_n, loss_n
        Logit of the given label minus the largest other one, and cross entropy.
    """

    margin_n: NDArray[np.float64]
    loss_n: NDArray[np.float64]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class NetCell:
    """What a deterministic network said of unseen patients' tiles: probabilities (n, k)."""

    test_probs_nk: NDArray[np.float32]
    about: Mapping[str, Any]


def _sha256(weights: Path) -> str:
    about = weights.stat()
    return _sha256_of(weights, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=8)
def _sha256_of(weights: Path, _changed_ns: int, _size: int) -> str:
    return sha256_of(weights)


def digest_of(rows: Rows) -> str:
    """Return a sha256 of rows."""
    return hashlib.sha256(np.asarray(rows, dtype=np.int64).tobytes()).hexdigest()


def is_made(work: Work) -> bool:
    """Tell whether the cell is there, whole, and made from what `work` says.

    A setting that came into being after the cell was made had its default then.
    """
    about = read_about(work.path)
    if about is None or about["key"] != dict(work.key):
        return False
    had, fields = about["settings"], type(work.settings).model_fields
    wanted = work.settings_that_count
    return had.keys() <= wanted.keys() and all(
        value == had.get(name, fields[name].default) for name, value in wanted.items()
    )


def training(work: Work) -> str:
    """Return what decides a network: rows share it that train on the same list, and sets with the same training tiles.

    A cell whose list knows the truth shares with no other row: so no other cell comes from it.
    """
    apart = work.name if work.knows_truth else ""
    named = [work.kind, apart, work.learned, work.seed, work.epochs, work.settings_that_count]
    return json.dumps(named, sort_keys=True, default=str)


def identity(work: Work) -> str:
    """Return what decides a cell's content: the network, and the unseen tiles that it is asked about."""
    return json.dumps([training(work), dict(work.key)], sort_keys=True, default=str)


def copy(made: Work, work: Work) -> None:
    """Write the cell of `work` from one of the same identity that is made, with no seconds of its own.

    Raises
    ------
    RunError
        The other cell is not there any more.
    DiskError
        There is no room.
    """
    found = _read(made.path)
    if found is None:
        raise RunError(f"{made.path}: is not there any more. Run the same command again.")
    about, arrays = found
    _write(work.path, {**about, **_same_as(made, work)}, arrays)


def _same_as(made: Work, work: Work) -> dict[str, Any]:
    """Return what a cell says whose network was trained for another one."""
    here = made.path.parent == work.path.parent
    return {"seconds": 0.0, "same_as": made.name if here else f"{made.path.parent.parent.name}/{made.name}"}


def make(work: Work, progress: Progress | None = None) -> float:
    """Train what the cell and its twins need and write them; return the seconds that it took, 0 where all are there.

    A scheduler that loses a worker runs its finished tasks again, and the cells of those are there.

    Raises
    ------
    NonFiniteScoreError
        The training diverged.
    DiskError
        There is no room.
    """
    if all(is_made(one) for one in (work, *work.twins)):
        return 0.0
    # torch enters here, in the process that trains
    from w2wpath.w2wnet.nets.device import use_threads
    from w2wpath.w2wnet.nets.training import Tiles

    clock, checkpoint = Clock(), work.path.with_suffix(".checkpoint")
    before = reached(checkpoint)  # what an interrupted process spent on it
    if work.threads is not None:
        use_threads(work.threads)
    store = TileStore.open(work.store)
    table = store.table().take(work.rows)
    tiles = Tiles.of(store, table, work.settings, _unseen(work.twins))
    rows, tests = table.n, [work.test]
    for twin in work.twins:
        tests.append(np.arange(rows, rows + len(twin.test)))
        rows += len(twin.test)
    ask = {"wise": _wise, "net": _net, "trace": _trace}[work.kind]
    said = list(ask(work, tiles, tests, table.label, progress or Silent()))
    took = {"seconds": round(clock.seconds + (0.0 if before is None else before[1]), 1)}
    for one, (arrays, more) in zip((work, *work.twins), said, strict=True):
        about = {
            "key": dict(one.key),
            "settings": one.settings_that_count,
            "compute": str(tiles.compute),
            "threads": work.threads,
            "versions": versions(),
            "train_tiles": len(one.train),
            "test_tiles": len(one.test),
            **(took if one is work else _same_as(work, one)),
            **more,
        }
        _write(one.path, about, arrays)
    checkpoint.unlink(missing_ok=True)
    return clock.seconds


def _unseen(works: Sequence[Work]) -> NDArray[np.uint8] | None:
    """Decode the unseen tiles of cells, one behind the other; None of none."""
    from w2wpath.w2wnet.nets.data import load_images

    stores = [TileStore.open(one.store) for one in works]
    images = [
        load_images(store, store.table().take(one.rows[one.test])) for store, one in zip(stores, works, strict=True)
    ]
    return np.concatenate(images) if images else None


Said = Iterator[tuple[dict[str, NDArray[Any]], dict[str, Any]]]
"""Arrays and facts of a cell, for one list of unseen tiles after the other."""


def _wise(work: Work, tiles: Any, tests: Sequence[Rows], label_n: NDArray[np.int16], progress: Progress) -> Said:
    from w2wpath.w2wnet.nets.training import WiseLearner

    learner, settings = WiseLearner(tiles, progress), work.settings
    run, fit = fit_wise(
        learner,
        work.train,
        label_n[work.train],
        tiles.n_classes,
        work.seed,
        settings,
        progress,
        work.name,
        work.path.with_suffix(".checkpoint"),
        pixels=work.learned,
    )
    trained = run.state()
    for test in tests:
        run.load(trained)  # the same masks for everyone
        unseen = draw_exact(run, test, tiles.n_classes, settings.draws, progress, f"{work.name}: unseen patients")
        arrays = {
            "tracked_nk": fit.tracked_nk,
            "mean_nk": fit.mean_nk,
            "test_mean_nk": unseen.mean_nk,
            "test_u": unseen.u_n,
        }
        yield arrays, {"stop": asdict(fit.stop)}


def _net(work: Work, tiles: Any, tests: Sequence[Rows], label_n: NDArray[np.int16], progress: Progress) -> Said:
    from w2wpath.w2wnet.nets.training import WipedFitter

    network = WipedFitter(tiles, progress).fit(work.train, label_n[work.train], work.seed, work.epochs, work.name)
    for test in tests:
        yield {"test_probs_nk": network.predict(test)}, {}


def _trace(work: Work, tiles: Any, tests: Sequence[Rows], label_n: NDArray[np.int16], progress: Progress) -> Said:
    from w2wpath.w2wnet.nets.training import WiseLearner

    labels, n = label_n[work.train], len(work.train)
    run = WiseLearner(tiles, progress).start(work.train, labels, work.seed)
    margin, loss = np.zeros(n), np.zeros(n)
    with progress.track(work.name, work.epochs) as step:
        for _ in range(work.epochs):
            said = run.epoch()
            if said is None:
                raise ValueError("a trace needs a learner that tells of its training forwards")
            margin += margins(said, labels)
            loss += losses(said, labels)
            step(1, "")
    for _ in tests:
        yield {"margin_n": margin / work.epochs, "loss_n": loss / work.epochs}, {}


def read_trace(path: Path) -> TraceCell | None:
    """Read a trace; None where there is none, or not all of it."""
    found = _read(path)
    return None if found is None else TraceCell(**found[1], about=found[0])


def read_wise(path: Path) -> WiseCell | None:
    """Read a Wise's cell; None where there is none, or not all of it."""
    found = _read(path)
    if found is None:
        return None
    about, arrays = found
    stop: dict[str, Any] = {
        name: tuple(_numbers(value)) if isinstance(value, list) else value for name, value in about["stop"].items()
    }
    return WiseCell(**arrays, stop=StopRecord(**stop), about=about)


def read_net(path: Path) -> NetCell | None:
    """Read a network's cell; None where there is none, or not all of it."""
    found = _read(path)
    return None if found is None else NetCell(**found[1], about=found[0])


def _numbers(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _write(path: Path, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    text = json.dumps(finite(about), sort_keys=True, default=str, allow_nan=False)
    packed: dict[str, Any] = {**arrays, "about": np.frombuffer(text.encode(), dtype=np.uint8)}
    file = io.BytesIO()
    np.savez(file, **packed)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, file.getvalue())


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        return json.loads(arrays.pop("about").tobytes()), arrays
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def read_about(path: Path) -> dict[str, Any] | None:
    """Read how a cell of any kind came about; None where there is none, or not all of it."""
    found = _read(path)
    return None if found is None else found[0]
