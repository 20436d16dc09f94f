"""From a slide and a model to the files that people open: maps, report, picture, QuPath tiles and outlines, table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2wpath.config import HeatmapSettings
from w2wpath.errors import AnnotationError, ConfigError, ModelError, did_you_mean
from w2wpath.frames import ORIGINS, stated_frame, um
from w2wpath.heatmaps.agreement import Agreement, agreement, in_words
from w2wpath.heatmaps.annotations import Annotations, read_annotations
from w2wpath.heatmaps.geojson import qupath_about, qupath_regions, qupath_tiles
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, REASONS, STATES, UNCERTAIN, Facts, Maps
from w2wpath.heatmaps.notebook import Notebook
from w2wpath.heatmaps.ometiff import write_ometiff
from w2wpath.heatmaps.page import write_page
from w2wpath.heatmaps.png import overlay_png
from w2wpath.heatmaps.predict import Reader, Reading, read_slide
from w2wpath.heatmaps.publish import publish
from w2wpath.heatmaps.qupath_files import cividis_tsv, groovy
from w2wpath.heatmaps.store import write_maps
from w2wpath.heatmaps.table import tiles_csv
from w2wpath.progress import Progress, Silent
from w2wpath.provenance import fingerprint, record, write_whole
from w2wpath.qupath.write import size_warning, write_regions, write_tiles
from w2wpath.slides.contract import Slide
from w2wpath.slides.reader import open_slide
from w2wpath.slides.tissue import tissue_mask
from w2wpath.w2wnet.domain import as_json

THUMBNAIL_PX = 1600
VERSION = 1
"""Raise it whenever equal settings give other outputs, so that no slide counts as done."""
SUMMARY = "summary.json"
"""Its presence says that a slide's outputs are whole: it is written last, and taken away first."""


ENDINGS = (
    "geojson.gz",
    "heatmap.ome.tif",
    "maps.zarr",
    "overlay.png",
    "qupath_load.groovy",
    "regions.geojson",
    "report.html",
    SUMMARY,
    "tiles.csv",
)
"""What is written of a slide, after its file stem."""
COLOUR_MAP = "cividis.tsv"
"""A colour map for QuPath, written once for all slides of a folder."""


@dataclass(frozen=True)
class Heatmap:
    """What `heatmap` made of one slide: the maps, what is known beside them, files, numbers of ``summary.json``."""

    maps: Maps
    facts: Facts
    files: tuple[Path, ...]
    summary: Mapping[str, Any]


def heatmap(
    slide_path: Path | str,
    model: Reader,
    out: Path | str,
    settings: HeatmapSettings | None = None,
    *,
    slide_mpp: float | None = None,
    origin: str = "auto",
    rois: Path | None = None,
    progress: Progress | None = None,
) -> Heatmap:
    """Read a slide and write its maps, pictures and tables into `out`, all beginning with the slide's file stem.

    ``report.html`` is for people, ``maps.zarr`` for programs; ``geojson.gz`` holds the tiles for QuPath and
    ``regions.geojson`` their outlines by class; ``heatmap.ome.tif``, ``overlay.png``, ``tiles.csv`` and
    ``summary.json`` are for what their names say. All appear together at the end, by rename. A run that is interrupted
    goes on where it was, if slide, model and settings are the same.

    Parameters
    ----------
    model
        A loaded model.
    origin
        Frame of `rois`, and the one that the QuPath files are written for; one of :data:`~w2wpath.frames.ORIGINS`.
    rois
        Annotations of the slide: shown in the report and compared with the map; with ``settings.only_rois`` also the
        part that is read.

    Raises
    ------
    SlideError, FrameError, ConfigError, AnnotationError
        Slide or annotations cannot be read, their frame is not known, the slide is coarser than the model, or `origin`
        is none of these.
    ModelError
        The model has other classes than asked for, or its threshold belongs to another number of draws.
    DiskError
        There is no room; files of an earlier run stay.
    """
    settings, progress = settings or HeatmapSettings(), progress or Silent()
    slide_path, out = Path(slide_path), Path(out)
    refuse(model, settings)
    if origin not in ORIGINS:
        hint = did_you_mean(origin, ORIGINS)
        raise ConfigError(f"origin must be one of {', '.join(ORIGINS)}; got {origin!r}.{hint}")
    if settings.only_rois and rois is None:
        raise ConfigError(f"{slide_path}: only its annotated regions are to be read, and it has none. Give --rois.")
    if rois is not None and not rois.is_file():
        raise AnnotationError(f"{rois}: no such file. Check the path.")
    stem = slide_path.stem
    with open_slide(slide_path, slide_mpp=slide_mpp) as slide:
        frame = stated_frame(origin, slide.width0, slide.height0, slide.bounds0, str(slide_path))
        drawn = None if rois is None else read_annotations(rois, slide, origin)
        for line in drawn.warnings if drawn is not None else ():
            progress.say(f"warning: {line}")
        slide_print = fingerprint(slide_path)
        key = job_key(slide_print, model, settings, slide_mpp=slide_mpp, origin=origin, rois=rois)
        notebook = Notebook(out / f".{stem}.read.npz", key)
        reading = _read(slide, model, settings, drawn, notebook, progress)
        facts = Facts(
            slide=slide_path.name,
            fingerprint=slide_print,
            frame=frame,
            model=model.about,
            calibrated=model.calibrated,
            domain=reading.domain,
            provenance=record(
                "heatmap", settings.model_dump(mode="json"), slide_path=str(slide_path.resolve()), key=key
            ),
        )
        compared = None
        if drawn is not None:
            compared = agreement(reading.maps, [(one.class_name, one.geometry) for one in drawn.regions])
        summary = _summary(reading, facts, compared)
        files = publish(
            out,
            f"{stem}.{SUMMARY}",
            lambda scratch: _write(scratch, slide, reading, facts, settings, drawn, compared, summary),
        )
    notebook.close()
    write_whole(out / COLOUR_MAP, cividis_tsv())
    count = summary["tiles"]["confident"] + summary["tiles"]["uncertain"]
    if warning := size_warning(out / f"{stem}.geojson.gz", count):
        progress.say(warning)
    return Heatmap(reading.maps, facts, files, summary)


def job_key(
    slide_print: str,
    model: Reader,
    settings: HeatmapSettings,
    *,
    slide_mpp: float | None,
    origin: str,
    rois: Path | None,
) -> str:
    """Return a digest of all that the outputs of a slide hang on but the time: equal keys, equal outputs."""
    # what is computed with changes the last bits and no answer
    said = settings.model_dump(mode="json", exclude={"device"})
    drawn = None if rois is None else hashlib.sha256(rois.read_bytes()).hexdigest()
    parts = [slide_print, model.identity, said, slide_mpp, origin, drawn, VERSION]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def refuse(model: Reader, settings: HeatmapSettings) -> None:
    """Refuse settings that a model cannot be used with.

    Raises
    ------
    ModelError
        The model has other classes than asked for, or its threshold belongs to another number of draws.
    """
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


def _read(
    slide: Slide,
    model: Reader,
    settings: HeatmapSettings,
    drawn: Annotations | None,
    notebook: Notebook,
    progress: Progress,
) -> Reading:
    return read_slide(
        slide,
        model,
        threshold=model.threshold if settings.threshold is None else settings.threshold,
        draws=settings.draws or model.draws,
        # who states a number of draws gets that number
        adaptive=settings.draws is None,
        settings=settings,
        progress=progress,
        regions=[one.geometry for one in drawn.regions] if drawn is not None and settings.only_rois else None,
        notebook=notebook,
    )


def _write(
    scratch: Path,
    slide: Slide,
    reading: Reading,
    facts: Facts,
    settings: HeatmapSettings,
    drawn: Annotations | None,
    compared: Agreement | None,
    summary: Mapping[str, Any],
) -> None:
    """Write every output of one slide into a folder."""
    maps, stem = reading.maps, slide.path.stem
    about = qupath_about(maps, facts)
    write_tiles(scratch / f"{stem}.geojson.gz", qupath_tiles(maps, facts.frame, facts.fingerprint), about)
    write_regions(scratch / f"{stem}.regions.geojson", qupath_regions(maps, facts.frame, facts.fingerprint), about)
    write_maps(scratch / f"{stem}.maps.zarr", maps, facts)
    write_ometiff(scratch / f"{stem}.heatmap.ome.tif", maps, facts)
    (scratch / f"{stem}.tiles.csv").write_text(tiles_csv(maps, facts.domain), "utf-8")
    (scratch / f"{stem}.qupath_load.groovy").write_text(groovy(stem, maps.classes, facts.frame, facts.domain), "utf-8")
    title = f"{facts.slide}: research use only"
    picture = overlay_png(maps, slide.thumbnail(THUMBNAIL_PX), title, opacity=settings.opacity, domain=facts.domain)
    (scratch / f"{stem}.overlay.png").write_bytes(picture)
    write_page(
        scratch / f"{stem}.report.html",
        slide,
        maps,
        facts,
        rois=() if drawn is None else drawn.regions,
        truth=None if compared is None else in_words(compared),
        tissue=tissue_mask(slide).mask,
        downloads=[path.name for path in sorted(scratch.iterdir()) if path.is_file()],
        colour_map=settings.colour_map,
        opacity=settings.opacity,
        max_mb=settings.max_mb,
    )
    said = {**summary, "provenance": dict(facts.provenance)}
    (scratch / f"{stem}.{SUMMARY}").write_text(json.dumps(said, indent=1) + "\n", "utf-8")


def _summary(reading: Reading, facts: Facts, compared: Agreement | None) -> dict[str, Any]:
    maps = reading.maps
    tile_mm2 = (um(maps.side0, maps.slide_mpp) / 1000) ** 2
    if maps.step0 < maps.side0:
        # overlapping tiles share their area: each stands for its own cell of the grid
        tile_mm2 = (um(maps.step0, maps.slide_mpp) / 1000) ** 2
    confident = maps.state == CONFIDENT
    analysed = int((maps.state != NOT_ANALYSED).sum())
    uncertain = int((maps.state == UNCERTAIN).sum())
    return {
        "slide": facts.slide,
        "tiles": {state: int((maps.state == code).sum()) for code, state in enumerate(STATES)},
        "uncertain_because": {name: int((maps.reason == code).sum()) for code, name in enumerate(REASONS) if code},
        "uncertain_share": uncertain / analysed if analysed else None,
        "confident_area_mm2": {
            name: round(float((confident & (maps.predicted == index)).sum() * tile_mm2), 6)
            for index, name in enumerate(maps.classes)
        },
        "unread": {"tiles": int(maps.unread.sum()), "because": list(reading.damaged)},
        "domain": as_json(facts.domain),
        "agreement": None if compared is None else compared.as_json(),
        "threshold": maps.threshold,
        "mean_draws": None if maps.mean_draws is None else round(maps.mean_draws, 2),
        "tile_side_level0_px": maps.side0,
        "slide_um_per_px": maps.slide_mpp,
        "qupath_frame": facts.frame.name,
    }
