"""Opening slides: the right reader for a file, and what every file is asked for first."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from w2wpath.errors import ConfigError, MissingMppError, SlideError, did_you_mean
from w2wpath.provenance import companion_folder
from w2wpath.slides.base import BaseSlide
from w2wpath.slides.contract import Slide
from w2wpath.slides.flat import FlatReader, signature
from w2wpath.slides.openslide_reader import OpenSlideReader
from w2wpath.slides.scale import check_flag
from w2wpath.slides.source_reader import SourceReader
from w2wpath.slides.source_tiles import has_tiles

Reader = Literal["auto", "openslide", "tiffslide", "source", "flat"]


def open_slide(path: Path | str, *, slide_mpp: float | None = None, reader: Reader = "auto") -> Slide:
    """Open a whole-slide image.

    Parameters
    ----------
    path
        Any file that OpenSlide reads (SVS, NDPI, MRXS, SCN, tiled TIFF, DICOM ...), other tiled TIFFs (through
        tiffslide), or a flat image (PNG, JPEG, TIFF).
    slide_mpp
        um per level-0 pixel, instead of the header's.
    reader
        Which reader; ``auto`` takes the first that can.

    Raises
    ------
    SlideError
        The file is missing or is not a slide.
    ConfigError
        `slide_mpp` is not a scale, or there is no such reader.
    """
    path = Path(path)
    if reader not in get_args(Reader):
        raise ConfigError(
            f"{path}: reader must be one of {', '.join(get_args(Reader))}; got {reader!r}."
            f"{did_you_mean(reader, get_args(Reader))}"
        )
    check_flag(path, slide_mpp)
    if not path.exists():
        raise SlideError(f"{path}: no such slide. Check the path.")
    companion_folder(path)
    if reader == "auto":
        return _first_that_can(path, slide_mpp)
    return _reader(reader)(path, slide_mpp)


def require_mpp(slide: Slide) -> float:
    """Return the slide's um/px.

    Raises
    ------
    MissingMppError
        The header has none and the user gave none.
    """
    if slide.mpp is None:
        raise MissingMppError(
            f"{slide.path}: no um/px in the header. Pass --slide-mpp (20x is about 0.5, 40x about 0.25)."
        )
    return slide.mpp


def _reader(name: str) -> type[BaseSlide]:
    if name == "tiffslide":
        from w2wpath.slides.tiffslide_reader import TiffSlideReader

        return TiffSlideReader
    return {"openslide": OpenSlideReader, "source": SourceReader, "flat": FlatReader}[name]


def _first_that_can(path: Path, slide_mpp: float | None) -> Slide:
    kind = signature(path) if path.is_file() else ""
    if kind in ("png", "jpeg"):
        return FlatReader(path, slide_mpp)
    try:
        return OpenSlideReader(path, slide_mpp)
    except SlideError as error:
        # other readers are for what OpenSlide does not know, not for faults that it found
        if kind != "tiff" or "Unsupported" not in str(error.__cause__):
            raise
        if has_tiles(path):
            # what OpenSlide says of a file that nobody reads is what a user can look up
            with suppress(SlideError):
                return _reader("tiffslide")(path, slide_mpp)
            raise
        return FlatReader(path, slide_mpp)
