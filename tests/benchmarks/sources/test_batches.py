"""Python batches are read without running a thing that they ask for."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.sources.files import refusal
from w2wpath.benchmarks.sources import batches
from w2wpath.benchmarks.sources.batches import MOST_TUPLES, read_batch

ROWS = np.random.default_rng(0).integers(0, 256, (3, 7), dtype=np.uint8)


def dump(array: np.ndarray = ROWS, protocol: int = 2) -> bytes:
    return pickle.dumps({b"data": array, b"labels": [1, 2, 3], "text": "é"}, protocol=protocol)


class Asks:
    """A pickle of it calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"], ids=["old name", "new name"])
def test_a_batch_is_read_as_written(protocol: int, core: bytes) -> None:
    written = dump(protocol=protocol)
    if protocol < 4:  # later ones give the length of the name
        written = written.replace(b"numpy._core", core)
    batch = read_batch(written, "b")
    assert np.array_equal(batch[b"data"], ROWS)
    assert (batch[b"data"].dtype, batch[b"labels"]) == (np.uint8, [1, 2, 3])


def test_a_batch_of_python_2_is_read() -> None:
    """Strings of bytes and no codecs, as Python 2 wrote; put together by hand, since Python 3 writes none."""
    data = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\0\x85U\x01b\x87R"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\x05(U\x02u1K\0K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
        b"\x89U\x06abcdeftbU\x06labels](K\x06K\x09eu."
    )
    assert pickle.loads(data, encoding="bytes")[b"data"].tolist() == [[97, 98, 99], [100, 101, 102]]
    batch = read_batch(data, "b")
    assert batch[b"data"].tolist() == [[97, 98, 99], [100, 101, 102]]
    assert batch[b"labels"] == [6, 9]


def test_an_array_by_column_keeps_its_rows() -> None:
    assert np.array_equal(read_batch(dump(np.asfortranarray(ROWS)), "b")[b"data"], ROWS)


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    sprung = tmp_path / "sprung"
    data = pickle.dumps({b"labels": [3], b"data": Asks(os.mkdir, str(sprung))}, protocol=protocol)
    assert refused(data) == f"{os.mkdir.__module__}.mkdir"
    assert not sprung.exists()
    pickle.loads(data)
    assert sprung.exists(), "the pickle is harmless, so the test shows nothing"


def refused(data: bytes) -> str:
    """The global that is said to be refused, in a message that is otherwise as it should be."""
    before, after = (
        "batch: asks for ",
        ", which no file of CIFAR-10 needs; nothing in it was run. Get the file from its official page.",
    )
    said = refusal(lambda: read_batch(data, "batch"))
    assert said == before + said[len(before) : -len(after)] + after
    return said[len(before) : -len(after)]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("__builtin__", "eval"),  # Python 3 takes this for builtins
        ("numpy", "load"),
        ("numpy", "dtype.__class__"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy.core.multiarray", "scalar"),
        ("_codecs", "decode"),
        ("w2wpath.benchmarks.sources.batches", "Kept"),
    ],
)
def test_every_other_name_is_refused(module: str, name: str) -> None:
    for data in (
        f"c{module}\n{name}\n.".encode(),
        pickle.PROTO + b"\x04" + b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, name)) + b"\x93.",
        f"(i{module}\n{name}\n.".encode(),
    ):
        assert refused(data) in (f"{module}.{name}", f"builtins.{name}")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "pickle exhausted before seeing STOP"),
        (dump()[:-1], "pickle exhausted before seeing STOP"),
        (dump()[:100], None),
        (dump() + b".", "it goes on after its end"),
        (b"<html>", None),
        (b"\x80\x02](K\x01e.", "it holds no dictionary"),
        (b"\x80\x02U\x01xQ.", "it refers to something outside the file"),
        (b"\x80\x02}r\xff\xff\xff\xff.", "it keeps something at a place beyond its size"),
        (b"}p99999999999\n.", "it keeps something at a place beyond its size"),
        (b"\x80\x02}" + b")" + b"\x85" * (MOST_TUPLES + 1) + b"0.", f"it holds more than {MOST_TUPLES} tuples"),
        (dump(ROWS.astype(np.int64)), "its array is not of bytes"),
        (dump(np.array([object()], dtype=object)), None),
        (dump().replace(b"K\x03K\x07\x86", b"K\x03K\x09\x86"), "its array has another size than its shape says"),
        (b"\x80\x02}U\x04datacnumpy\ndtype\n)Rs.", "cannot unpack non-iterable NoneType object"),
        (b"\x80\x02}U\x04dataccopyreg\n", None),
    ],
    ids=[
        "empty", "no end", "cut short", "trailing", "a page", "a list", "outside", "far memo", "far memo in text",
        "tuples", "wide numbers", "objects", "shape", "no state", "half a name",
    ],
)  # fmt: skip
def test_what_is_no_batch_is_refused(data: bytes, why: str | None) -> None:
    said = refusal(lambda: read_batch(data, "batch"))
    if why is None:
        assert said.startswith("batch: ")
    else:
        assert said == f"batch: is not a batch of CIFAR-10 ({why}). Get the file again."


def test_a_batch_that_is_far_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("w2wpath.benchmarks.sources.batches.MOST_BYTES", 100)
    assert refusal(lambda: read_batch(dump(), "batch")) == (
        "batch: is larger than 100 bytes, an official batch has 31 MB. Get it again."
    )


def test_tuples_as_deep_as_allowed_do_not_overflow_the_stack() -> None:
    code = (
        "from w2wpath.benchmarks.sources.batches import MOST_TUPLES, read_batch\n"
        "read_batch(b'\\x80\\x02})' + b'\\x85' * MOST_TUPLES + b'Ns.', 'b')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_text_that_is_encoded_over_and_over_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "MOST_BYTES", 10_000)
    call = b"c_codecs\nencode\nq\x00"
    text = b"X" + (900).to_bytes(4, "little") + b"a" * 900 + b"q\x01"
    data = pickle.PROTO + b"\x02]" + call + b"0" + text + b"0" + (b"h\x00h\x01\x85Ra" * 20) + b"."
    assert len(data) < 10_000
    assert refusal(lambda: read_batch(data, "batch")) == (
        "batch: is not a batch of CIFAR-10 (its texts come to more than 10000 bytes). Get the file again."
    )


@given(cut=st.integers(0, 300), put=st.binary(max_size=6))
def test_a_batch_with_other_bytes_in_it_is_read_or_clearly_refused(cut: int, put: bytes) -> None:
    whole = dump()
    data = whole[:cut] + put + whole[cut + len(put) :]
    try:
        read_batch(data, "batch")
    except Exception:
        assert refusal(lambda: read_batch(data, "batch")).startswith("batch: ")


def test_one_pickle_cannot_change_what_the_next_is_given() -> None:
    """BUILD sets attributes of whatever is on the stack, functions too."""
    spoil = b"\x80\x02}U\x01xc_codecs\nencode\nN}X\x0c\0\0\0__defaults__)s\x86bs."
    read_batch(spoil, "batch")
    assert np.array_equal(read_batch(dump(), "batch")[b"data"], ROWS)
