"""``review.csv`` has every tile, and comes back filled in, as spreadsheets save it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.decided import decided
from w2wpath.errors import ReviewError
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, UNDECIDED, Decisions
from w2wpath.w2wnet.review import COLUMNS, label_name, on_other_labels, read_verdicts_csv, tile_uuid, write_review_csv
from w2wpath.w2wnet.verdicts import Verdict, ids_of


@pytest.fixture
def table(store: TileStore) -> TileTable:
    return store.table()


@pytest.fixture
def decisions(table: TileTable) -> Decisions:
    i = np.arange(table.n)
    return decided(table, {}, state=i % 3, reason=i % 3, score=i / table.n, u=np.where(i % 4 == 0, np.nan, 0.25))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_the_review_lists_undecided_then_excluded_then_kept_by_falling_score(
    table: TileTable, decisions: Decisions, tmp_path: Path
) -> None:
    write_review_csv(tmp_path / "review.csv", table, decisions)
    rows = rows_of(tmp_path / "review.csv")
    assert (tmp_path / "review.csv").read_bytes().startswith(b"\xef\xbb\xbftile_id,")  # Excel knows UTF-8 by it
    assert ",".join(rows[0]) == (
        "tile_id,slide,patient,x0,y0,side0,label,state,reason,says,score,label_severity,uncertain_severity,"
        "focus_severity,background_severity,colour_severity,u,flag,fold,verdict,class"
    )
    falling = np.argsort(-decisions.score, kind="stable")
    order = [i for state in (UNDECIDED, EXCLUDED, KEPT) for i in falling if decisions.state[i] == state]
    assert [row["tile_id"] for row in rows] == [str(tile_uuid(table, i)) for i in order]
    i, row = order[1], rows[1]
    assert row == {
        "tile_id": str(tile_uuid(table, i)),
        "slide": table.slides[table.slide[i]],
        "patient": table.patients[table.patient[i]],
        "x0": str(table.x0[i]),
        "y0": "0",
        "side0": "32",
        "label": label_name(table, i),
        "state": "undecided",
        "reason": "uncertain",
        "says": label_name(table, i),
        "score": f"{decisions.score[i]:.4f}",
        "label_severity": f"{decisions.score[i]:.4f}",
        **{f"{kind}_severity": "0.0000" for kind in ("uncertain", "focus", "background", "colour")},
        "u": "0.2500" if i % 4 else "",
        "flag": "",
        "fold": "1",
        "verdict": "",
        "class": "",
    }


def filled(path: Path, table: TileTable, answers: dict[int, tuple[str, str]], sep: str = ",", bom: str = "") -> Path:
    """Fill verdicts into a written review.csv and save it as a spreadsheet would."""
    rows = rows_of(path)
    ids = {str(tile_uuid(table, i)): answer for i, answer in answers.items()}
    lines = [sep.join(COLUMNS)]
    for row in rows:
        row["verdict"], row["class"] = ids.get(row["tile_id"], ("", ""))
        lines.append(sep.join(row.values()))
    path.write_text(bom + "\r\n".join(lines) + "\r\n", "utf-8", newline="")
    return path


@pytest.mark.parametrize("sep", [",", ";", "\t"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_what_a_spreadsheet_saves_comes_back(
    table: TileTable, decisions: Decisions, tmp_path: Path, sep: str, bom: str
) -> None:
    write_review_csv(tmp_path / "review.csv", table, decisions)
    label = [label_name(table, i) for i in range(4)]
    other = next(name for name in table.classes if name != label[2])
    answers = {0: ("Keep", ""), 1: (" EXCLUDE ", ""), 2: ("relabel", other.upper()), 3: ("relabel", label[3])}
    found = read_verdicts_csv(filled(tmp_path / "review.csv", table, answers, sep, bom), table)
    ids = ids_of(table)
    assert set(found.verdicts) == {
        Verdict(ids[0], "keep", "", label[0]),
        Verdict(ids[1], "exclude", "", label[1]),
        Verdict(ids[2], "relabel", other, label[2]),
        Verdict(ids[3], "keep", "", label[3]),
    }
    assert (found.audit, found.counts()) == ("", {"keep": 2, "exclude": 1, "relabel": 1})


def test_three_columns_suffice_and_a_label_in_the_file_is_what_was_judged(table: TileTable, tmp_path: Path) -> None:
    path, own = tmp_path / "v.csv", tile_uuid(table, 0)
    path.write_text(f"tile_id,verdict,class\n{own},keep,\n,,\n")
    assert read_verdicts_csv(path, table).verdicts == (Verdict(own.bytes, "keep", "", label_name(table, 0)),)
    assert label_name(table, 0) == "blue"
    path.write_text(f"tile_id,label,verdict,class\n{own},RED,keep,\n")
    (found,) = read_verdicts_csv(path, table).verdicts
    assert found == Verdict(own.bytes, "keep", "", "red")
    assert on_other_labels([found], table) == 1
    path.write_text(f"tile_id,label,verdict,class\n{own},Blue,keep,\n")
    assert on_other_labels(read_verdicts_csv(path, table).verdicts, table) == 0
    path.write_text(f"tile_id,label,verdict,class\n{own},violet,keep,\n")
    with pytest.raises(ReviewError) as caught:
        read_verdicts_csv(path, table)
    assert str(caught.value) == (
        f"{path}: line 2: label 'violet' is not one of blue, green, red. Leave the column label as it was written; "
        "if classes have changed since, export the review again."
    )


NO_TILE = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["x,keep,"], ": line 2: 'x' is no tile id. Leave the column tile_id as it was written."),
        ([f"{NO_TILE},keep,"], f": line 2: tile {NO_TILE} is not in the store. Import it where it was exported."),
        (
            [",,", "ID,kep,"],
            ": line 3: verdict must be one of keep, exclude, relabel; got 'kep'. Did you mean 'keep'?",
        ),
        (["ID,relabel,gren"], ": line 2: class 'gren' is not one of blue, green, red. Did you mean 'green'?"),
        (["ID,relabel,"], ": line 2: relabel needs a class. Write one of blue, green, red into column class."),
        (
            ["ID,exclude,OTHER"],
            ": line 2: exclude takes no class, got 'OTHER'. Write relabel, or leave the class empty.",
        ),
        (["ID,keep,", "ID,exclude,"], ": line 3: tile ID has another verdict above. Leave one of them."),
        ([",,", "ID,,gren"], ": line 3: has a class and no verdict. Write relabel, or leave the class empty."),
        (["ID,keep,a,b"], ": line 2: has more cells than columns. Quote the text in it."),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(table: TileTable, tmp_path: Path, lines: list[str], said: str) -> None:
    own, path = str(tile_uuid(table, 0)), tmp_path / "review.csv"
    path.write_text("\n".join(["tile_id,verdict,class", *lines, ""]).replace("ID", own))
    with pytest.raises(ReviewError) as caught:
        read_verdicts_csv(path, table)
    assert str(caught.value) == f"{path}{said.replace('ID', own)}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"tile_id,label\n", "has no column verdict, class. Give a CSV with tile_id, verdict, class."),
        (b"tile_id,Verdict,class,verdict\n", "has column verdict more than once. Leave one of them."),
        (b"", "has no column tile_id, verdict, class. Give a CSV with tile_id, verdict, class."),
        (
            b"tile_id,verdict,class\n\xff",
            "not a readable CSV ('utf-8' codec can't decode byte 0xff in position 22: invalid start byte). "
            "Save it as CSV in UTF-8.",
        ),
        (
            b'tile_id,verdict,class\n"x,keep,\n',
            "not a readable CSV (unexpected end of data). Save it as CSV in UTF-8.",
        ),
    ],
)
def test_what_is_no_table_of_verdicts_is_refused(table: TileTable, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "v.csv").write_bytes(content)
    with pytest.raises(ReviewError) as caught:
        read_verdicts_csv(tmp_path / "v.csv", table)
    assert str(caught.value) == f"{tmp_path / 'v.csv'}: {said}"


def test_a_file_that_is_not_there_is_an_error_in_words(table: TileTable, tmp_path: Path) -> None:
    with pytest.raises(ReviewError) as caught:
        read_verdicts_csv(tmp_path / "none.csv", table)
    assert str(caught.value) == f"{tmp_path / 'none.csv'}: no such file. Check the path."
