"""Truth tables: read for the tiles they name, refused in words when they are not clear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.w2wnet.conftest import CLASSES, planted, shown, write_truth
from w2wpath.errors import TruthError
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.truth import read_truth

HEADER = "slide,x0,y0,content,spurious,kind\n"


def test_a_truth_table_is_read_in_table_order(store: TileStore, tmp_path: Path) -> None:
    table = store.table()
    truth = read_truth(write_truth(tmp_path / "truth.csv", store), table)
    assert truth.known.all()
    assert np.array_equal(truth.spurious, planted(store, table))
    content = shown(store, table)
    assert truth.content.tolist() == ["" if c < 0 else CLASSES[c] for c in content]
    assert set(truth.kind[truth.spurious]) == {"noise", "label"}
    assert set(truth.kind[~truth.spurious]) == {""}


def test_tiles_that_the_table_does_not_name_are_unknown(store: TileStore, tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(HEADER + "s1,32,0,red,1,label\nelsewhere,0,0,red,0,\n", "utf-8")
    truth = read_truth(path, store.table())
    assert np.flatnonzero(truth.known).tolist() == np.flatnonzero(truth.spurious).tolist() == [1]
    assert truth.kind[1] == "label"


def test_a_table_from_a_spreadsheet_is_read(store: TileStore, tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER + "s1,0,0,red,0,\n").replace("\n", "\r\n").encode())
    assert read_truth(path, store.table()).known.sum() == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "slide,x0,y0,content,spurious\n",
            "column 'kind' is missing. Give columns slide, x0, y0, content, spurious, kind.",
            id="column",
        ),
        pytest.param(
            "", "column 'slide' is missing. Give columns slide, x0, y0, content, spurious, kind.", id="empty file"
        ),
        pytest.param(
            HEADER + "s1,0,0,red,0,\ns1,32,0,red,0,\ns1,0,0,red,1,blur\n",
            "line 4: says something else of the tile of s1 at 0, 0 than a line above. Leave one of them.",
            id="two things of one tile",
        ),
        pytest.param(
            HEADER + "s1,1000000,0,red,0,\n",
            "names none of the tiles of this store. Check that they belong together.",
            id="other store",
        ),
        pytest.param(
            HEADER + "s1,0.5,0,red,0,\n",
            "not a readable truth table (invalid literal for int() with base 10: '0.5'). Save it as UTF-8 CSV.",
            id="fraction",
        ),
        pytest.param(
            HEADER + "s1\n",
            "not a readable truth table (invalid literal for int() with base 10: ''). Save it as UTF-8 CSV.",
            id="short row",
        ),
        pytest.param(
            HEADER + "s1,0,0,red,True,label\n",
            "spurious must be 0 or 1; got 'True'. Mend the table.",
            id="other word for spurious",
        ),
    ],
)
def test_an_unclear_table_is_refused_in_words(store: TileStore, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(TruthError) as caught:
        read_truth(path, store.table())
    assert str(caught.value) == f"{path}: {message}"


def test_a_missing_table_is_named(store: TileStore, tmp_path: Path) -> None:
    with pytest.raises(TruthError) as caught:
        read_truth(tmp_path / "no.csv", store.table())
    assert str(caught.value) == f"{tmp_path / 'no.csv'}: no such truth table. Check the path."


def test_a_table_in_another_encoding_is_refused(store: TileStore, tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(HEADER + "s\u00e4ule,0,0,red,0,\n", "latin-1")
    with pytest.raises(TruthError) as caught:
        read_truth(path, store.table())
    assert str(caught.value) == (
        f"{path}: not a readable truth table ('utf-8' codec can't decode byte 0xe4 in position 35: "
        "invalid continuation byte). Save it as UTF-8 CSV."
    )
