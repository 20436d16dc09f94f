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
    scheduler: options.Scheduler = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Train nothing; write tables and figures of the cells that are there.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Compare cleaning with its rivals on a cohort: folds of patients, tables and figures.

    What was done before stays, so a study that was interrupted goes on. Exit code 3: some cells failed.
    """
    from w2wpath.benchmarks.study.report import conduct

    done = conduct(study, out or Path("study") / study.stem, data, workers, report_only, make_progress(), scheduler)
    if as_json:
        tell_json({"out": str(done.out), "files": [str(path) for path in done.files], "failed": done.failed})
    else:
        for path in done.files:
            tell(str(path))
    for name, why in done.failed.items():
        warn(f"{name}: {why}")
    if done.missing:
        warn(f"not there yet: {', '.join(done.missing)}")
    if done.failed:
        raise typer.Exit(3)
