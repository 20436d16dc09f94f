"""The grid of a benchmark: every data set with every seed is a study of one split; cells are made over all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from w2wpath.benchmarks.noise.dataset import make_dataset
from w2wpath.benchmarks.noise.sets import recipe_of
from w2wpath.benchmarks.sources.cifar10 import read_cifar10
from w2wpath.benchmarks.sources.letters import read_letters
from w2wpath.benchmarks.sources.mnist import read_mnist
from w2wpath.benchmarks.sources.source import Source
from w2wpath.benchmarks.study.cells import Work
from w2wpath.benchmarks.study.making import TimeLeft, make_all
from w2wpath.benchmarks.study.run import Study, open_split
from w2wpath.config import BenchSettings, CleanSettings, StudySettings
from w2wpath.errors import ConfigError, W2wError
from w2wpath.progress import Progress


@dataclass(frozen=True)
class Entry:
    """One data set with one seed.

    Attributes
    ----------
    about
        What the data set is made of, as in its ``dataset.json``.
    first
        The rows of every seed, which are made before those of one seed.
    """

    name: str
    seed: int
    study: Study
    about: Mapping[str, Any]
    first: tuple[str, ...]

    @property
    def told(self) -> str:
        """How it is called in lines of progress and of failures."""
        return f"{self.name}, seed {self.seed}"


def open_sets(
    bench: BenchSettings, settings: CleanSettings, data: Path | None, out: Path, *, workers: int, progress: Progress
) -> tuple[list[Entry], dict[str, str]]:
    """Make every data set that is not there, and open it; return what went wrong by data set.

    Parameters
    ----------
    data
        What the folders of the sources are relative to; None makes nothing, and opens what is there.

    Raises
    ------
    ConfigError
        A set is not known.
    """
    for name in bench.sets:
        recipe_of(name)
    sources, entries, failed = _Sources(bench, data), list[Entry](), dict[str, str]()
    for seed in bench.seeds:
        for name in bench.sets:
            folder = out / f"{name}-s{seed}"
            try:
                if data is not None:
                    _make(name, seed, folder, bench, sources)
                entries.append(_opened(name, seed, folder, bench, settings, workers, progress))
            except W2wError as error:
                failed[f"{name}, seed {seed}"] = str(error)
                progress.say(f"{name}, seed {seed}: left out. {error}")
    return entries, failed


def complete(
    entries: Sequence[Entry], *, workers: int, progress: Progress, scheduler: str | None = None
) -> dict[str, str]:
    """Make every cell that is missing; return what failed, by cell.

    Rows of every seed go before those of one, so that a grid that is interrupted has its main figures; then seed by
    seed, first the cells that wait for none.
    """
    clock, failed = TimeLeft(workers), dict[str, str]()
    for studies in (
        _with_rows(entries, lambda entry: entry.first),
        _with_rows(entries, lambda entry: entry.study.rows),
    ):
        for seed in dict.fromkeys(entry.seed for entry in entries):
            mine = [study for study in studies if study.study.seeds == (seed,)]
            for stage in (_first, _lists):
                works = {_told(work): work for study in mine for work in stage(study, seed)}
                asked = [work for told, work in works.items() if told not in failed]
                failed |= make_all(asked, clock, workers, progress, f"seed {seed}", _told, scheduler)
    return failed


def _with_rows(entries: Sequence[Entry], rows_of: Callable[[Entry], tuple[str, ...]]) -> list[Study]:
    """Return the studies of `entries`, each with some of its rows."""
    return [
        replace(entry.study, study=entry.study.study.model_copy(update={"rows": rows_of(entry)})) for entry in entries
    ]


def _told(work: Work) -> str:
    """Return data set, seed and cell."""
    return f"{work.path.parent.parent.name}/{work.name}"


def _first(study: Study, seed: int) -> list[Work]:
    wise = [work for variant in study.variants for work in study.wise_cells(variant, seed)]
    return [*wise, *study.inner_cells(seed), *study.net_cells(seed)]


def _lists(study: Study, seed: int) -> list[Work]:
    return study.net_cells(seed)


class _Sources:
    """Reads each source once, when it is first needed."""

    def __init__(self, bench: BenchSettings, data: Path | None) -> None:
        base = data or Path()
        self._readers: dict[str, Callable[[], Source]] = {
            "MNIST": lambda: read_mnist(base / bench.mnist),
            "letters": lambda: read_letters(base / bench.letters),
            "CIFAR10": lambda: read_cifar10(base / bench.cifar10),
        }
        self._read: dict[str, Source] = {}

    def __getitem__(self, name: str) -> Source:
        if name not in self._read:
            self._read[name] = self._readers[name]()
        return self._read[name]


def _make(name: str, seed: int, folder: Path, bench: BenchSettings, sources: _Sources) -> None:
    recipe = recipe_of(name)
    letters = sources["letters"] if recipe.base == "MNIST" and recipe.percent else None
    base, test_images = sources[recipe.base], bench.test_images
    if bench.images is not None and test_images is None:
        share = bench.images / len(base.labels["train"])
        test_images = max(2, round(min(share, 1.0) * len(base.labels["test"])))
    size = {"images": bench.images, "test_images": test_images}
    make_dataset(name, folder, base, letters, **size, mode=bench.mode, seed=seed)


def _opened(
    name: str, seed: int, folder: Path, bench: BenchSettings, settings: CleanSettings, workers: int, progress: Progress
) -> Entry:
    about = folder / "dataset.json"
    if not about.is_file():
        raise ConfigError(f"{about}: is not there. Run `w2wpath bench run` first.")
    first = seed == bench.seeds[0]
    study = StudySettings(
        cohort=about,
        truth=folder / "truth" / "truth.csv",
        rows=(*bench.rows, *(bench.rows_once if first else ())),
        seeds=(seed,),
        classifier_epochs=bench.classifier_epochs,
        paper_exact_folds=(0,) if first and name in bench.exact else (),
        paper=bench.paper,
    )
    opened = open_split(folder, study, settings, test="test", workers=workers, progress=progress)
    return Entry(name, seed, opened, json.loads(about.read_text("utf-8")), bench.rows)
