"""``w2wpath tile``: regions become labelled tiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2wpath.cli import options
from w2wpath.cli.console import make_progress, table, tell, tell_json, warn

if TYPE_CHECKING:
    from w2wpath.config import TileSettings
    from w2wpath.tiles.cohort import Outcome
    from w2wpath.tiles.entries import Entry
    from w2wpath.tiles.estimate import Estimate

NAME = "tile"


def run(
    slide: Annotated[Path | None, typer.Argument(help="Whole-slide image.")] = None,
    rois: Annotated[Path | None, typer.Argument(help="Its regions: GeoJSON of QuPath, ASAP or ImageScope XML.")] = None,
    cohort: Annotated[
        Path | None, typer.Option(help="CSV of many slides: slide, rois, patient, slide_mpp, origin, cores.")
    ] = None,
    store: Annotated[Path, typer.Option("-o", "--store", help="Tile store; a second slide adds to it.")] = Path(
        "tiles.zarr"
    ),
    patient: Annotated[str | None, typer.Option(help="Whose slide it is. [default: the slide's name]")] = None,
    patient_from: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient in a slide's name.")
    ] = None,
    cores: Annotated[Path | None, typer.Option(help="CSV of TMA cores: slide, core, patient.")] = None,
    tile_px: Annotated[
        int | None, typer.Option("--tile-px", "--patch-size", help="Side of a tile in pixels. [default: 224]")
    ] = None,
    mpp: Annotated[float | None, typer.Option(help="um per pixel of the tiles. [default: 0.5]")] = None,
    slide_mpp: options.SlideMpp = None,
    stride: Annotated[int | None, typer.Option(help="Grid step in tile pixels. [default: tile-px]")] = None,
    anchor: Annotated[str | None, typer.Option(help="Where the grid starts: slide or roi. [default: slide]")] = None,
    edge: Annotated[
        str | None, typer.Option(help="Tiles over the slide's edge: drop, pad or shift. [default: drop]")
    ] = None,
    origin: options.Origin = None,
    min_share: Annotated[float | None, typer.Option(help="Least ROI share of a stored tile. [default: 0.1]")] = None,
    policy: options.Policy = None,
    priority: options.Priority = None,
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
    codec: Annotated[
        str | None,
        typer.Option(help="Pixels: zstd (lossless), jpeg, or source (the scanner's own tiles). [default: zstd]"),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each taking whole slides.")] = 1,
    scheduler: options.Scheduler = None,
    shard: Annotated[str | None, typer.Option(help="Part i/N of the cohort, for batch queues.")] = None,
    extra: Annotated[
        str | None, typer.Option(help="More columns: tissue (share of the tile), sharpness, comma separated.")
    ] = None,
    no_previews: Annotated[bool, typer.Option("--no-previews", help="Draw no pictures of the tiles.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Cut again what the store already holds.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell counts, time and room; write nothing.")] = False,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Cut labelled tiles out of a slide's annotated regions, or out of a whole cohort's."""
    from w2wpath.config import TileSettings, load, load_class_map
    from w2wpath.tiles import entries as table_of_slides
    from w2wpath.tiles.cohort import tile

    flags = {
        "tile_px": tile_px,
        "mpp": mpp,
        "stride_px": stride,
        "anchor": anchor,
        "edge": edge,
        "origin": origin,
        "min_share": min_share,
        "policy": policy,
        "priority": options.names(priority),
        "codec": codec,
        "extra": options.names(extra),
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
        entries = table_of_slides.read_cohort(cohort)
        if slide_mpp is not None:
            entries = [_with_mpp(entry, slide_mpp) for entry in entries]
    else:
        if slide is None or rois is None:
            raise typer.BadParameter("give SLIDE and ROIS, or --cohort")
        entries = [table_of_slides.Entry(slide, rois, patient, slide_mpp)]
    if shard is not None:
        entries = table_of_slides.shard(entries, shard)
    if dry_run:
        _dry_run(store, entries, settings, as_json=as_json)
        return
    outcomes = tile(
        store,
        entries,
        settings,
        workers=workers,
        scheduler=scheduler,
        overwrite=overwrite,
        patient_from=patient_from,
        cores=cores,
        previews=not no_previews,
        progress=make_progress(),
    )
    finish(store, outcomes, as_json=as_json)


def finish(store: Path, outcomes: list[Outcome], *, as_json: bool) -> None:
    """Tell what became of the slides; exit 1 where all failed, 3 where some did or lost tiles."""
    if as_json:
        tell_json(_summary(store, outcomes))
    else:
        _tell(store, outcomes)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        warn(f"skipped: {outcome.error}") if len(outcomes) > 1 else typer.echo(f"error: {outcome.error}", err=True)
    if failed:
        raise typer.Exit(3 if len(failed) < len(outcomes) else 1)
    if any(outcome.damaged for outcome in outcomes):
        raise typer.Exit(3)


def _dry_run(store: Path, entries: list[Entry], settings: TileSettings, *, as_json: bool) -> None:
    from dataclasses import asdict

    from w2wpath.tiles.estimate import estimates, free_mb

    found = estimates(entries, settings)
    if as_json:
        tell_json({"store": str(store), "free_mb": free_mb(store), "slides": [asdict(one) for one in found]})
    else:
        _tell_estimates(store, found, free_mb(store))
    failed = [one for one in found if one.error]
    for one in failed:
        warn(f"would be skipped: {one.error}")
    if failed:
        raise typer.Exit(3 if len(failed) < len(found) else 1)


def _tell_estimates(store: Path, found: list[Estimate], free_mb: float) -> None:
    good = [one for one in found if not one.error]
    if not good:
        return
    names = sorted({name for one in good for name, _ in one.by_class})
    codecs = [codec for codec in ("zstd", "jpeg", "source") if any(codec in dict(one.mb) for one in good)]
    rows = [
        [
            one.slide,
            one.tiles,
            *(dict(one.by_class).get(name, 0) for name in names),
            one.border,
            one.conflict,
            round(one.seconds, 1),
            *(round(dict(one.mb)[codec], 1) if codec in dict(one.mb) else "-" for codec in codecs),
        ]
        for one in good
    ]
    header = ["slide", "tiles", *names, "border", "conflict", "s", *(f"MB {codec}" for codec in codecs)]
    tell(table(header, rows))
    for codec in codecs:
        if all(codec in dict(one.mb) for one in good):
            tell(f"--codec {codec}: {sum(dict(one.mb)[codec] for one in good):.0f} MB for all of them")
    tell(f"about {sum(one.seconds for one in good):.0f} s with one worker; {free_mb:.0f} MB are free for {store}")


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
                "damaged": list(outcome.damaged),
                "error": outcome.error or None,
            }
            for outcome in outcomes
        ],
    }


def _tell(store: Path, outcomes: list[Outcome]) -> None:
    from w2wpath.qupath.classes import near_duplicates
    from w2wpath.tiles.imports import imports

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
        for line in outcome.damaged:
            warn(f"tiles lost: {line}")
    for one, other in near_duplicates(names):
        if not any(one in dict(o.by_class) and other in dict(o.by_class) for o in good):  # else the reader said so
            warn(f"classes {one!r} and {other!r} of different slides look like one: make one an alias in a class map")
    guessed = sum(outcome.patient_guessed for outcome in good)
    if guessed:
        warn(
            f"{guessed} slide(s) without a patient: each counts as a patient of its own. "
            "Say --patient if that is wrong."
        )
    tell(f"import reports, alignment checks and previews (look at the pictures): {imports(store)}")
    tell(f"store: {store}. Next: w2wpath clean --folds 5")
