"""``w2wpath heatmap``: slides come back as maps that say where not to trust them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2wpath.cli import options
from w2wpath.cli.console import make_progress, table, tell, tell_json, warn

if TYPE_CHECKING:
    from w2wpath.heatmaps.cohort import Outcome
    from w2wpath.tiles.entries import SlideEntry

NAME = "heatmap"


def run(
    slide: Annotated[Path | None, typer.Argument(help="Whole-slide image.")] = None,
    model: Annotated[Path, typer.Option("--model", "-m", help="Folder made by `w2wpath train`.")] = Path("model"),
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("out"),
    cohort: Annotated[
        Path | None, typer.Option(help="CSV of many slides: slide and, if wanted, rois, slide_mpp, origin.")
    ] = None,
    rois: Annotated[
        Path | None, typer.Option(help="Annotations of the slide: drawn in the report, and compared with the map.")
    ] = None,
    only_rois: Annotated[
        bool, typer.Option("--only-rois", help="Read the annotated regions instead of tissue.")
    ] = False,
    slide_mpp: options.SlideMpp = None,
    origin: options.Origin = None,
    draws: Annotated[int | None, typer.Option(help="MC passes a tile. [default: as the model's threshold]")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Refuse a model of other classes than these, comma separated.")
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="Mask tiles with u above this: a number, or a threshold of the model by its name (quantile, centroid, "
            "boundary). [default: the model's own]"
        ),
    ] = None,
    tissue_share: Annotated[
        float | None, typer.Option(help="Least tissue share of an analysed tile. [default: 0.1]")
    ] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Share of a tile that the next one covers too, 0 to 0.9. [default: 0.0]")
    ] = None,
    no_stain_check: Annotated[
        bool, typer.Option("--no-stain-check", help="Do not mask tiles whose class changes with their stain.")
    ] = False,
    colour_map: Annotated[str | None, typer.Option(help="inferno or cividis. [default: inferno]")] = None,
    max_mb: Annotated[float | None, typer.Option(help="Most megabytes of a report.html. [default: 10.0]")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each taking whole slides.")] = 1,
    scheduler: options.Scheduler = None,
    shard: Annotated[str | None, typer.Option(help="Part i/N of the cohort, for batch queues.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Read again what has been read already.")] = False,
    device: options.Device = None,
    precision: options.Precision = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Read the tissue of slides: classes where the model is confident, a mask where it is not."""
    from w2wpath.config import HeatmapSettings, load

    entries = _entries(slide, cohort, rois, slide_mpp, origin, shard)
    value = options.number(threshold)
    flags = {
        "draws": draws,
        "classes": options.names(classes),
        "threshold": value,
        "tissue_share": tissue_share,
        "only_rois": only_rois or None,
        "overlap": overlap,
        "stain": False if no_stain_check else None,
        "colour_map": colour_map,
        "max_mb": max_mb,
        "device": device,
        "precision": precision,
    }
    settings = load(HeatmapSettings, "heatmap", config, flags)

    from functools import partial

    from w2wpath.heatmaps.cohort import TABLE, heatmaps
    from w2wpath.w2wnet.nets.bundle import Model

    named = threshold if value is None else None
    if named is not None:
        settings = settings.model_copy(update={"threshold": None})
    # jobs of a queue write into one folder
    summed = TABLE if shard is None else f"slides-{shard.replace('/', 'of')}.csv"
    outcomes = heatmaps(
        entries,
        partial(Model.load, model, device=settings.device, precision=settings.precision, threshold=named),
        out,
        settings,
        workers=workers,
        scheduler=scheduler,
        overwrite=overwrite,
        table=summed,
        progress=make_progress(),
    )
    finish(out, out / summed, outcomes, as_json=as_json)


def finish(out: Path, summed: Path, outcomes: list[Outcome], *, as_json: bool) -> None:
    """Tell what became of the slides; exit 1 where all failed, 3 where some did or tiles could not be read."""
    if as_json:
        tell_json({"out": str(out), "slides": [_plain(one) for one in outcomes]})
    else:
        _tell(outcomes)
        tell(f"all slides in one table: {summed}. Look at them: w2wpath view {out}")
    for one in outcomes:
        _warn(one)
    failed = [one for one in outcomes if one.status == "failed"]
    for one in failed:
        warn(f"skipped: {one.error}") if len(outcomes) > 1 else typer.echo(f"error: {one.error}", err=True)
    if failed:
        raise typer.Exit(3 if len(failed) < len(outcomes) else 1)
    if any(one.summary is not None and one.summary["unread"]["tiles"] for one in outcomes):
        raise typer.Exit(3)


def _entries(
    slide: Path | None,
    cohort: Path | None,
    rois: Path | None,
    slide_mpp: float | None,
    origin: str | None,
    shard: str | None,
) -> list[SlideEntry]:
    from w2wpath.tiles import entries as table_of_slides

    if cohort is None:
        if slide is None:
            raise typer.BadParameter("give SLIDE or --cohort")
        found = [table_of_slides.SlideEntry(slide, rois, slide_mpp, origin)]
    else:
        if slide is not None or rois is not None or slide_mpp is not None or origin is not None:
            raise typer.BadParameter(
                "--cohort takes slides, rois, slide_mpp and origin from the table; leave these options out"
            )
        found = table_of_slides.read_slides(cohort)
    return found if shard is None else table_of_slides.shard(found, shard)


def _plain(one: Outcome) -> dict[str, Any]:
    files = [str(path) for path in one.files]
    return {**(one.summary or {}), "slide": one.slide, "status": one.status, "error": one.error or None, "files": files}


def _tell(outcomes: list[Outcome]) -> None:
    said = [(one.slide, one.status, one.summary) for one in outcomes if one.summary is not None]
    if not said:
        return
    classes = list(said[0][2]["confident_area_mm2"])
    rows = [
        [name, status, *(summary["tiles"][key] for key in ("confident", "uncertain", "not analysed")), *areas]
        for name, status, summary in said
        for areas in [[summary["confident_area_mm2"].get(klass, 0.0) for klass in classes]]
    ]
    header = ["slide", "status", "confident", "uncertain", "not analysed", *(f"mm2 {name}" for name in classes)]
    tell(table(header, rows))


def _warn(one: Outcome) -> None:
    if one.summary is None:
        return
    if one.summary["uncertain_share"] is None:
        warn(f"{one.slide}: no tissue was found, so no tile was analysed.")
    if one.out_of_domain:
        unusual = "; ".join(one.summary["domain"]["unusual"])
        warn(f"{one.slide}: out of domain ({unusual}). What the model says of it may be wrong everywhere.")
    unread = one.summary["unread"]
    if unread["tiles"]:
        why = "; ".join(unread["because"][:3])
        warn(f"{one.slide}: {unread['tiles']} tile(s) cannot be decoded and are not analysed: {why}")
