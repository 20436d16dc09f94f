"""An audit is blinded, drawn at random, and its numbers are those of the verdicts."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.decided import decided
from w2wpath.errors import ReviewError
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.audit import HEADER, SOURCE, draw_audit, score_audit, sensitivity, write_audit, write_key
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, UNDECIDED, Decisions
from w2wpath.w2wnet.metrics import Estimate
from w2wpath.w2wnet.review import read_verdicts_csv
from w2wpath.w2wnet.review_qupath import read_verdicts_qupath, write_review_qupath
from w2wpath.w2wnet.verdicts import append_verdicts, undo_batch

BLIND = {"kept", "excluded", "undecided", "score", "state", "reason"}


def cleaned(table: TileTable, excluded: int) -> Decisions:
    """Decisions that exclude the first tiles and keep the others, the last undecided."""
    state = np.where(np.arange(table.n) < excluded, EXCLUDED, KEPT)
    state[-1] = 2
    return decided(table, {}, state=state, score=np.linspace(2, 0, table.n))


@pytest.mark.parametrize(
    ("n", "excluded", "drawn"),
    [(20, 30, (10, 10)), (21, 30, (10, 11)), (20, 4, (4, 16)), (20, 85, (15, 5)), (500, 30, (30, 60)), (1, 30, (0, 1))],
)
def test_half_of_each_is_drawn_or_more_where_one_has_too_few(
    store: TileStore, n: int, excluded: int, drawn: tuple[int, int]
) -> None:
    decisions = cleaned(store.table(), excluded)
    audit = draw_audit(decisions, "a", n, 0)
    assert tuple(audit.drawn().values()) == drawn
    assert len(set(audit.rows.tolist())) == sum(drawn)
    assert audit.population == {"excluded": excluded, "kept": 90 - excluded}  # the undecided one is trained with
    names = {EXCLUDED: "excluded", KEPT: "kept", UNDECIDED: "kept"}
    assert [names[decisions.state[i]] for i in audit.rows] == list(audit.stratum)


def test_a_seed_draws_the_same_tiles_and_the_order_is_mixed(store: TileStore) -> None:
    decisions = cleaned(store.table(), 30)
    one, same, other = (draw_audit(decisions, "a", 40, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.rows, same.rows)
    assert not np.array_equal(one.rows, other.rows)
    assert one.stratum != tuple(sorted(one.stratum))


def test_every_tile_of_a_stratum_is_as_likely(store: TileStore) -> None:
    decisions = cleaned(store.table(), 30)
    times = np.zeros(90)
    for seed in range(600):
        times[draw_audit(decisions, "a", 20, seed).rows] += 1
    # 200 +- 6 SE of the excluded, 100 of the others
    assert np.abs(times[:30] - 200).max() < 6 * np.sqrt(600 * (1 / 3) * (2 / 3))
    assert np.abs(times[30:] - 100).max() < 6 * np.sqrt(600 * (1 / 6) * (5 / 6))


def test_nothing_to_audit_is_an_error_in_words(store: TileStore) -> None:
    table = store.table()
    with pytest.raises(ReviewError) as caught:
        draw_audit(replace(decided(table, {}), label=np.full(table.n, -1, dtype=np.int16)), "a", 10, 0)
    assert str(caught.value) == "run 20260101T000000Z-aaaaaa: has no tile to audit. Run `w2wpath clean` again."


def test_the_reader_sees_nothing_of_what_was_decided(store: TileStore, tmp_path: Path) -> None:
    table = store.table()
    audit = draw_audit(cleaned(table, 30), "a1", 20, 0)
    out = tmp_path / "out"
    out.mkdir()
    write_audit(out / "audit.csv", table, audit)
    files = write_review_qupath(out, store, table, audit.rows, run=audit.run, audit="a1")
    with (out / "audit.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == HEADER
    assert len(rows) == 21
    for path in out.iterdir():
        assert not {word for word in BLIND if word in path.read_text()}, path
    for path in files:
        assert {str(f["properties"]["measurements"]) for f in json.loads(path.read_text())["features"]} == {"{}"}


def test_an_audit_is_scored_from_its_own_verdicts(store: TileStore, tmp_path: Path) -> None:
    table = store.table()
    audit = draw_audit(cleaned(table, 30), "a1", 20, 0)
    write_audit(tmp_path / "audit.csv", table, audit)
    write_key(tmp_path / "audit-a1.json", table, audit)
    key = json.loads((tmp_path / "audit-a1.json").read_text())
    assert key["strata"] == {
        "excluded": {"tiles": 30, "drawn": 10, "weight": 3.0},
        "kept": {"tiles": 60, "drawn": 10, "weight": 6.0},
    }
    with (tmp_path / "audit.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    spurious = {name: iter([True] * many + [False] * 20) for name, many in (("excluded", 7), ("kept", 1))}
    for row in rows[:-1]:  # one is left without an answer
        row["verdict"] = "exclude" if next(spurious[key["tiles"][row["tile_id"]]]) else "keep"
    with (tmp_path / "filled.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER)
        writer.writeheader()
        writer.writerows(rows)
    found = read_verdicts_csv(tmp_path / "filled.csv", table)
    assert found.audit == "a1"
    batch = append_verdicts(store, found.verdicts, who="ann", source=f"{SOURCE}{found.audit}")
    # a later verdict outside of the audit is no part of it
    append_verdicts(store, found.verdicts[:1], who="ben", source="review.csv")
    scored = score_audit(store, tmp_path / "audit-a1.json")
    n = {name: 10 - (key["tiles"][rows[-1]["tile_id"]] == name) for name in ("excluded", "kept")}
    assert (scored.asked, scored.answered) == (20, 19)
    for one, hits, name in ((scored.precision, 7, "excluded"), (scored.missed, 1, "kept")):
        exact = binomtest(hits, n[name]).proportion_ci(0.95, "wilson")
        assert (one.value, one.n) == (hits / n[name], n[name])
        assert (one.low, one.high) == pytest.approx((exact.low, exact.high))
    hits, misses = 30 * 7 / n["excluded"], 60 * 1 / n["kept"]
    assert scored.sensitivity.value == pytest.approx(hits / (hits + misses))
    undo_batch(store, batch, "ann")
    assert score_audit(store, tmp_path / "audit-a1.json").answered == 0


def test_a_sensitivity_lies_between_the_ends_of_both_intervals() -> None:
    found, missed = Estimate(0.8, 0.6, 0.9, 20), Estimate(0.1, 0.05, 0.3, 20)
    one = sensitivity(found, missed, 100, 900)
    assert one.value == pytest.approx(80 / (80 + 90))
    assert one.low == pytest.approx(60 / (60 + 270))
    assert one.high == pytest.approx(90 / (90 + 45))
    nothing = Estimate(float("nan"), float("nan"), float("nan"), 0)
    assert sensitivity(nothing, missed, 0, 900).value == 0.0
    assert np.isnan(sensitivity(nothing, missed, 100, 900).value)


def test_an_audit_goes_through_qupath_too(store: TileStore, tmp_path: Path) -> None:
    table = store.table()
    audit = draw_audit(cleaned(table, 30), "a1", 20, 0)
    files = write_review_qupath(tmp_path, store, table, audit.rows, run=audit.run, audit="a1")
    found = [read_verdicts_qupath(path, table, unchanged="keep") for path in files]
    assert {one.audit for one in found} == {"a1"}
    assert sum(len(one.verdicts) for one in found) == 20


def test_a_damaged_key_is_an_error_in_words(store: TileStore, tmp_path: Path) -> None:
    (tmp_path / "audit-a.json").write_text("{}")
    with pytest.raises(ReviewError) as caught:
        score_audit(store, tmp_path / "audit-a.json")
    assert str(caught.value) == (
        f"{tmp_path / 'audit-a.json'}: the key of the audit cannot be read (parts of it are missing). "
        "Bring it back from a copy."
    )
