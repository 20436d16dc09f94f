"""``w2wpath run``: a study from a TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from w2wpath.cli import options
from w2wpath.cli.console import make_progress, tell, tell_json, warn

NAME = "run"


def run(
    study: Annotated[Path, typer.Argument(help="TOML with the tables [tile], [clean] and [study].")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder of the study. [default: study/ and the TOML's name]")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder that cohort and truth are relative to. [default: that of the TOML]")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train, each with its share of the cores.")] = 1,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Train nothing; write tables and figures of the cells that are there.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Compare cleaning with its rivals on a cohort: folds of patients, tables and figures.

    What was done before stays, so a study that was interrupted goes on. Exit code 3: some cells failed.
    """
    from w2wpath.benchmarks.study.run import complete, open_study
    from w2wpath.config import CleanSettings, StudySettings, TileSettings, load

    settings = load(StudySettings, "study", study, {})
    base = data or study.parent
    truth = None if settings.truth is None else base / settings.truth
    settings = settings.model_copy(update={"cohort": base / settings.cohort, "truth": truth})
    cleaning, tiling = load(CleanSettings, "clean", study, {}), load(TileSettings, "tile", study, {})
    folder = out or Path("study") / study.stem
    progress = make_progress()
    opened = open_study(folder, settings, tiling, cleaning, workers=workers, progress=progress)
    failed = {} if report_only else complete(opened, workers=workers, progress=progress)
    if as_json:
        tell_json({"out": str(folder), "failed": failed})
    else:
        tell(f"study: {folder}")
    for name, why in failed.items():
        warn(f"{name}: {why}")
    if failed:
        raise typer.Exit(3)
