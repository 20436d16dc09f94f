"""Render self-contained pages: Jinja2 with autoescape, pictures inlined, nothing fetched."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return the page of ``reports/<template>``; a value the template needs and does not get is an error."""
    environment = Environment(
        loader=PackageLoader("w2wpath", "reports"),
        # every template is HTML, whatever its name ends with
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(values)


def figure_uri(figure: Figure) -> str:
    """Return a matplotlib figure as a PNG data URI."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=150)
    return _uri("png", buffer.getvalue())


def tile_uri(tile: NDArray[np.uint8], longest_px: int | None = None) -> str:
    """Return a tile (h, w, 3) uint8 RGB as a JPEG data URI, made smaller where a side exceeds `longest_px`."""
    image = Image.fromarray(tile)
    if longest_px is not None:
        image.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return _uri("jpeg", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
