"""Run folders of `clean`: beside the store, one a run, recognised by what it was begun with.

::

    clean/<run>/   key.json folds.csv            what it was begun with, and which fold tests which patient
                   pixels.npz                    while it is under way, as are
                   fold-k.checkpoint fold-k.lock
                   fold-k.npz                    what fold k found
                   report.html review.csv done   when it is finished
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from w2wpath.config import CleanSettings
from w2wpath.errors import RunError, writing
from w2wpath.progress import Progress
from w2wpath.provenance import write_whole
from w2wpath.w2wnet.checkpoint import RESULT_FREE
from w2wpath.w2wnet.folds import FoldTable
from w2wpath.w2wnet.ledger import new_run

DONE = "done"
LOCK = "fold-{}.lock"
"""Held by the process that works on a fold."""
LEFTOVERS = ("fold-*.checkpoint", "fold-*.lock", "stop-*", "pixels.npz")
LEFT_AFTER_S = 600.0
"""Age from which a half-written file is what a killed process left: a living one writes for seconds."""


@dataclass(frozen=True)
class Key:
    """What a run was begun with: a run goes on only with the same.

    Attributes
    ----------
    settings
        As JSON, without those that cannot change a result.
    store, folds
        Hash of the store's tiles and labels, and of the fold table.
    command
        Words of the command line that began it; they are not compared.
    store_name
        Of the store's folder, since runs of all stores beside each other share a folder; "" where it is not known. It
        is not compared.
    """

    settings: Mapping[str, Any]
    store: str
    folds: str
    command: tuple[str, ...] = ()
    store_name: str = ""

    @classmethod
    def of(cls, settings: CleanSettings, store_hash: str, folds: FoldTable, store_name: str = "") -> Key:
        """Return the key of a run to begin."""
        table = settings.model_dump(mode="json", exclude=set(RESULT_FREE))
        return cls(table, store_hash, folds.digest, tuple(sys.argv[1:]), store_name)

    @classmethod
    def read(cls, folder: Path) -> Key | None:
        """Return the key of a run's folder; None where it has none that this version can read."""
        try:
            found = json.loads((folder / "key.json").read_text("utf-8"))
            known = dict(found["settings"]), found["store"], found["folds"], tuple(found["command"])
            return cls(*known, found.get("store_name", ""))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def digest(self) -> str:
        """sha256 of what is compared."""
        return hashlib.sha256(json.dumps([self.settings, self.store, self.folds], sort_keys=True).encode()).hexdigest()

    def differences(self, other: Key) -> list[str]:
        """Say in words in what this key differs from the `other`, of a run that is there; nothing where it is equal."""
        absent = "not known"
        names = [name for name in {**other.settings, **self.settings} if self._at(name) != other._at(name)]
        said = [f"{name} is {self._at(name, absent)}, there {other._at(name, absent)}" for name in names]
        if self.store != other.store:
            return [*said, "the store's tiles or labels have changed since"]
        return said or (["its fold table is another"] if self.folds != other.folds else [])

    def _at(self, name: str, absent: Any = None) -> Any:
        return self.settings.get(name, absent)


def unfinished(home: Path) -> list[tuple[str, Key]]:
    """Return the runs in `home` that were begun and not finished, newest first."""
    if not home.is_dir():
        return []
    names = [path.name for path in home.iterdir() if path.is_dir() and not (path / DONE).exists()]
    found = [(name, Key.read(home / name)) for name in sorted(names, reverse=True)]
    return [(name, key) for name, key in found if key is not None]


def choose_run(
    home: Path, key: Key, folds: FoldTable, progress: Progress, *, name: str | None = None, may_begin: bool = True
) -> str:
    """Return the run to go on with: the one of that `name`, the newest unfinished one of the same key, or a new one.

    Runs of another key are left as they are; the newest of them is told.

    Raises
    ------
    RunError
        The run of that name is not there, is finished or has another key; or there is none, and none may begin.
    """
    known = unfinished(home)
    if name is not None:
        return _named(home, key, name, dict(known))
    if (same := _same(home, key)) is not None:
        return same
    why = [f"run {other}: {'; '.join(key.differences(its))}" for other, its in known[:1]]
    if not may_begin:
        raise RunError(
            f"{home}: has no unfinished run with these settings on this store{_brackets(why)}. "
            "Give the settings of the run, or begin one with `w2wpath clean`."
        )
    if known:
        progress.say(
            f"run {known[0][0]} was interrupted and is left as it is ({'; '.join(key.differences(known[0][1]))}). "
            "A new run begins."
        )
    return _begin(home, key, folds)


def remove_partials(folder: Path, name: str = "") -> None:
    """Remove what killed writes left of the files whose names begin with `name`; others may be writing just now."""
    for path in folder.glob(f".{name}*.partial"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > LEFT_AFTER_S:
                path.unlink()


def finish(folder: Path) -> None:
    """Mark a run as finished, and remove what only served to get there."""
    remove_partials(folder)
    for path in [one for what in LEFTOVERS for one in folder.glob(what)]:
        path.unlink(missing_ok=True)
    write_whole(folder / DONE, "")


def _brackets(words: list[str]) -> str:
    return f" ({words[0]})" if words else ""


def _same(home: Path, key: Key) -> str | None:
    return next((name for name, its in unfinished(home) if not key.differences(its)), None)


def _named(home: Path, key: Key, name: str, known: Mapping[str, Key]) -> str:
    if name not in known:
        if (home / name / DONE).exists():
            raise RunError(f"run {name}: is finished. Leave --run out to begin a new one.")
        those = f"Unfinished are {', '.join(known)}." if known else "None is unfinished; leave --run out."
        raise RunError(f"{home}: has no unfinished run {name!r}. {those}")
    if differences := key.differences(known[name]):
        raise RunError(
            f"run {name}: cannot go on, because {'; '.join(differences)}. "
            f"Give the settings in {home / name / 'key.json'}, or leave --run out to begin a new run."
        )
    return name


def _begin(home: Path, key: Key, folds: FoldTable) -> str:
    """Make a run's folder; processes that begin the same run at the same time make the same one."""
    pointer = home / f".{key.digest[:12]}.begin"
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        while True:
            name = _claimed(pointer)
            if (same := _same(home, key)) is not None:
                pointer.unlink(missing_ok=True)
                return same
            if name is not None and not (home / name / DONE).exists():
                break
            pointer.unlink(missing_ok=True)
        (home / name).mkdir(exist_ok=True)
    # from 1, as everywhere that a person looks
    lines = [f'"{patient.replace(chr(34), chr(34) * 2)}",{k + 1}' for patient, k in folds.fold_of_patient]
    write_whole(home / name / "folds.csv", "patient,fold\n" + "\n".join(lines) + "\n")
    write_whole(home / name / "key.json", json.dumps(asdict(key), sort_keys=True))  # last: now it can be taken up
    pointer.unlink(missing_ok=True)
    return name


def _claimed(pointer: Path) -> str | None:
    """Return the name that all who begin this run agree on: that of whoever links first."""
    mine = pointer.with_name(f"{pointer.name}-{uuid.uuid4().hex}")
    try:
        mine.write_text(new_run(), "utf-8")
        with suppress(FileExistsError):
            os.link(mine, pointer)
        return pointer.read_text("utf-8")
    except FileNotFoundError:  # the one who was first is ready
        return None
    finally:
        mine.unlink(missing_ok=True)
