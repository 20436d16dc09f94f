"""Source tiles that are JPEG: whether a stream is whole, what makes it a file of its own, and its pixels.

Inside a TIFF a JPEG may lack its tables (they are in tag 347, once for all tiles), and its colours are what the TIFF
says, not what a decoder would guess from the stream. Each stream is therefore made a complete file first: tables put
in, an Adobe marker that states the colours. What is decoded here is that very file, so any other decoder sees the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
_SOS, _DQT, _DHT, _DRI, _APP0, _COM = 0xDA, 0xDB, 0xC4, 0xDD, 0xE0, 0xFE
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {_DHT, 0xC8, 0xCC})
_SEQUENTIAL = frozenset({0xC0, 0xC1})
_METADATA = frozenset({*range(0xE0, 0xF0), _COM})
# libjpeg takes a stray marker or a missing end for a warning and paints grey; OpenSlide refuses, and so do we
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_BUT_RESTARTS = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

RGB, YCBCR = 2, 6
"""Photometric interpretations of TIFF (tag 262) that a JPEG tile may have here."""


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and stop of the segments of a JPEG's header, the start of scan last.

    Raises
    ------
    ValueError
        It is no JPEG, or its header is damaged.
    """
    if data[:2] != SOI:
        raise ValueError("it does not begin as a JPEG")
    at = 2
    while at + 4 <= len(data) and data[at : at + 2] != EOI:
        if data[at] != 0xFF:
            raise ValueError("its JPEG header is damaged")
        marker, stop = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if stop > len(data):
            raise ValueError("its JPEG header ends early")
        yield marker, at, stop
        if marker == _SOS:
            return
        at = stop


@dataclass(frozen=True, slots=True)
class _Head:
    """The header of a stream, and the header that replaces it in a file of its own."""

    given: bytes
    whole: bytes
    end: re.Pattern[bytes] | None
    """Finds the marker after the pixels; None where there may be several scans."""


class JpegTiles:
    """JPEG tiles of one TIFF page: `size` (width, height), photometric interpretation 2 or 6, tables of tag 347."""

    name = "JPEG"

    def __init__(self, size: tuple[int, int], photometric: int, tables: bytes) -> None:
        self._size, self._photometric = size, photometric
        self._space = {RGB: "RGB", YCBCR: "YCBCR"}[photometric]
        self._tables, self._kinds = _tables(tables)
        self._last: _Head | None = None

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Return ``(h, w, 3)`` RGB of a stream.

        Raises
        ------
        Exception
            The stream is damaged; the text says how.
        """
        rgb = _off_the_line(self._size[1], self._size[0])
        imagecodecs.jpeg8_decode(self.file(data), colorspace=self._space, outcolorspace="RGB", out=rgb)
        return rgb

    def file(self, data: bytes) -> bytes:
        """Return a stream as a complete JPEG file that any decoder shows in the right colours.

        Raises
        ------
        ValueError
            The stream is damaged, or tables are nowhere.
        """
        head = self._head(data)
        start = len(head.given)
        if head.end is None:
            stop = data.rfind(EOI, start)
        else:
            found = head.end.search(data, start)
            stop = found.start() if found and found.group() == EOI else -1
        if stop < 0 or data[stop + 2 :].strip(b"\x00\xff"):
            raise ValueError("its JPEG data break off")
        return b"".join((head.whole, data[start:stop], EOI))

    def _head(self, data: bytes) -> _Head:
        # tiles of a page mostly share their header, byte for byte
        last = self._last
        if last is None or not data.startswith(last.given):
            self._last = last = self._parse(data)
        return last

    def _parse(self, data: bytes) -> _Head:
        kept, kinds, frame, jfif, stop = [], set(self._kinds), None, b"", 0
        for marker, start, stop in segments(data):
            segment = data[start:stop]
            kinds.add(marker)
            if marker in _FRAMES:
                frame = segment
            if marker == _APP0 and segment[4:9] == b"JFIF\x00":
                jfif = segment
            elif marker not in _METADATA:
                kept.append(segment)
        if frame is None or _SOS not in kinds:
            raise ValueError("its JPEG header ends early")
        if not {_DQT, _DHT} <= kinds:
            raise ValueError("its JPEG tables are missing")
        self._check_frame(frame)
        # JFIF means YCbCr to every decoder, so it must go where the colours are RGB
        first = jfif if jfif and self._photometric == YCBCR else _adobe(self._photometric)
        one_scan = frame[1] in _SEQUENTIAL and kept[-1][4] == frame[9]
        return _Head(
            given=data[:stop],
            whole=b"".join((SOI, first, self._tables, *kept)),
            end=(_MARKER_BUT_RESTARTS if _DRI in kinds else _MARKER) if one_scan else None,
        )

    def _check_frame(self, frame: bytes) -> None:
        """Refuse another size or kind than the page's before any memory is taken for it."""
        if len(frame) < 10:
            raise ValueError("its JPEG header is damaged")
        height, width = int.from_bytes(frame[5:7]), int.from_bytes(frame[7:9])
        if (width, height) != self._size:
            raise ValueError(f"its JPEG is {width} x {height} px, not {self._size[0]} x {self._size[1]}")
        if (frame[4], frame[9]) != (8, 3):
            raise ValueError(f"its JPEG has {frame[9]} components of {frame[4]} bits, not 3 of 8")


def _off_the_line(height: int, width: int) -> NDArray[np.uint8]:
    """Return an empty RGB array whose address is 16 more than a multiple of 32.

    libjpeg-turbo writes rows that begin at a multiple of 32 past the cache, which takes a third of the speed from tiles
    that fit into it; measured by ``tests/speed/decode.py``.
    """
    size = height * width * 3
    memory = np.empty(size + 32, dtype=np.uint8)
    start = (16 - memory.ctypes.data) % 32
    return memory[start : start + size].reshape(height, width, 3)


def _tables(stream: bytes) -> tuple[bytes, set[int]]:
    """Return the tables of tag 347 without their frame, and the kinds of segments among them."""
    try:
        found = [(marker, stream[start:stop]) for marker, start, stop in segments(stream)] if stream else []
    except ValueError:
        return b"", set()  # the tiles then say what they lack
    found = [(marker, segment) for marker, segment in found if marker in (_DQT, _DHT, _DRI)]
    return b"".join(segment for _, segment in found), {marker for marker, _ in found}


def _adobe(photometric: int) -> bytes:
    """Return the marker that tells decoders whether the components are RGB (transform 0) or YCbCr (1)."""
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([photometric == YCBCR])
