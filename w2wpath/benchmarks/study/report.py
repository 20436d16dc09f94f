"""A study from its TOML to its tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from w2wpath.benchmarks.study.figures import draw_figures
from w2wpath.benchmarks.study.run import complete, open_study, refuse_without_packages
from w2wpath.benchmarks.study.score import score
from w2wpath.benchmarks.study.tables import write_tables
from w2wpath.config import CleanSettings, StudySettings, TileSettings, load
from w2wpath.errors import RunError
from w2wpath.progress import Progress


@dataclass(frozen=True)
class Done:
    """What a study wrote, the cells that failed with the reason, and the rows that have no whole seed yet."""

    out: Path
    files: tuple[Path, ...]
    failed: Mapping[str, str]
    missing: tuple[str, ...]


def conduct(
    toml: Path,
    out: Path,
    data: Path | None,
    workers: int,
    report_only: bool,
    progress: Progress,
    scheduler: str | None = None,
) -> Done:
    """Do what is missing of the study in `toml`, then write its tables and figures into folder `out`.

    Parameters
    ----------
    data
        What cohort and truth are relative to; None takes the folder of the TOML.
    report_only
        Train nothing.
    scheduler
        Address of a dask.distributed scheduler whose workers see the same files and train the cells.

    Raises
    ------
    W2wError
        The settings, the cohort or the truth are wrong; or there is nothing to report.
    """
    study = _settings(toml, data)
    tiling, cleaning = load(TileSettings, "tile", toml, {}), load(CleanSettings, "clean", toml, {})
    if report_only and not (out / "cells").is_dir():
        raise RunError(f"{out}: holds no study yet. Run it without --report-only.")
    if not report_only:
        refuse_without_packages(study.rows)
    opened = open_study(out, study, tiling, cleaning, workers=workers, progress=progress)
    failed = {} if report_only else complete(opened, workers=workers, scheduler=scheduler, progress=progress)
    scores = score(opened)
    files = [*write_tables(opened, scores), *draw_figures(out, scores)]
    return Done(out, tuple(files), failed, scores.missing)


def _settings(toml: Path, data: Path | None) -> StudySettings:
    study, base = load(StudySettings, "study", toml, {}), data or toml.parent
    truth = None if study.truth is None else base / study.truth
    return study.model_copy(update={"cohort": base / study.cohort, "truth": truth})
