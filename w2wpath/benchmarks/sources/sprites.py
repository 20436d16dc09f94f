"""Sheets of CIFAR-10: lossless WebP, each of 25 rows x 40 columns of images, filled row by row."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.sources.stored import Stored
from w2wpath.errors import ConfigError

ROWS, COLUMNS, SIDE = 25, 40, 32
LOSSLESS = b"VP8L"


def read_sheet(stored: Stored) -> NDArray[np.uint8]:
    """Return the 1000 images of a sheet, (1000, 32, 32, 3) uint8.

    Raises
    ------
    ConfigError
        It is no lossless WebP, of another size, or damaged.
    """
    from PIL import Image

    if stored.data[:4] != b"RIFF" or stored.data[12:16] != LOSSLESS:
        raise ConfigError(f"{stored.path}: is not a lossless WebP. Get the file again.")
    try:
        with Image.open(BytesIO(stored.data), formats=("WEBP",)) as image:
            size = image.size
            pixels = np.asarray(image.convert("RGB")) if size == (COLUMNS * SIDE, ROWS * SIDE) else None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{stored.path}: cannot be read as WebP ({error}). Get the file again.") from error
    if pixels is None:
        raise ConfigError(
            f"{stored.path}: is {size[0]} x {size[1]} px; a sheet has {COLUMNS * SIDE} x {ROWS * SIDE} px, "
            f"{COLUMNS} images of {SIDE} px a row. Get the file again."
        )
    cells = pixels.reshape(ROWS, SIDE, COLUMNS, SIDE, 3).transpose(0, 2, 1, 3, 4)
    return cells.reshape(ROWS * COLUMNS, SIDE, SIDE, 3)


def read_sheets(sheets: Sequence[Stored], images: int, labels: str) -> NDArray[np.uint8]:
    """Return the first `images` images of sheets in order, of which only the last may be partly filled.

    Raises
    ------
    ConfigError
        As :func:`read_sheet`, or there are too few or too many sheets for the number of labels; `labels` says where
        these are.
    """
    needed = -(-images // (ROWS * COLUMNS))
    if len(sheets) != needed:
        raise ConfigError(
            f"{labels} holds {images} labels, so the sheets of {ROWS * COLUMNS} images must number {needed}; "
            f"{len(sheets)} are there ({sheets[0].path.name} to {sheets[-1].path.name}). Get the folder again."
        )
    return np.concatenate([read_sheet(sheet) for sheet in sheets])[:images]
