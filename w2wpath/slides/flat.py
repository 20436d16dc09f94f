"""Flat images: PNG, JPEG and TIFF without tiles, one level, held in memory once they are read."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from w2wpath.errors import SlideError
from w2wpath.slides.base import DAMAGED, REGION_PX, Grid, LevelReader, no_jpeg
from w2wpath.slides.contract import Blocks
from w2wpath.slides.scale import Pair, scale, unit_name

MOST_PX = 1 << 28
"""Pixels (16,384 x 16,384) that a flat image may have: it lies in memory as a whole, three bytes a pixel."""
_STRIP_PX = 1 << 24
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
FLATTEN = "in one piece (a flat image)"


def signature(path: Path) -> str:
    """Return ``png``, ``jpeg``, ``tiff`` or an empty string, by a file's first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise SlideError(f"{path}: cannot be read ({error.strerror}). Check the path and its permissions.") from error
    if head.startswith(TIFF):
        return "tiff"
    return "png" if head.startswith(PNG) else "jpeg" if head.startswith(JPEG) else ""


class FlatReader(LevelReader):
    """A flat image as a slide of one level; safe to use from several threads."""

    def __init__(self, path: Path, slide_mpp: float | None) -> None:
        super().__init__(path, slide_mpp)
        kind = signature(path)
        if not kind:
            raise SlideError(f"{path}: not a flat image (PNG, JPEG or TIFF). Check that the file is whole.")
        try:
            with path.open("rb") as file:
                image = _image(file, kind)
                self._state_levels((image.size,))
                tiff, unit = _resolution(image)
        except Exception as error:
            raise SlideError(f"{path}: not a readable image ({error}). Check that the file is whole.") from error
        if self.width0 * self.height0 > MOST_PX:
            raise SlideError(
                f"{path}: {self.width0} x {self.height0} px are more than a flat image may have ({MOST_PX:,}), since "
                "it lies in memory as a whole. Save it as a tiled TIFF (QuPath: File > Export images > OME TIFF)."
            )
        self.mpp, self.mpp_from = scale(path, slide_mpp, tiff=tiff, unit=unit)
        self._kind = kind
        self._pixels: NDArray[np.uint8] | None = None
        self._once = threading.Lock()

    def _read_level(self, level: int, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        try:
            pixels = self._all()
        except Exception as error:
            raise SlideError(f"{self.path}: its pixels cannot be decoded ({error}). {DAMAGED}") from error
        return pixels[top : top + height, left : left + width]

    def _all(self) -> NDArray[np.uint8]:
        with self._once:
            if self._pixels is None:
                with self.path.open("rb") as file:
                    self._pixels = _rgb(_image(file, self._kind), self._canvas(self.width0, self.height0))
            return self._pixels

    def _make_blocks(self, level: int) -> Blocks:
        return _FlatBlocks(self)

    def _release(self) -> None:
        self._pixels = None


class _FlatBlocks(Grid):
    """The image in windows; there is one image to decode, so nothing is gained or lost by their size."""

    def __init__(self, slide: FlatReader) -> None:
        super().__init__(slide.path, 0, slide.level_sizes[0], (REGION_PX, REGION_PX))
        self._slide = slide

    def decode(self, column: int, row: int) -> NDArray[np.uint8]:
        """Return a block ``(h, w, 3)`` RGB, cut at the image's edges."""
        left, top, width, height = self._box(column, row)
        return self._slide.read_rgb(left, top, 0, width, height)

    def jpeg(self, column: int, row: int) -> bytes:
        """Refuse: one JPEG at most holds them all."""
        raise no_jpeg(self.path, FLATTEN)


def _image(file: BinaryIO, kind: str) -> ImageFile.ImageFile:
    """Open an image by the plugin of its kind, without Pillow's warning at half our own limit."""
    plugins: dict[str, type[ImageFile.ImageFile]] = {
        "png": PngImagePlugin.PngImageFile,
        "jpeg": JpegImagePlugin.JpegImageFile,
        "tiff": TiffImagePlugin.TiffImageFile,
    }
    return plugins[kind](file)


def _resolution(image: Image.Image) -> tuple[Pair, str]:
    """Return pixels per unit of a TIFF; what PNG and JPEG state is for screens and printers."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return (None, None), "none"
    tags = image.tag_v2
    return (tags.get(282), tags.get(283)), unit_name(tags.get(296, 2))


def _rgb(image: Image.Image, canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Paint an image onto the background, strip by strip, so that memory holds it hardly more than once."""
    image.load()
    deep = image.mode.startswith("I;16")
    if image.mode in ("I", "F"):
        raise ValueError(f"{image.mode} pixels are measurements, not colours")
    step = max(1, _STRIP_PX // image.width)
    for top in range(0, image.height, step):
        strip = image.crop((0, top, image.width, min(top + step, image.height)))
        if deep:
            grey = np.asarray(strip).astype(np.uint16) >> 8
            strip = Image.fromarray(grey.astype(np.uint8))
        onto = Image.fromarray(canvas[top : top + strip.height])
        rgba = strip.convert("RGBA")
        onto.paste(rgba, mask=rgba.getchannel("A"))
        canvas[top : top + strip.height] = np.asarray(onto)
    return canvas
