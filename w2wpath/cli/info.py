"""``w2wpath info``: everything that is known of a tile store or a slide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from w2wpath.cli import options
from w2wpath.cli.console import table, tell, tell_json, warn

NAME = "info"


def run(
    path: Annotated[Path, typer.Argument(help="Tile store, or whole-slide image.")] = Path("tiles.zarr"),
    slide_mpp: options.SlideMpp = None,
    as_json: options.Json = False,
) -> None:
    """Tell what a tile store holds, or what a slide file says of itself.

    Exit code 3: some slides of the store cannot be read.
    """
    from w2wpath.tiles.info import info

    found = info(path, slide_mpp=slide_mpp)
    if as_json:
        tell_json(found)
    else:
        for line in _store_lines(found) if found["kind"] == "store" else _slide_lines(found):
            tell(line)
    damaged = found.get("damaged", [])
    for one in damaged:
        warn(f"skipped: {one['error']}")
    if damaged:
        raise typer.Exit(3 if found["slides"] else 1)


def _store_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{found['path']}: tile store, schema {found['schema']}"
    yield (
        f"tiles: {found['tile_px']} px at {found['mpp']:g} um/px, step {found['stride_px']} px, "
        f"{found['resample']}, {found['codec']}"
    )
    said = {key: value for key, value in found["settings"].items() if key not in found}
    if said:
        yield f"settings: {', '.join(f'{key} {_short(value)}' for key, value in said.items() if _short(value))}"
    yield f"on disk: {_size(found['bytes'])} in {found['files']} files"
    if found["slides"]:
        yield ""
        yield from _tables(found)
    for key, values in found["differences"].items():
        name = "um/px of the slides" if key == "slide_mpp" else key
        yield f"differs: {name}: {'; '.join(_value(value) for value in values)}"
    if found["differences"]:
        yield ""
    yield from found["verdict"]


def _tables(found: Mapping[str, Any]) -> Iterator[str]:
    names, labelled = list(found["by_class"]), found["labelled"]
    rows: list[list[object]] = [
        [name, one["tiles"], f"{one['tiles'] / max(1, labelled):.1%}", one["patients"], one["slides"]]
        for name, one in found["by_class"].items()
    ]
    rows.append(["all", labelled, "", len(found["by_patient"]), len(found["slides"])])
    yield table(["class", "tiles", "share", "patients", "slides"], rows)
    why = ", ".join(f"{found[key]} {key}" for key in ("border", "conflict") if found[key] is not None)
    yield f"without a label: {found['tiles'] - labelled}{f' ({why})' if why else ''}"
    yield ""
    rows = [
        [patient, one["slides"], one["tiles"], *(one["by_class"].get(name, 0) for name in names)]
        for patient, one in found["by_patient"].items()
    ]
    yield table(["patient", "slides", "tiles", *names], rows)
    yield ""
    rows = [
        [
            one["slide"],
            _joined(one["patients"]),
            one["tiles"],
            *(one["by_class"].get(name, 0) for name in names),
            *(_known(one[key]) for key in ("border", "conflict", "damaged_tiles", "over_the_edge")),
            _known(one["slide_mpp"] and float(f"{one['slide_mpp']:.4g}")),
            *(_known(one[key]) for key in ("source_level", "origin", "repaired_objects", "ignored_objects")),
        ]
        for one in found["slides"]
    ]
    after = ["border", "conflict", "damaged", "over edge", "um/px", "level", "frame", "repaired", "ignored"]
    yield table(["slide", "patient", "tiles", *names, *after], rows)
    yield ""


def _slide_lines(found: Mapping[str, Any]) -> Iterator[str]:
    width0, height0 = found["size0"]
    yield f"{found['path']}: slide, {_size(found['bytes'])}"
    yield f"size: {width0} x {height0} px at level 0"
    yield (
        "um/px: not known (pass --slide-mpp)"
        if found["mpp"] is None
        else (
            f"um/px: {found['mpp']:.6g} (from {found['mpp_from']}), "
            f"{width0 * found['mpp'] / 1000:.4g} x {height0 * found['mpp'] / 1000:.4g} mm"
        )
    )
    if found["bounds0"]:
        x0, y0, width, height = found["bounds0"]
        yield f"bounds, to which QuPath crops: {width} x {height} px from x0={x0}, y0={y0}"
    else:
        yield "bounds: none, QuPath's frame is the slide's"
    for name, value in found["properties"].items():
        yield f"{name}: {value}"
    yield f"fingerprint: {found['fingerprint']}"
    tiles = found["default_tiles"]
    if tiles["error"]:
        yield f"tiles of the default settings: {tiles['error']}"
    else:
        yield (
            f"tiles of the default settings: {tiles['tile_px']} px at {tiles['mpp']:.4g} um/px, "
            f"{tiles['side0']} level-0 pixels, read from level {tiles['source_level']}"
        )
    yield ""
    rows = [
        [level, one["width"], one["height"], f"{one['downsample']:.6g}"] for level, one in enumerate(found["levels"])
    ]
    yield table(["level", "width", "height", "downsample"], rows)


def _value(value: Mapping[str, Any]) -> str:
    import json

    slides = value["slides"]
    shown = ", ".join(slides[:3]) + (f" and {len(slides) - 3} more" if len(slides) > 3 else "")
    return f"{json.dumps(value['value'])} ({shown})"


def _short(value: Any) -> str:
    """Return a setting's value; nothing for one that is not set, off, or a table of its own."""
    if isinstance(value, list):
        return ",".join(str(one) for one in value)
    return "" if value is None or value is False or isinstance(value, dict) else str(value).replace("True", "on")


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} patients"


def _known(value: Any) -> Any:
    return "-" if value is None else value


def _size(size: int) -> str:
    units = ("bytes", "kB", "MB", "GB", "TB")
    step = min(len(units) - 1, max(0, (len(str(size)) - 1) // 3))
    return f"{size / 1000**step:.3g} {units[step]}" if step else f"{size} bytes"
