"""Entry point: the commands, their exit codes, and errors in words.

Exit codes: 0 all done; 1 an error in words; 2 wrong usage; 3 done, but some inputs were skipped (they are listed).
"""

from __future__ import annotations

import sys
import traceback
from typing import NoReturn

import typer

from w2wpath.cli import (
    bench,
    check_geojson,
    clean,
    demo,
    evaluate,
    export,
    heatmap,
    info,
    patients,
    relabel,
    review,
    run,
    share,
    status,
    tile,
    train,
    undo,
    view,
)
from w2wpath.errors import W2wError, full_disk

app = typer.Typer(
    help="Annotated regions of whole-slide images become labelled tiles; W2WNet finds the spurious ones; "
    "slides come back as heatmaps in which uncertain tiles are masked.",
    epilog="--debug after any command shows the traceback of an error. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # in "rich", a help text loses its [default: X]
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    demo,
    tile,
    relabel,
    patients,
    info,
    status,
    export,
    clean,
    undo,
    train,
    heatmap,
    view,
    share,
    evaluate,
    run,
    check_geojson,
)
for module in COMMANDS:
    app.command(module.NAME)(module.run)
app.add_typer(review.app, name=review.NAME)
app.add_typer(bench.app, name=bench.NAME)


@app.callback()
def _commands() -> None:
    """Keep `app` a group, so that every command is called by its name."""


def main() -> NoReturn:
    """Run the command line."""
    debug = "--debug" in sys.argv[1:]
    try:
        app(args=[word for word in sys.argv[1:] if word != "--debug"], prog_name="w2wpath")
    except W2wError as error:
        _fail(str(error), debug)
    except Exception as error:
        _fail(_in_words(error), debug)
    sys.exit(0)


def _in_words(error: Exception) -> str:
    where = getattr(error, "filename", None)
    if full := full_disk(error):
        return f"{where or 'output'}: could not be written, {full}. Make room and run the same command again."
    if where and isinstance(error, PermissionError | FileExistsError | NotADirectoryError | IsADirectoryError):
        why = str(error.strerror).lower()
        return f"{where}: {why}. Check the path and its permissions, or choose another place with -o."
    return (
        f"{type(error).__name__}: {error}. This is a fault of w2wpath; "
        "run the command again with --debug and report what it shows."
    )


def _fail(words: str, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    print(f"error: {words}", file=sys.stderr)  # noqa: T201 - the command line speaks
    sys.exit(1)
