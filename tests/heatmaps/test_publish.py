"""Outputs of a slide appear together, and what was there stays until they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from w2wpath.errors import DiskError
from w2wpath.heatmaps.publish import publish


def made(text: str, *, fault: BaseException | None = None):  # type: ignore[no-untyped-def] # a test's own helper
    def write(scratch: Path) -> None:
        (scratch / "a.csv").write_text(text)
        (scratch / "a.zarr").mkdir()
        (scratch / "a.zarr" / text).write_text(text)
        if fault is not None:
            raise fault
        (scratch / "a.json").write_text(text)

    return write


def seen(out: Path) -> dict[str, str]:
    return {str(path.relative_to(out)): path.read_text() for path in sorted(out.rglob("*")) if path.is_file()}


def test_files_and_folders_are_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for text in ("one", "two"):
        files = publish(out, "a.json", made(text))
        assert files == (out / "a.csv", out / "a.json", out / "a.zarr")
        assert seen(out) == {"a.csv": text, "a.json": text, f"a.zarr/{text}": text}


@pytest.mark.parametrize("fault", [KeyError("no"), KeyboardInterrupt()])
def test_a_fault_leaves_everything_as_it_was(tmp_path: Path, fault: BaseException) -> None:
    out = tmp_path / "out"
    publish(out, "a.json", made("one"))
    before = seen(out)
    with pytest.raises(type(fault)):
        publish(out, "a.json", made("two", fault=fault))
    assert seen(out) == before


def test_a_full_disk_names_the_file_where_it_would_be(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def write(scratch: Path) -> None:
        raise DiskError(f"{scratch / 'a.csv'}: could not be written, the disk is full.")

    with pytest.raises(DiskError) as caught:
        publish(out, "a.json", write)
    assert str(caught.value) == f"{out / 'a.csv'}: could not be written, the disk is full."
    assert list(out.iterdir()) == []


def test_a_run_that_is_killed_between_two_renames_leaves_no_mark_that_all_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    publish(out, "a.json", made("one"))
    import os

    rename, count = os.replace, 0

    def killed(source: Path, to: Path) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        rename(source, to)

    monkeypatch.setattr("w2wpath.heatmaps.publish.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        publish(out, "a.json", made("two"))
    assert not (out / "a.json").exists()
    monkeypatch.undo()
    publish(out, "a.json", made("three"))
    assert seen(out) == {"a.csv": "three", "a.json": "three", "a.zarr/three": "three"}
