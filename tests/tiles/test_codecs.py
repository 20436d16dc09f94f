"""Codecs: zstd gives the same pixels, jpeg nearly; records are whole JPEG files; what is damaged is refused."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import noise_image
from w2wpath.errors import StoreError
from w2wpath.tiles.codecs import decoder, encoder


def tissue_like(px: int = 64) -> NDArray[np.uint8]:
    """Soft pink and violet with dark dots, as H&E is."""
    y, x = np.mgrid[0:px, 0:px] / px
    pink = np.stack([225 - 30 * x, 160 + 40 * y, 205 - 20 * x * y], axis=-1)
    nuclei = 1 / (1 + np.exp(8 * (0.5 - np.sin(x * 12) * np.sin(y * 12))))[..., None]
    return (pink + nuclei * (np.array([95, 60, 140]) - pink)).astype(np.uint8)


def decoded(codec: str, data: bytes, px: int = 64) -> NDArray[np.uint8]:
    out = np.empty((px, px, 3), dtype=np.uint8)
    decoder(codec)(data, out)
    return out


@pytest.mark.parametrize("tile", [tissue_like(), noise_image(64, 64), np.zeros((64, 64, 3), np.uint8)])
def test_zstd_loses_nothing(tile: NDArray[np.uint8]) -> None:
    assert np.array_equal(decoded("zstd", encoder("zstd")(tile)), tile)


def test_jpeg_stays_within_its_error_and_keeps_red_red() -> None:
    tile = tissue_like()
    error = np.abs(decoded("jpeg", encoder("jpeg")(tile)).astype(int) - tile)
    assert error.mean() < 1.5
    assert error.max() <= 16
    red = np.full((64, 64, 3), (220, 20, 40), dtype=np.uint8)
    assert np.abs(decoded("jpeg", encoder("jpeg")(red)).astype(int) - red).max() <= 2


def test_jpeg_keeps_hue_better_than_at_half_the_colour_resolution() -> None:
    tile, half = tissue_like(), io.BytesIO()
    Image.fromarray(tile).save(half, "JPEG", quality=90, subsampling=2)
    ours, theirs = decoded("jpeg", encoder("jpeg")(tile)), decoded("jpeg", half.getvalue())
    blue = [np.abs(found[..., 2].astype(int) - tile[..., 2]).mean() for found in (ours, theirs)]
    assert 1.5 * blue[0] < blue[1]


@pytest.mark.parametrize("codec", ["zstd", "jpeg"])
def test_the_same_pixels_give_the_same_bytes_in_any_thread_and_layout(codec: str) -> None:
    tile = tissue_like()
    data = encoder(codec)(tile)
    assert encoder(codec)(np.asfortranarray(tile)) == data
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(encoder(codec), [tile] * 40)) == {data}


def test_source_encodes_no_pixels() -> None:
    with pytest.raises(StoreError) as caught:
        encoder("source")
    assert (
        str(caught.value)
        == "codec 'source' keeps the scanner's own JPEG tiles, it encodes no pixels. Use jpeg or zstd."
    )


@pytest.mark.parametrize("codec", ["zstd", "jpeg"])
@pytest.mark.parametrize("px", [32, 128])
def test_a_tile_of_another_size_is_refused(codec: str, px: int) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        decoded(codec, encoder(codec)(tissue_like(px)))


@pytest.mark.parametrize("codec", ["zstd", "jpeg", "source"])
@pytest.mark.parametrize("data", [b"", b"\0" * 30, b"\xff\xd8\xff\xd9", bytes(range(200))])
def test_what_is_no_tile_is_refused(codec: str, data: bytes) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        decoded(codec, data)


def test_a_flipped_bit_in_a_zstd_tile_is_refused() -> None:
    data = bytearray(encoder("zstd")(noise_image(64, 64)))
    data[len(data) // 2] ^= 1
    with pytest.raises(RuntimeError):
        decoded("zstd", bytes(data))
