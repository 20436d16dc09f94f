"""``w2wpath heatmap``: a slide comes back as a map that says where not to trust it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from w2wpath.cli import options
from w2wpath.cli.console import make_progress, table, tell, tell_json, warn

NAME = "heatmap"


def run(
    slide: Annotated[Path, typer.Argument(help="Whole-slide image.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="Folder made by `w2wpath train`.")] = Path("model"),
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("out"),
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
    device: options.Device = None,
    precision: options.Precision = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Read the tissue of a slide: classes where the model is confident, a mask where it is not."""
    from w2wpath.config import HeatmapSettings, load

    value = options.number(threshold)
    flags = {
        "draws": draws,
        "classes": options.names(classes),
        "threshold": value,
        "tissue_share": tissue_share,
        "device": device,
        "precision": precision,
    }
    settings = load(HeatmapSettings, "heatmap", config, flags)

    from w2wpath.heatmaps.run import heatmap
    from w2wpath.w2wnet.nets.bundle import Model

    named = threshold if value is None else None
    if named is not None:
        settings = settings.model_copy(update={"threshold": None})
    loaded = Model.load(model, device=settings.device, precision=settings.precision, threshold=named)
    made = heatmap(
        slide,
        loaded,
        out,
        settings,
        slide_mpp=slide_mpp,
        origin=origin or "auto",
        progress=make_progress(),
    )
    if as_json:
        tell_json({**made.summary, "files": [str(path) for path in made.files]})
        return
    area = made.summary["confident_area_mm2"]
    tell(table(["class", "confident area mm2"], [[name, value] for name, value in area.items()]))
    tiles = made.summary["tiles"]
    tell(f"tiles: {tiles['confident']} confident, {tiles['uncertain']} uncertain, {tiles['not analysed']} not analysed")
    if made.summary["uncertain_share"] is None:
        warn(f"{slide}: no tissue was found, so no tile was analysed.")
    for path in made.files:
        tell(str(path))
