"""The HTML base escapes every value, misses none, and inlines its pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from jinja2 import UndefinedError
from matplotlib.figure import Figure
from PIL import Image

from w2wpath.reports.page import figure_uri, render, tile_uri


def decode(uri: str, kind: str) -> Image.Image:
    head = f"data:image/{kind};base64,"
    assert uri.startswith(head)
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(head), validate=True)))


def test_a_value_the_page_needs_and_does_not_get_is_an_error() -> None:
    with pytest.raises(UndefinedError) as caught:
        render("cleaning.html.j2", {})
    assert str(caught.value) == "'run' is undefined"


def test_a_tile_comes_back_from_its_uri() -> None:
    tile = np.full((24, 24, 3), (200, 40, 90), dtype=np.uint8)
    image = decode(tile_uri(tile), "jpeg")
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (24, 24))
    assert np.abs(np.asarray(image).astype(int) - tile).max() <= 3


@pytest.mark.parametrize(("given", "shown"), [(200, 160), (160, 160), (24, 24)])
def test_a_tile_is_made_smaller_never_larger(given: int, shown: int) -> None:
    tile = np.full((given, given, 3), 90, dtype=np.uint8)
    assert decode(tile_uri(tile, 160), "jpeg").size == (shown, shown)


def test_a_tile_is_not_mirrored_or_turned() -> None:
    tile = np.zeros((16, 16, 3), dtype=np.uint8)
    tile[:8, :8] = (255, 0, 0)
    tile[:8, 8:] = (0, 255, 0)
    tile[8:, :8] = (0, 0, 255)
    image = np.asarray(decode(tile_uri(tile), "jpeg"))
    assert [int(image[y, x].argmax()) for y, x in ((2, 2), (2, 13), (13, 2))] == [0, 1, 2]


def test_a_figure_becomes_a_png() -> None:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [0, 1])
    image = decode(figure_uri(figure), "png")
    assert (image.format, image.size) == ("PNG", (300, 150))
