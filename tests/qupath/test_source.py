"""From a file to its documents: what they are is seen from their bytes, and all of them together keep to the limit."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from tests.qupath.test_dialects import packed
from w2wpath.errors import AnnotationError
from w2wpath.qupath.source import Document, read_documents

XML = '<?xml version="1.0"?><ASAP_Annotations/>'


@pytest.mark.parametrize(
    "data",
    [
        XML.encode(),
        b" \r\n\t" + XML.encode(),
        b"\xef\xbb\xbf\n" + XML.encode(),
        XML.encode("utf-16"),
        XML.encode("utf-16-le"),
        b"\xfe\xff" + XML.encode("utf-16-be"),
        b"<",
    ],
)
def test_what_begins_with_a_bracket_is_xml(data: bytes) -> None:
    assert Document("r", data).is_xml


@pytest.mark.parametrize(
    "data", [b"", b"[]", b" {}", b"\xef\xbb\xbf[]", "[]".encode("utf-16"), b"\x00" * 200, b'"<"', b" " * 200 + b"<"]
)
def test_what_begins_otherwise_is_not_xml(data: bytes) -> None:
    assert not Document("r", data).is_xml


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_unicode_is_decoded_without_its_mark_and_nothing_assumed(code: str) -> None:
    assert Document("r", '["Ä腫😀"]'.encode(code)).text() == ('["Ä腫😀"]', "")


def test_other_bytes_are_windows_1252_and_none_is_lost() -> None:
    assert Document("r", b'["T\xfcmor \x80\x81"]').text() == ('["Tümor €\ufffd"]', "not UTF-8, read as Windows-1252")


def test_a_file_is_one_document_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "r.geojson"
    for data in (b"[]", gzip.compress(b"[]"), b""):
        path.write_bytes(data)
        assert read_documents(path) == [Document(str(path), b"[]" if data else b"")]


def test_a_zip_is_a_document_for_each_entry_that_may_be_one(tmp_path: Path) -> None:
    path = tmp_path / "r.zip"
    entries = {
        "a.geojson": b"1",
        "b/C.JSON": b"2",
        "d.xml": b"<d/>",
        "e.geojson.gz": gzip.compress(b"3"),
        "f.json.GZ": gzip.compress(b"4"),
        "g.txt": b"no",
        "geojson": b"no",
        "h.gz": gzip.compress(b"no"),
        "i.json/": b"",
        ".j.json": b"no",
        "k/._l.json": b"no",
        "__MACOSX/m.json": b"no",
    }
    path.write_bytes(packed(entries))
    assert [(one.where, one.data) for one in read_documents(path)] == [
        (f"{path}: a.geojson", b"1"),
        (f"{path}: b/C.JSON", b"2"),
        (f"{path}: d.xml", b"<d/>"),
        (f"{path}: e.geojson.gz", b"3"),
        (f"{path}: f.json.GZ", b"4"),
    ]


def test_two_entries_of_one_name_are_two_documents(tmp_path: Path) -> None:
    path = tmp_path / "r.zip"
    path.write_bytes(packed({"a.json": b"1", "b.json": b"2"}, zipfile.ZIP_STORED).replace(b"b.json", b"a.json"))
    assert [one.data for one in read_documents(path)] == [b"1", b"2"]


def test_an_entry_that_is_not_where_it_should_be_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "r.zip"
    data = bytearray(packed({"a.json": b"1"}))
    place = data.index(b"PK\x01\x02") + 42
    data[place : place + 4] = (len(data) - 10).to_bytes(4, "little")  # fewer bytes than an entry's head
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive, pytest.raises(zipfile.BadZipFile) as why:
        archive.read("a.json")
    with pytest.raises(AnnotationError) as caught:
        read_documents(path)
    assert str(caught.value) == f"{path}: cannot be read ({why.value}). Export it again."


MB = 1_000_000


@pytest.mark.parametrize(
    "entries",
    [
        {"a.json": MB, "b.json": 1},
        {"a.json": 1, "b.json": MB},
        {"a.json": MB // 2, "b.json.gz": MB // 2 + 1},
        {"a.json.gz": MB + 1},
    ],
)
def test_the_limit_is_for_all_documents_and_said_as_it_was_given(tmp_path: Path, entries: dict[str, int]) -> None:
    def whole(sizes: dict[str, int]) -> bytes:
        made = {name: b" " * size for name, size in sizes.items()}
        return packed({name: gzip.compress(data) if name.endswith("gz") else data for name, data in made.items()})

    path = tmp_path / "r.zip"
    path.write_bytes(whole(entries))
    with pytest.raises(AnnotationError) as caught:
        read_documents(path, 1)
    assert str(caught.value) == (
        f"{path}: holds more than 1 MB. Export fewer objects (regions without detections), or allow more with --max-mb."
    )
    largest = max(entries, key=lambda name: entries[name])
    path.write_bytes(whole({**entries, largest: entries[largest] - 1}))
    assert sum(len(one.data) for one in read_documents(path, 1)) == MB
