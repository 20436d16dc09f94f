"""``w2wpath check-geojson``: what QuPath refuses in a GeoJSON, and a mended copy."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2wpath.cli import options
from w2wpath.cli.console import tell, tell_json
from w2wpath.errors import ConfigError

if TYPE_CHECKING:
    from w2wpath.qupath.check import Checked, Fault
    from w2wpath.qupath.mend import Done, Fixed

NAME = "check-geojson"
MOST_LINES = 50


def run(
    file: Annotated[Path, typer.Argument(help="GeoJSON: plain, gzip or zip.")],
    fix: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a mended copy; gzipped if its name ends in .gz.")
    ] = None,
    max_mb: Annotated[int, typer.Option("--max-mb", min=1, help="Most megabytes after decompression.")] = 512,
    as_json: options.Json = False,
) -> None:
    """Say, object by object, what QuPath 0.5 and 0.7 refuse in a GeoJSON and how to mend it.

    QuPath imports nothing of a file with one bad object. Objects are counted from 0. Exit code 1: a version refuses
    the file; 3: --fix had to leave objects out.
    """
    if fix is not None:
        _check_out(fix)

    from w2wpath.qupath.check import check_geojson
    from w2wpath.qupath.mend import fix_geojson

    if fix is None:
        checked = check_geojson(file, max_mb)
        tell_json(_summary(file, checked)) if as_json else _tell(file, checked)
        if checked.refused_by:
            raise typer.Exit(1)
        return
    fixed = fix_geojson(file, fix, max_mb)
    tell_json(_fix_summary(file, fix, fixed)) if as_json else _tell_fixed(fix, fixed)
    if fixed.left_out:
        raise typer.Exit(3)


def _check_out(out: Path) -> None:
    if out.name.lower().endswith(".zip"):
        raise ConfigError(f"{out}: --fix writes no zip. Let the name end in .geojson or .geojson.gz.")
    if out.is_dir():
        raise ConfigError(f"{out}: is a folder. Give --fix the name of a file.")
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: there is no folder {out.parent}. Make it, or choose another place.")


def _summary(file: Path, checked: Checked) -> dict[str, Any]:
    return {
        "file": str(file),
        "objects": checked.objects,
        "refused_by": checked.refused_by,
        "faults": [asdict(fault) for fault in checked.faults],
    }


def _fix_summary(file: Path, out: Path, fixed: Fixed) -> dict[str, Any]:
    return {
        "file": str(file),
        "out": str(out),
        "objects": fixed.objects,
        "written": fixed.written,
        "left_out": fixed.left_out,
        "done": [asdict(one) for one in fixed.done],
        "refused_by": fixed.checked.refused_by,
        "faults": [asdict(fault) for fault in fixed.checked.faults],
    }


def _tell(file: Path, checked: Checked) -> None:
    # what stops the import comes first
    _tell_lines([_line(fault) for fault in sorted(checked.faults, key=lambda fault: not fault.refused_by)])
    refusals = [fault for fault in checked.faults if fault.refused_by]
    warnings = len(checked.faults) - len(refusals)
    also = f"; {warnings} warning(s)" if warnings else ""
    if checked.refused_by:
        bad = len({fault.index for fault in refusals if fault.index is not None})
        tell(
            f"{file}: refused by QuPath {', '.join(checked.refused_by)} "
            f"for {bad} of {checked.objects} object(s){also}. --fix OUT writes a mended copy."
        )
    else:
        tell(f"{file}: nothing that QuPath 0.5 or 0.7 refuses in {checked.objects} object(s){also}.")


def _tell_fixed(out: Path, fixed: Fixed) -> None:
    _tell_lines([f"{_place(one)}: {one.what}" for one in sorted(fixed.done, key=lambda one: not one.left_out)])
    _tell_lines([f"in the new file, {_line(fault)}" for fault in fixed.checked.faults])
    nothing = "" if fixed.done else " (nothing had to be mended)"
    tell(f"{fixed.objects} object(s) read, {fixed.left_out} left out, {fixed.written} written{nothing}")
    tell(f"{out}: checked again, nothing is left that QuPath 0.5 or 0.7 refuses.")


def _tell_lines(lines: list[str]) -> None:
    for line in lines[:MOST_LINES]:
        tell(line)
    if len(lines) > MOST_LINES:
        tell(f"... and {len(lines) - MOST_LINES} more (--json lists all)")


def _line(fault: Fault) -> str:
    if fault.refused_by:
        return f"{_place(fault)}: {fault.what}; refused by QuPath {', '.join(fault.refused_by)}. {fault.cure}"
    return f"{_place(fault)}: warning: {fault.what}. {fault.cure}"


def _place(one: Fault | Done) -> str:
    if one.index is None:
        return "file"
    known = [f"id {one.id}" if one.id else "no id", f"class {one.class_name}" if one.class_name else "no class"]
    return f"object {one.index} ({', '.join(known)})"
