"""From an annotation file to documents: plain, gzip or zip, recognised by content, never more bytes than allowed."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from w2wpath.errors import AnnotationError

MAX_MB = 512
GZIP, ZIP = b"\x1f\x8b", (b"PK\x03\x04", b"PK\x05\x06")
BLOCK = 1 << 20
SUFFIXES = (".geojson", ".json", ".xml")
"""Entries of a zip that may hold annotations."""


@dataclass(frozen=True)
class Document:
    """One document of an annotation file: where it stands, for messages, and its bytes."""

    where: str
    data: bytes

    @property
    def is_xml(self) -> bool:
        """Whether the text begins like XML, be it UTF-8 or UTF-16, with or without a byte order mark."""
        return self.data[:100].lstrip(b"\xef\xbb\xbf\xfe\xff\x00 \t\r\n")[:1] == b"<"

    def text(self) -> tuple[str, str]:
        """Return the text, and what had to be assumed of its encoding ("" for UTF-8, -16 and -32, as JSON has it)."""
        try:
            return self.data.decode(json.detect_encoding(self.data)), ""
        except UnicodeDecodeError:
            # other tools write in the code page of Western Windows; every byte has a meaning there or becomes U+FFFD
            return self.data.decode("cp1252", errors="replace"), "not UTF-8, read as Windows-1252"


def read_documents(path: Path, max_mb: int = MAX_MB) -> list[Document]:
    """Return the documents of a file: one, or one for each ``.geojson``, ``.json`` and ``.xml`` of a zip.

    Parameters
    ----------
    max_mb
        Most megabytes (1e6 bytes) after decompression, all documents together.

    Raises
    ------
    AnnotationError
        The file is missing, unreadable, torn, encrypted, or larger than `max_mb`.
    """
    limit = max_mb * 1_000_000
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if magic in ZIP:
                return list(_unzipped(file, path, limit))
            unpack = _gunzipped if magic.startswith(GZIP) else _up_to
            data = unpack(file, path, limit, limit)
            return [Document(str(path), data)]
    except FileNotFoundError:
        raise AnnotationError(f"{path}: no such annotation file. Check the path.") from None
    except AnnotationError:
        raise
    # zipfile says RuntimeError of what it does not know and ValueError of damaged names and places
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise AnnotationError(f"{path}: cannot be read ({error}). Export it again.") from None


def _up_to(file: IO[bytes], path: Path, left: int, limit: int) -> bytes:
    """Read the rest of `file` by blocks, at most what is `left` of `limit`: a bomb must not fill the memory."""
    found = bytearray()
    while block := file.read(BLOCK):
        found += block
        if len(found) > left:
            raise AnnotationError(
                f"{path}: holds more than {limit // 1_000_000} MB. Export fewer objects "
                "(regions without detections), or allow more with --max-mb."
            )
    return bytes(found)


def _gunzipped(file: IO[bytes], path: Path, left: int, limit: int) -> bytes:
    import gzip

    with gzip.open(file) as unpacked:
        # GzipFile is IO[bytes] in all but its annotation
        return _up_to(unpacked, path, left, limit)  # type: ignore[arg-type]


def _unzipped(file: IO[bytes], path: Path, limit: int) -> Iterator[Document]:
    left, found = limit, False
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            name = entry.filename.lower()
            hidden = name.startswith("__macosx/") or name.rpartition("/")[2].startswith(".")  # macOS adds its own
            if hidden or not name.removesuffix(".gz").endswith(SUFFIXES):
                continue
            found = True
            if entry.flag_bits & 1:
                raise zipfile.BadZipFile(f"{entry.filename} is encrypted")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without a bound
                raise zipfile.BadZipFile(f"{entry.filename} is packed by another method than deflate")
            with archive.open(entry) as packed:
                data = _up_to(packed, path, left, limit)
            if name.endswith(".gz"):
                data = _gunzipped(io.BytesIO(data), path, left, limit)
            left -= len(data)
            yield Document(f"{path}: {entry.filename}", data)
    if not found:
        raise AnnotationError(f"{path}: this zip holds no .geojson, .json or .xml. Export the regions again.")
