"""The pictures that tiling leaves for people, beside the store: every slide's tiles, and a sheet of every class."""

from __future__ import annotations

import shapely

from w2wpath.config import TileSettings
from w2wpath.errors import writing
from w2wpath.provenance import write_whole
from w2wpath.slides.contract import Slide
from w2wpath.tiles.export import safe_names
from w2wpath.tiles.imports import Imported, imports
from w2wpath.tiles.preview import contact_sheet_png, preview_png
from w2wpath.tiles.store import TileStore


def draw_slide(store: TileStore, name: str, read: Imported, slide: Slide, settings: TileSettings) -> None:
    """Write ``<slide>.preview.png``: regions and what became of every stored tile."""
    tiles = store.read(name)
    picture = preview_png(
        read.thumbnail,
        (slide.width0, slide.height0),
        tiles.columns,
        tiles.attributes["classes"],
        {of_class: (rgb[0], rgb[1], rgb[2]) for of_class, rgb in tiles.attributes["colours"].items()},
        [(roi.class_name, shapely.transform(roi.geometry, read.frame.to_slide)) for roi in read.rois.regions],
        slide.path.name,
        label_share=settings.label_share,
        conflict_share=settings.conflict_share if settings.policy == "drop-conflict" else None,
    )
    write_whole(imports(store.path) / f"{name}.preview.png", picture)


def draw_classes(store: TileStore) -> None:
    """Write ``<class>.tiles.png`` for every class of the store that has tiles."""
    table = store.table()
    names = [name for index, name in enumerate(table.classes) if (table.label == index).any()]
    home = imports(store.path)
    with writing(home):
        home.mkdir(exist_ok=True)
    for name, safe in zip(names, safe_names(names), strict=True):
        write_whole(home / f"{safe}.tiles.png", contact_sheet_png(store, name, table=table))
