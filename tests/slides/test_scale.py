"""um per pixel: the header, else the resolution of the TIFF, else the flag, else unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import tifffile
from PIL import Image

from tests.conftest import coordinate_image
from w2wpath.errors import MissingMppError, SlideError
from w2wpath.slides.reader import Reader, open_slide, require_mpp
from w2wpath.slides.scale import in_um, scale

IMAGE = coordinate_image(300, 200)
TILED: tuple[Reader, ...] = ("openslide", "source", "tiffslide")


def svs(path: Path, about: str = "", **resolution: Any) -> Path:
    """An SVS of one level; `about` goes to its description, `resolution` to its TIFF tags."""
    description = f"Aperio Image Library v12.0.0\n300x200 [0,0 300x200] (128x128){about}"
    tifffile.imwrite(
        path, IMAGE, tile=(128, 128), photometric="rgb", metadata=None, description=description, **resolution
    )
    return path


@pytest.mark.parametrize("reader", ["openslide", "source"])
@pytest.mark.parametrize(
    ("about", "resolution", "expected"),
    [
        ("|MPP = 0.25", (20000, "CENTIMETER"), (0.25, "header")),
        ("", (20000, "CENTIMETER"), (0.5, "tiff resolution")),
        ("", (50800, "INCH"), (0.5, "tiff resolution")),
        ("|MPP = nonsense", (50800, "INCH"), (0.5, "tiff resolution")),
        ("|MPP = 0", (50800, "INCH"), (0.5, "tiff resolution")),
        ("", (50800, "NONE"), (None, "unknown")),
        ("", (1, "INCH"), (None, "unknown")),
        ("", (10**9, "CENTIMETER"), (None, "unknown")),
    ],
)
def test_an_svs_without_a_scale_falls_back_to_its_tiff_resolution(
    tmp_path: Path, reader: Reader, about: str, resolution: tuple[int, str], expected: tuple[float | None, str]
) -> None:
    per, unit = resolution
    path = svs(tmp_path / "a.svs", about, resolution=(per, per), resolutionunit=unit)
    with open_slide(path, reader=reader) as slide:
        assert (slide.mpp, slide.mpp_from) == expected


@pytest.mark.parametrize("reader", TILED)
def test_a_generic_tiff_has_its_scale_from_its_header(tmp_path: Path, reader: Reader) -> None:
    path = tmp_path / "a.tiff"
    inch = {"resolution": (101600, 101600), "resolutionunit": "INCH"}
    tifffile.imwrite(path, IMAGE, tile=(128, 128), photometric="rgb", metadata=None, **inch)
    with open_slide(path, reader=reader) as slide:
        assert (require_mpp(slide), slide.mpp_from) == (pytest.approx(0.25, rel=1e-9), "header")


@pytest.mark.parametrize("reader", TILED)
def test_readers_refuse_pixels_that_are_not_square(tmp_path: Path, reader: Reader) -> None:
    path = tmp_path / "a.tiff"
    oblong = {"resolution": (20000, 10000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, IMAGE, tile=(128, 128), photometric="rgb", metadata=None, **oblong)
    with pytest.raises(SlideError) as caught:
        open_slide(path, reader=reader)
    assert str(caught.value) == (
        f"{path}: pixels are not square (0.5 x 1 um). Pass --slide-mpp if the header is wrong."
    )
    with open_slide(path, reader=reader, slide_mpp=0.5) as slide:
        assert (slide.mpp, slide.mpp_from) == (0.5, "flag")


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_what_a_picture_says_of_dots_per_inch_is_no_scale(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(IMAGE).save(path, dpi=(300, 300))
    with open_slide(path) as slide, pytest.raises(MissingMppError) as caught:
        require_mpp(slide)
    assert str(caught.value) == (
        f"{path}: no um/px in the header. Pass --slide-mpp (20x is about 0.5, 40x about 0.25)."
    )
    with open_slide(path, slide_mpp=0.5) as slide:
        assert (require_mpp(slide), slide.mpp_from) == (0.5, "flag")


def test_every_reader_is_tested() -> None:
    assert set(get_args(Reader)) == {"auto", "flat", *TILED}


@pytest.mark.parametrize("odd", [(None, None), ("x", 1), (0, 0), (-1, -1), (float("nan"), 1), (1, None)])
def test_odd_resolutions_are_no_scale(odd: tuple[object, object]) -> None:
    assert scale(Path("a"), None, tiff=odd, unit="inch") == (None, "unknown")


def test_resolutions_become_um() -> None:
    assert in_um((25400, 12700), "inch") == (1.0, 2.0)
    assert in_um(("10000", 5000), "centimeter") == (1.0, 2.0)
