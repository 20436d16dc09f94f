"""``w2wpath undo``: says which run counts now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.decided import decided
from tests.w2wnet.conftest import make_store
from w2wpath.cli.main import app
from w2wpath.cli.undo import signer
from w2wpath.errors import RunError
from w2wpath.w2wnet.journal import entries
from w2wpath.w2wnet.ledger import read_decisions, write_decisions

RUNS = ("20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb")


def test_undo_and_redo_say_what_counts(tmp_path: Path) -> None:
    store = make_store(tmp_path / "tiles.zarr", patients=2, per_patient=3)
    table = store.table()
    for run in RUNS:
        write_decisions(store, table, decided(table, {"classes": table.classes}, run=run))

    def undo(*words: str) -> str:
        done = CliRunner().invoke(app, ["undo", *words, "--store", str(store.path)], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    assert undo("--who", "ana") == f"run {RUNS[1]} is undone.\nnewest run that counts: {RUNS[0]}\n"
    assert read_decisions(store, table).run == RUNS[0]
    assert undo(RUNS[0]) == f"run {RUNS[0]} is undone.\nnewest run that counts: none\n"
    assert undo("--redo") == f"run {RUNS[0]} counts again.\nnewest run that counts: {RUNS[0]}\n"
    assert json.loads(undo(RUNS[1], "--redo", "--who", "ben", "--json")) == {
        "run": RUNS[1],
        "undone": False,
        "who": "ben",
        "counting": list(RUNS),
        "not_counting": [],
    }
    assert [one.about["who"] for one in entries(store, "undone")][0::3] == ["ana", "ben"]


def test_an_account_without_a_name_must_say_who(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    assert signer("ana") == "ana"
    with pytest.raises(RunError) as caught:
        signer(None)
    assert str(caught.value) == "who says so is not known: this account has no name. Pass --who."
