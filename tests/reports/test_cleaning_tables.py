"""Who was set aside is counted by name, and only what stands out is warned of."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.reports.conftest import PATIENTS, with_states
from w2wpath.reports.cleaning_tables import (
    Cell,
    Share,
    count,
    excluded_by,
    number,
    patient_table,
    percent,
    reason_table,
    share_table,
    warnings_of,
)
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, REASONS, UNDECIDED, Decisions


@pytest.mark.parametrize("what", ["patient", "slide", "class"])
def test_shares_are_counted_by_name(store: TileStore, decisions: Decisions, what: str) -> None:
    table = store.table()
    code, names = {
        "patient": (table.patient, table.patients),
        "slide": (table.slide, table.slides),
        "class": (table.label, table.classes),
    }[what]
    found = excluded_by(decisions, code, names)
    out, judged = decisions.state == EXCLUDED, table.label >= 0
    assert [share.name for share in found] == list(names)
    for share in found:
        mine = code == names.index(share.name)
        assert (share.judged, share.excluded) == (int((mine & judged).sum()), int((mine & judged & out).sum()))
    assert found[0].cells() == [names[0], found[0].judged, found[0].excluded, f"{found[0].share:.1%}"]


@pytest.mark.parametrize(
    ("excluded", "says"),
    [(4, ""), (5, "over twice the overall share of 20.0%"), (6, "more than half of them")],
)
def test_only_more_than_twice_the_overall_share_or_half_is_warned_of(
    decisions: Decisions, excluded: int, says: str
) -> None:
    # 10 of 40 judged tiles belong to the first name; all lose 8 together
    code = np.repeat([0, 1], [10, 30])
    state = np.zeros(40, dtype=np.uint8)
    state[:excluded] = EXCLUDED
    state[10 : 10 + 8 - excluded] = EXCLUDED
    made = replace(decisions, state=state, label=np.zeros(40, dtype=np.int16))
    first, second = excluded_by(made, code, ["first", "second"], "patient")
    text = f"patient first: {excluded} of 10 tiles excluded, {says}. Look at them." if says else ""
    assert (first, second.warning) == (Share("first", 10, excluded, text), "")


def test_more_than_half_is_warned_of_where_twice_the_overall_share_is_more(decisions: Decisions) -> None:
    code = np.repeat([0, 1], [20, 20])
    state = np.repeat([EXCLUDED, KEPT, EXCLUDED, KEPT], [11, 9, 8, 12])
    made = replace(with_states(decisions, state), label=np.zeros(40, dtype=np.int16))
    first, second = excluded_by(made, code, ["first", "second"])
    assert first.warning == "first: 11 of 20 tiles excluded, more than half of them. Look at them."
    assert second.warning == ""


def test_a_name_with_few_tiles_is_never_warned_of_and_one_without_is_left_out(decisions: Decisions) -> None:
    code = np.repeat([0, 1], [9, 31])
    state = np.where(code == 0, EXCLUDED, KEPT)
    made = replace(with_states(decisions, state), label=np.zeros(40, dtype=np.int16))
    assert excluded_by(made, code, ["few", "many", "none"]) == [Share("few", 9, 9, ""), Share("many", 31, 0, "")]


def test_where_nothing_was_judged_nothing_is_counted(decisions: Decisions) -> None:
    made = replace(decisions, label=np.full(39, -1, dtype=np.int16))
    assert excluded_by(made, np.zeros(39, dtype=int), ["all"]) == []


def test_a_slide_that_is_its_patients_only_one_is_warned_of_once() -> None:
    patients = [Share("a", 20, 15, "patient a"), Share("b", 20, 1, "")]
    slides = [Share("a", 20, 15, "slide a"), Share("c", 20, 15, "slide c")]
    assert warnings_of(patients, slides) == ["patient a", "slide c"]


def test_cells_sort_by_their_number_and_show_a_dash_where_there_is_none() -> None:
    assert (count(12345), percent(0.0), number(0.25)) == (
        Cell("12,345", 12345.0),
        Cell("0.0%", 0.0),
        Cell("0.250", 0.25),
    )
    for cell in (number(None), number(math.nan), percent(None), percent(math.nan)):
        assert cell.text == "–"
        assert cell.value is not None
        assert math.isnan(cell.value)


def test_shares_are_tabulated_in_the_order_given() -> None:
    table = share_table("Slide", [Share("b", 10, 1, ""), Share("a", 10, 5, "w")])
    assert (table.caption, table.head) == ("By slide", ("Slide", "Tiles", "Set aside", "Share"))
    assert [[cell.text for cell in row] for row in table.rows] == [["b", "10", "1", "10.0%"], ["a", "10", "5", "50.0%"]]


def test_reasons_are_counted_among_the_judged_tiles_that_were_excluded(decisions: Decisions) -> None:
    out = decisions.judged & (decisions.state == EXCLUDED)
    counted = [
        int((out & (decisions.reason == REASONS.index(name))).sum())
        for name in (*REASONS[1:3], *REASONS[5:8], "review")
    ]
    rows = reason_table(decisions).rows
    assert [row[1].value for row in rows] == counted
    assert sum(counted) == out.sum()
    assert [row[2].text for row in rows] == [f"{n / 26:.1%}" for n in counted]
    assert [row[0].text for row in rows][:3] == [
        "the networks read another class",
        "the networks are not sure",
        "out of focus",
    ]


def test_a_patients_row_says_how_networks_fare_that_never_saw_it(store: TileStore, decisions: Decisions) -> None:
    table = store.table()
    unseen = np.zeros((table.n, 4), dtype=np.float32)
    unseen[::4, 1] = 2.0
    made = replace(decisions, unseen=unseen)
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in patient_table(made, table).rows}
    assert set(rows) == set(PATIENTS)
    for code, name in enumerate(table.patients):
        mine = made.judged & (table.patient == code)
        assert rows[name] == [
            str(mine.sum()),
            *(str((made.state[mine] == state).sum()) for state in (KEPT, UNDECIDED, EXCLUDED)),
            f"{(made.state[mine] == EXCLUDED).mean():.1%}",
            f"{(made.predicted[mine] == table.label[mine]).mean():.1%}",
            f"{made.u[mine].mean():.3f}",
            f"{(made.flag[mine] > 0).mean():.1%}",
        ]
        assert 0 < (made.flag[mine] > 0).mean() < 1


def test_a_patient_without_judged_tiles_has_no_row(store: TileStore, decisions: Decisions) -> None:
    table = store.table()
    made = replace(decisions, label=np.where(table.patient == 0, -1, table.label).astype(np.int16))
    assert [row[0].text for row in patient_table(made, table).rows] == [table.patients[1]]
