"""``w2wpath tile``: regions become labelled tiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2wpath.cli import options
from w2wpath.cli.console import make_progress, table, tell, tell_json, warn

if TYPE_CHECKING:
    from w2wpath.tiles.cohort import Entry, Outcome

NAME = "tile"


def run(
    slide: Annotated[Path | None, typer.Argument(help="Whole-slide image.")] = None,
    rois: Annotated[Path | None, typer.Argument(help="Its regions: GeoJSON of QuPath, ASAP or ImageScope XML.")] = None,
    cohort: Annotated[
        Path | None, typer.Option(help="CSV of many slides: slide, rois, patient, slide_mpp, origin.")
    ] = None,
    store: Annotated[Path, typer.Option("-o", "--store", help="Tile store; a second slide adds to it.")] = Path(
        "tiles.zarr"
    ),
    patient: Annotated[str | None, typer.Option(help="Whose slide it is. [default: the slide's name]")] = None,
    tile_px: Annotated[
        int | None, typer.Option("--tile-px", "--patch-size", help="Side of a tile in pixels. [default: 224]")
    ] = None,
    mpp: Annotated[float | None, typer.Option(help="um per pixel of the tiles. [default: 0.5]")] = None,
    slide_mpp: options.SlideMpp = None,
    stride: Annotated[int | None, typer.Option(help="Grid step in tile pixels. [default: tile-px]")] = None,
    anchor: Annotated[str | None, typer.Option(help="Where the grid starts: slide or roi. [default: slide]")] = None,
    origin: options.Origin = None,
    min_share: Annotated[float | None, typer.Option(help="Least ROI share of a stored tile. [default: 0.1]")] = None,
    classes: Annotated[str | None, typer.Option(help="The only classes to accept, comma separated.")] = None,
    class_map: Annotated[Path | None, typer.Option(help="TOML that says what the classes of the files mean.")] = None,
    include: Annotated[
        str | None,
        typer.Option(help="Objects that count: annotation, detection, cell, tile. [default: annotation]"),
    ] = None,
    plane: Annotated[str | None, typer.Option(help="z,t of the objects that count. [default: 0,0]")] = None,
    point_radius_um: Annotated[
        float | None, typer.Option(help="Make points and lines areas of this radius. [default: leave them out]")
    ] = None,
    max_mb: Annotated[int | None, typer.Option(help="Largest annotation file, decompressed. [default: 512]")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse annotations that would need a repair.")] = False,
    allow_upsample: Annotated[
        bool, typer.Option("--allow-upsample", help="Enlarge pixels of a coarser slide.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each taking whole slides.")] = 1,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Cut labelled tiles out of a slide's annotated regions, or out of a whole cohort's."""
    from w2wpath.config import TileSettings, load, load_class_map
    from w2wpath.tiles.cohort import Entry, read_cohort, tile

    flags = {
        "tile_px": tile_px,
        "mpp": mpp,
        "stride_px": stride,
        "anchor": anchor,
        "origin": origin,
        "min_share": min_share,
        "classes": options.names(classes),
        "class_map": load_class_map(class_map) if class_map is not None else None,
        "include": options.names(include),
        "plane": options.names(plane),
        "point_radius_um": point_radius_um,
        "max_mb": max_mb,
        "strict": strict or None,
        "allow_upsample": allow_upsample or None,
    }
    settings = load(TileSettings, "tile", config, flags)
    if cohort is not None:
        if slide is not None or rois is not None or patient is not None:
            raise typer.BadParameter(
                "--cohort takes slides and patients from the table; leave SLIDE, ROIS, --patient out"
            )
        entries = read_cohort(cohort)
        if slide_mpp is not None:
            entries = [_with_mpp(entry, slide_mpp) for entry in entries]
    else:
        if slide is None or rois is None:
            raise typer.BadParameter("give SLIDE and ROIS, or --cohort")
        entries = [Entry(slide, rois, patient, slide_mpp)]
    progress = make_progress()
    outcomes = tile(store, entries, settings, workers=workers, progress=progress)
    if as_json:
        tell_json(_summary(store, outcomes))
    else:
        _tell(store, outcomes)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        warn(f"skipped: {outcome.error}") if len(outcomes) > 1 else typer.echo(f"error: {outcome.error}", err=True)
    if failed:
        raise typer.Exit(3 if len(failed) < len(outcomes) else 1)


def _with_mpp(entry: Entry, slide_mpp: float) -> Entry:
    from dataclasses import replace

    return entry if entry.slide_mpp is not None else replace(entry, slide_mpp=slide_mpp)


def _summary(store: Path, outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "store": str(store),
        "slides": [
            {
                "slide": outcome.slide,
                "status": outcome.status,
                "tiles": outcome.tiles,
                "by_class": dict(outcome.by_class),
                "border": outcome.border,
                "conflict": outcome.conflict,
                "skipped_objects": dict(outcome.skipped_objects),
                "repaired_objects": outcome.repaired_objects,
                "warnings": list(outcome.warnings),
                "error": outcome.error or None,
            }
            for outcome in outcomes
        ],
    }


def _tell(store: Path, outcomes: list[Outcome]) -> None:
    from w2wpath.qupath.classes import near_duplicates
    from w2wpath.tiles.cohort import imports

    good = [outcome for outcome in outcomes if outcome.status != "failed"]
    if not good:
        return
    names = sorted({name for outcome in good for name, _ in outcome.by_class})
    rows = [[o.slide, o.status, *(dict(o.by_class).get(name, 0) for name in names), o.border, o.conflict] for o in good]
    if len(rows) > 1:
        sums = [sum(int(str(row[i])) for row in rows) for i in range(2, len(rows[0]))]
        rows.append(["all", f"{len(good)} slides", *sums])
    tell(table(["slide", "status", *names, "border", "conflict"], rows))
    for outcome in good:
        for line in outcome.warnings:
            warn(line)
        if outcome.repaired_objects:
            warn(f"{outcome.slide}: {outcome.repaired_objects} object(s) repaired")
        for reason, count in outcome.skipped_objects:
            warn(f"{outcome.slide}: {count} object(s) left out: {reason}")
    for one, other in near_duplicates(names):
        if not any(one in dict(o.by_class) and other in dict(o.by_class) for o in good):  # else the reader said so
            warn(f"classes {one!r} and {other!r} of different slides look like one: make one an alias in a class map")
    guessed = sum(outcome.patient_guessed for outcome in good)
    if guessed:
        warn(
            f"{guessed} slide(s) without a patient: each counts as a patient of its own. "
            "Say --patient if that is wrong."
        )
    tell(f"import reports and alignment checks (look at the pictures): {imports(store)}")
    tell(f"store: {store}. Next: w2wpath clean --folds 5")
