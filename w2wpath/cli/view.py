"""``w2wpath view``: a heatmap, or a slide and its tiles, in the browser at full resolution."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from w2wpath.cli import options
from w2wpath.cli.console import tell

if TYPE_CHECKING:
    from w2wpath.heatmaps.server import Later, Shown, Viewer

NAME = "view"


def run(
    what: Annotated[Path, typer.Argument(help="Folder made by `w2wpath heatmap`, or a slide.")] = Path("out"),
    slide: Annotated[
        Path | None, typer.Option(help="Slide of the heatmap, where it has moved. [default: as recorded]")
    ] = None,
    rois: Annotated[Path | None, typer.Option(help="Regions to outline: GeoJSON, ASAP or ImageScope XML.")] = None,
    origin: options.Origin = None,
    slide_mpp: options.SlideMpp = None,
    tile_px: Annotated[
        int | None,
        typer.Option("--tile-px", "--patch-size", help="Side in pixels of the tiles of a slide. [default: 224]"),
    ] = None,
    mpp: Annotated[float | None, typer.Option(help="um per pixel of those tiles. [default: 0.5]")] = None,
    config: options.Config = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the browser.")] = True,
) -> None:
    """Show a heatmap over the slide, or a slide with its regions and tiles; Ctrl+C ends it."""
    if what.is_dir():
        shown = _of_heatmaps(what, slide, rois, origin)
    else:
        shown = [_of_slide(what, rois, slide_mpp, {"origin": origin, "tile_px": tile_px, "mpp": mpp}, config)]
    viewer = _viewer(shown, port)
    tell(viewer.url)
    sys.stdout.flush()  # whoever reads this from a pipe waits for it
    if browser:
        import webbrowser

        webbrowser.open(viewer.url)
    try:
        viewer.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        viewer.server_close()
        for one in shown:
            one.close()


def _of_heatmaps(out: Path, slide: Path | None, rois: Path | None, origin: str | None) -> Sequence[Shown | Later]:
    from w2wpath.errors import ConfigError
    from w2wpath.heatmaps import outfolder
    from w2wpath.heatmaps.server import Later

    stems = outfolder.stems(out)
    if len(stems) > 1 and (slide or rois):
        wanted = slide.stem if slide else rois.stem if rois else ""
        if wanted not in stems:
            raise ConfigError(
                f"{out}: holds {', '.join(stems)}, none of which is {wanted!r}. "
                "Give --slide and --rois files that are named like one of them."
            )
        stems = [wanted]
    if len(stems) == 1:  # what is wrong with it is said at once
        return [outfolder.shown(out, stems[0], slide, rois, origin)]
    return [Later(stem, partial(outfolder.shown, out, stem, None, None, None)) for stem in stems]


def _of_slide(
    path: Path, rois: Path | None, slide_mpp: float | None, flags: dict[str, object], config: Path | None
) -> Shown:
    from w2wpath.config import TileSettings, load
    from w2wpath.heatmaps.labelled import labelled
    from w2wpath.heatmaps.server import Shown
    from w2wpath.slides.reader import open_slide

    # tiles that a page can show lie on one grid from the slide's corner
    flags = {**flags, "anchor": "slide", "edge": "drop"}
    settings = load(TileSettings, "tile", config, flags)
    opened = open_slide(path, slide_mpp=slide_mpp)
    return Shown(opened, labelled(opened, rois, settings))


def _viewer(shown: Sequence[Shown | Later], port: int) -> Viewer:
    from w2wpath.errors import ConfigError
    from w2wpath.heatmaps.server import Viewer

    try:
        return Viewer(shown, port)
    except OSError as error:
        raise ConfigError(f"port {port}: {error.strerror or error}. Choose another --port, or leave it out.") from error
