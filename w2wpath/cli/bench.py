"""``w2wpath bench``: the paper's benchmarks on MNIST and CIFAR-10."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from w2wpath.cli import options
from w2wpath.cli.console import make_progress, tell, tell_json, warn

NAME = "bench"

app = typer.Typer(help="W2WNet and its rivals on MNIST and CIFAR-10 with known faults.", no_args_is_help=True)
Grid = Annotated[Path, typer.Argument(help="TOML with the tables [clean] and [bench].")]
Out = Annotated[
    Path | None,
    typer.Option(
        "-o", "--out", help="Folder of the benchmark. [default: bench/ and the names of the TOML and its folder]"
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(help="Another backbone than the TOML's; without -o its name is added to that of the folder."),
]
Images = Annotated[
    int | None,
    typer.Option(min=2, help="Training images before faults, instead of the TOML's; added to the folder's name too."),
]
TestImages = Annotated[
    int | None,
    typer.Option(min=2, help="The same of the test side. [default: the TOML's, or as large a share as of training]"),
]


@app.command("run")
def run(
    grid: Grid,
    data: Annotated[Path, typer.Option(help="Folder that holds mnist/ and cifar10/ (others by the TOML).")],
    out: Out = None,
    backbone: Backbone = None,
    images: Images = None,
    test_images: TestImages = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train, each with its share of the cores.")] = 1,
    scheduler: options.Scheduler = None,
    as_json: options.Json = False,
) -> None:
    """Make what is missing of a grid of data sets, rows and seeds, then its report.

    What was done before stays, so a grid that was interrupted goes on. Exit code 3: some of it failed.
    """
    size = {"images": images, "test_images": test_images}
    _conduct(grid, out, data, workers, as_json, backbone=backbone, size=size, scheduler=scheduler)


@app.command("report")
def report(
    grid: Grid,
    out: Out = None,
    backbone: Backbone = None,
    images: Images = None,
    test_images: TestImages = None,
    check: Annotated[
        Path | None, typer.Option(help="Compare with the figures of this expected.json; exit code 1 where they differ.")
    ] = None,
    expect: Annotated[Path | None, typer.Option(help="Write the figures into this expected.json.")] = None,
    as_json: options.Json = False,
) -> None:
    """Write the report of what is there anew; nothing is trained, and the sources are not needed."""
    size = {"images": images, "test_images": test_images}
    _conduct(grid, out, None, 1, as_json, backbone=backbone, size=size, expect=expect, check=check)


@app.command("compare")
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of grids with different backbones.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the table here too.")] = None,
) -> None:
    """Set grids of different backbones side by side, and tell whether the backbone matters."""
    from w2wpath.benchmarks.bench.compare import compare as compared
    from w2wpath.provenance import write_whole

    text = "\n".join(compared(folders)) + "\n"
    if out is not None:
        write_whole(out, text)
    tell(text)


def _conduct(
    grid: Path,
    out: Path | None,
    data: Path | None,
    workers: int,
    as_json: bool,
    *,
    backbone: str | None,
    size: Mapping[str, int | None],
    expect: Path | None = None,
    check: Path | None = None,
    scheduler: str | None = None,
) -> None:
    from w2wpath.benchmarks.bench.report import conduct

    parts = grid.parent.name, grid.stem, backbone, size["images"]
    folder = out or Path("bench") / "-".join(str(part) for part in parts if part)
    done = conduct(
        grid,
        folder,
        data,
        workers,
        make_progress(),
        backbone=backbone,
        **size,
        expect=expect,
        check=check,
        scheduler=scheduler,
    )
    if as_json:
        files = [str(path) for path in done.files]
        tell_json({"out": str(done.out), "files": files, "failed": done.failed, "missing": done.missing})
    else:
        for path in done.files:
            tell(str(path))
    for name, why in done.failed.items():
        warn(f"{name}: {why}")
    for name, rows in done.missing.items():
        warn(f"{name}: not there yet: {', '.join(rows)}")
    if done.failed:
        raise typer.Exit(3)
