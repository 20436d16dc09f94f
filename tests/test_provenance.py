"""Fingerprints, provenance lines, and files that appear whole."""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import file_size_limit, run_python
from w2wpath.errors import DiskError, SlideError
from w2wpath.provenance import Clock, append_line, fingerprint, record, versions, write_whole

NO_ROOM = (
    "{path}: could not be written, the file-size limit is met. Nothing that was there before has changed; "
    "make room (or choose another place with -o) and run the same command again."
)


def test_a_fingerprint_belongs_to_the_content_not_to_the_name(tmp_path: Path) -> None:
    for name in ("a.svs", "b.svs"):
        (tmp_path / name).write_bytes(b"pixels" * 100)
    assert fingerprint(tmp_path / "a.svs") == fingerprint(tmp_path / "b.svs")


@pytest.mark.parametrize("place", [0, 299, 599])
def test_a_changed_byte_of_a_small_file_changes_the_fingerprint(tmp_path: Path, place: int) -> None:
    path, content = tmp_path / "a.svs", bytearray(600)
    path.write_bytes(content)
    before = fingerprint(path)
    content[place] = 1
    path.write_bytes(content)
    assert fingerprint(path) != before


def test_a_fingerprint_is_the_documented_sha256(tmp_path: Path) -> None:
    mib, size = 1 << 20, 3 << 20
    content = np.random.default_rng(0).bytes(size)
    (tmp_path / "a.svs").write_bytes(content)
    blocks = [content[size * i // 16 :][: 64 * 1024] for i in range(16)]
    expected = hashlib.sha256(b"".join([str(size).encode(), content[:mib], content[-mib:], *blocks]))
    assert fingerprint(tmp_path / "a.svs") == expected.hexdigest()


def test_a_missing_file_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(SlideError) as caught:
        fingerprint(tmp_path / "no.svs")
    assert str(caught.value) == (
        f"{tmp_path / 'no.svs'}: cannot be read (No such file or directory). Check the path and its permissions."
    )


def test_a_mirax_slide_counts_the_files_of_its_folder(tmp_path: Path) -> None:
    path, folder = tmp_path / "a.mrxs", tmp_path / "a"
    (folder / "deep").mkdir(parents=True)
    content = {path: b"thumbnail", folder / "Data0000.dat": b"x", folder / "deep" / "Index.dat": b"y"}
    for file, text in content.items():
        file.write_bytes(text)

    def quick(text: bytes) -> str:
        # of a small file: first and last MiB are the whole, and 16 blocks begin at sixteenths
        blocks = [text[len(text) * i // 16 :] for i in range(16)]
        return hashlib.sha256(b"".join([str(len(text)).encode(), text, text, *blocks])).hexdigest()

    lines = [quick(b"thumbnail"), f"Data0000.dat {quick(b'x')}", f"deep/Index.dat {quick(b'y')}"]
    before = fingerprint(path)
    assert before == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    (folder / "Data0000.dat").write_bytes(b"z")
    assert fingerprint(path) != before
    (folder / "Data0000.dat").write_bytes(b"x")
    assert fingerprint(path) == before
    (folder / "Data0000.dat").rename(folder / "Data0001.dat")
    assert fingerprint(path) != before


def test_a_mirax_slide_without_its_folder_has_no_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "Slide 7.MRXS"
    path.write_bytes(b"thumbnail")
    with pytest.raises(SlideError) as caught:
        fingerprint(path)
    assert str(caught.value) == (f"{path}: its folder Slide 7/ with the pixels is not there. Copy it beside the file.")


def test_versions_are_those_that_run() -> None:
    assert versions()["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions()["numpy"] == np.__version__


def test_a_record_says_what_ran_and_when() -> None:
    found = record("tile", {"tile_px": 64}, outcomes={"a": "tiled"})
    assert (found["command"], found["settings"], found["outcomes"]) == ("tile", {"tile_px": 64}, {"a": "tiled"})
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found["time"])).total_seconds()) < 60


def test_lines_are_appended_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    append_line(path, {"b": 1, "a": Path("x")})
    append_line(path, {"c": 2})
    assert path.read_text() == '{"a": "x", "b": 1}\n{"c": 2}\n'


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    code = (
        "import sys, os\nfrom pathlib import Path\nfrom w2wpath.provenance import append_line\n"
        "for who in range(3):\n"
        "    if os.fork() == 0:\n"
        "        for i in range(50): append_line(Path(sys.argv[1]), {'who': who, 'i': i, 'text': 'x' * 3000})\n"
        "        os._exit(0)\n"
        "for _ in range(3): os.wait()\n"
    )
    assert run_python(code, path).returncode == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((line["who"], line["i"]) for line in lines) == [(who, i) for who in range(3) for i in range(50)]


def test_a_line_that_only_partly_fits_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with file_size_limit(1000), pytest.raises(DiskError) as caught:
        append_line(path, {"text": "x" * 2000})
    assert str(caught.value) == NO_ROOM.format(path=path)


def test_a_small_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_whole(path, "old")
    write_whole(path, b"new \xc2\xb5")
    assert path.read_text("utf-8") == "new µ"
    assert list(tmp_path.iterdir()) == [path]


def test_without_room_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_whole(path, "old")
    with file_size_limit(1000), pytest.raises(DiskError) as caught:
        write_whole(path, "x" * 2000)
    assert str(caught.value) == NO_ROOM.format(path=path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_clock_goes_forward() -> None:
    clock = Clock()
    first = clock.seconds
    assert 0 <= first <= clock.seconds < 60
