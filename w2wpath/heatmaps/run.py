"""From a slide and a model to the files that people open: picture, QuPath tiles and outlines, table, summary."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2wpath.config import HeatmapSettings
from w2wpath.errors import ConfigError, DiskError, ModelError, did_you_mean, writing
from w2wpath.frames import ORIGINS, stated_frame, um
from w2wpath.heatmaps.geojson import qupath_regions, qupath_tiles
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, REASONS, STATES, UNCERTAIN, Maps
from w2wpath.heatmaps.png import overlay_png
from w2wpath.heatmaps.predict import Reader, read_slide
from w2wpath.progress import Progress, Silent
from w2wpath.provenance import fingerprint, record
from w2wpath.qupath.write import size_warning, write_regions, write_tiles
from w2wpath.slides.reader import open_slide

THUMBNAIL_PX = 1600


@dataclass(frozen=True)
class Heatmap:
    """What `heatmap` made of one slide: the maps, the files, and the numbers of ``summary.json``."""

    maps: Maps
    files: tuple[Path, ...]
    summary: Mapping[str, Any]


def heatmap(
    slide_path: Path | str,
    model: Reader,
    out: Path,
    settings: HeatmapSettings | None = None,
    *,
    slide_mpp: float | None = None,
    origin: str = "auto",
    progress: Progress | None = None,
) -> Heatmap:
    """Read a slide and write ``<slide>.{overlay.png,geojson.gz,regions.geojson,tiles.csv,summary.json}`` into `out`.

    ``geojson.gz`` holds the tiles for QuPath, ``regions.geojson`` their outlines by class. All files appear together at
    the end, by rename. A file that may be too large for QuPath is said.

    Parameters
    ----------
    model
        A loaded model.
    origin
        Frame that the QuPath files are written for, one of :data:`~w2wpath.frames.ORIGINS`.

    Raises
    ------
    SlideError, FrameError, ConfigError
        The slide cannot be read, its frame is not known, it is coarser than the model, or `origin` is none of these.
    ModelError
        The model has other classes than asked for, or its threshold belongs to another number of draws.
    DiskError
        There is no room; files of an earlier run stay.
    """
    settings, progress = settings or HeatmapSettings(), progress or Silent()
    if origin not in ORIGINS:
        hint = did_you_mean(origin, ORIGINS)
        raise ConfigError(f"origin must be one of {', '.join(ORIGINS)}; got {origin!r}.{hint}")
    slide_path = Path(slide_path)
    _fits(model, settings)
    threshold = model.threshold if settings.threshold is None else settings.threshold
    with open_slide(slide_path, slide_mpp=slide_mpp) as slide:
        frame = stated_frame(origin, slide.width0, slide.height0, slide.bounds0, str(slide_path))
        reading = read_slide(
            slide,
            model,
            threshold=threshold,
            draws=settings.draws or model.draws,
            # who states a number of draws gets that number
            adaptive=settings.draws is None,
            settings=settings,
            progress=progress,
        )
        thumbnail = slide.thumbnail(THUMBNAIL_PX)
    maps = reading.maps
    stem = slide_path.stem
    slide_print = fingerprint(slide_path)
    summary = _summary(maps, slide_path.name, frame.name)
    picture = overlay_png(maps, thumbnail, f"{slide_path.name}: research use only", opacity=settings.opacity)
    facts = record("heatmap", settings.model_dump(mode="json"), slide=slide_path.name, fingerprint=slide_print)
    scratch = out / f".{stem}.{uuid.uuid4().hex}.partial"
    with writing(out):
        try:
            scratch.mkdir(parents=True)
            about = {"frame": frame.name, "bounds": [frame.x0, frame.y0], "threshold": threshold}
            count = write_tiles(scratch / f"{stem}.geojson.gz", qupath_tiles(maps, frame, slide_print), about)
            write_regions(scratch / f"{stem}.regions.geojson", qupath_regions(maps, frame, slide_print), about)
            (scratch / f"{stem}.overlay.png").write_bytes(picture)
            (scratch / f"{stem}.tiles.csv").write_text(_table(maps), "utf-8")
            (scratch / f"{stem}.summary.json").write_text(
                json.dumps({**summary, "provenance": facts}, indent=1) + "\n", "utf-8"
            )
            files = tuple(out / path.name for path in sorted(scratch.iterdir()))
            for path in files:
                os.replace(scratch / path.name, path)
        except DiskError as error:
            # it names a file in the scratch folder, which is gone by now
            raise DiskError(str(error).replace(str(scratch), str(out))) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if warning := size_warning(out / f"{stem}.geojson.gz", count):
        progress.say(warning)
    return Heatmap(maps, files, summary)


def _fits(model: Reader, settings: HeatmapSettings) -> None:
    if settings.classes is not None and set(settings.classes) != set(model.classes):
        raise ModelError(
            f"the model was trained for the classes {', '.join(model.classes)}; "
            f"asked for {', '.join(settings.classes)}. Give another --model, or leave --classes out."
        )
    if settings.threshold is None and settings.draws not in (None, model.draws):
        # with fewer draws u is lower on average, so a threshold holds for its own number only
        raise ModelError(
            f"the model's threshold was taken with {model.draws} draws; asked for {settings.draws}. "
            "Leave --draws out, or give a --threshold of your own."
        )


def _summary(maps: Maps, name: str, frame: str) -> dict[str, Any]:
    tile_mm2 = (um(maps.side0, maps.slide_mpp) / 1000) ** 2
    confident = maps.state == CONFIDENT
    analysed = int((maps.state != NOT_ANALYSED).sum())
    uncertain = int((maps.state == UNCERTAIN).sum())
    return {
        "slide": name,
        "tiles": {state: int((maps.state == code).sum()) for code, state in enumerate(STATES)},
        "uncertain_because": {name: int((maps.reason == code).sum()) for code, name in enumerate(REASONS) if code},
        "uncertain_share": uncertain / analysed if analysed else None,
        "confident_area_mm2": {
            name: round(float((confident & (maps.predicted == index)).sum() * tile_mm2), 6)
            for index, name in enumerate(maps.classes)
        },
        "threshold": maps.threshold,
        "mean_draws": None if maps.mean_draws is None else round(maps.mean_draws, 2),
        "tile_side_level0_px": maps.side0,
        "slide_um_per_px": maps.slide_mpp,
        "qupath_frame": frame,
    }


def _table(maps: Maps) -> str:
    """Return a CSV of every tile; x0, y0, side0 are level-0 pixels of the slide frame, cells empty if not analysed."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    says = ["state", "reason", "class", *(f"P({name})" for name in maps.classes), "u", "epistemic"]
    lines.writerow(["x0", "y0", "side0", *says])
    for i, best in enumerate(maps.predicted):
        where = [maps.x0[i], maps.y0[i], maps.side0, STATES[maps.state[i]], REASONS[maps.reason[i]]]
        numbers = [*maps.probs_nk[i], maps.u[i], maps.epistemic[i]]
        said = ["", *[""] * len(numbers)] if best < 0 else [maps.classes[best], *(f"{x:.4f}" for x in numbers)]
        lines.writerow([*where, *said])
    return text.getvalue()
