"""The error tree, full disks in words, and hints."""

from __future__ import annotations

import builtins
import errno
import pickle
import re
from pathlib import Path

import pytest

from tests.conftest import file_size_limit
from w2wpath import errors
from w2wpath.errors import ConfigError, DiskError, SlideError, W2wError, did_you_mean, full_disk, writing

LEAVES = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, W2wError)),
    key=lambda kind: kind.__name__,
)


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn = re.findall(r"── (\w+)\s+\((\w+)\)", errors.__doc__ or "")
    assert {name for name, _ in drawn} == {kind.__name__ for kind in LEAVES} - {"W2wError"}
    for name, builtin in drawn:
        assert issubclass(getattr(errors, name), W2wError)
        assert issubclass(getattr(errors, name), getattr(builtins, builtin))


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_an_error_reads_as_its_message_and_survives_the_way_between_processes(kind: type[W2wError]) -> None:
    back = pickle.loads(pickle.dumps(kind("slide.svs: what is wrong. The cure.")))
    assert type(back) is kind
    assert str(back) == "slide.svs: what is wrong. The cure."


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EFBIG, "the file-size limit is met"),
    ],
)
def test_each_way_to_run_out_of_room_has_its_words(number: int, words: str) -> None:
    assert full_disk(OSError(number, "as the system says")) == words


def test_a_full_disk_is_found_below_what_a_library_made_of_it() -> None:
    wrapped = RuntimeError("codec failed")
    wrapped.__cause__ = ValueError("chunk failed")
    wrapped.__cause__.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert full_disk(wrapped) == "the disk is full"


@pytest.mark.parametrize("other", [OSError(errno.EACCES, "Permission denied"), ValueError("no"), SlideError("damaged")])
def test_other_errors_are_not_taken_for_a_full_disk(other: Exception) -> None:
    assert full_disk(other) is None


def test_writing_past_a_limit_names_the_file_and_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with file_size_limit(1000), pytest.raises(DiskError) as caught, writing(path):
        path.write_bytes(bytes(2000))
    assert str(caught.value) == (
        f"{path}: could not be written, the file-size limit is met. Nothing that was there before has changed; "
        "make room (or choose another place with -o) and run the same command again."
    )


def test_writing_leaves_other_errors_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writing(tmp_path):
        (tmp_path / "no folder" / "file").write_bytes(b"")
    with pytest.raises(ConfigError) as caught, writing(tmp_path):
        raise ConfigError("a setting is wrong. Mend it.")
    assert str(caught.value) == "a setting is wrong. Mend it."


def test_a_near_word_is_offered_and_a_far_one_is_not() -> None:
    assert did_you_mean("fold", ["draws", "folds"]) == " Did you mean 'folds'?"
    assert did_you_mean("xyz", ["draws", "folds"]) == ""
