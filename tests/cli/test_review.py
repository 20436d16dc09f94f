"""``review`` and ``undo`` as a user calls them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tests.conftest import file_bytes
from tests.decided import decided
from tests.w2wnet.conftest import make_store
from w2wpath.cli.main import app
from w2wpath.errors import ReviewError, RunError
from w2wpath.qupath.check import check_geojson
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, read_decisions, write_decisions

Call = Callable[..., Result]
FIRST, SECOND = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call a command in the test's own folder, whose ``tiles.zarr`` was cleaned twice."""
    monkeypatch.chdir(tmp_path)
    store = make_store(Path("tiles.zarr"))
    table = store.table()
    for run, excluded in ((FIRST, 20), (SECOND, 30)):
        state = np.where(np.arange(table.n) < excluded, EXCLUDED, KEPT)
        about = {"classes": list(table.classes)}
        write_decisions(store, table, decided(table, about, run=run, state=state, score=np.linspace(2, 0, table.n)))
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def decisions_now() -> tuple[str, int]:
    store = TileStore.open("tiles.zarr")
    found = read_decisions(store, store.table())
    return found.run, int((found.state == EXCLUDED).sum())


def said(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, (result.output, result.exception)
    return dict(json.loads(result.stdout))


def fill(path: Path, verdict: Callable[[dict[str, str]], str]) -> None:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["verdict"] = verdict(row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_undo_takes_the_last_run_back_and_again_brings_it_back(call: Call) -> None:
    before = file_bytes(Path("tiles.zarr"))
    assert call("undo", "--who", "ann").stdout.splitlines() == [
        f"run {SECOND}: undone. `w2wpath undo {SECOND}` turns this round.",
        f"Now run {FIRST} holds.",
    ]
    assert decisions_now() == (FIRST, 20)
    assert said(call("undo", SECOND, "--json")) == {
        "store": "tiles.zarr",
        "run": SECOND,
        "undone": False,
        "holds": SECOND,
    }
    assert decisions_now() == (SECOND, 30)
    assert before.items() <= file_bytes(Path("tiles.zarr")).items()
    error = call("undo", "yesterday").exception
    assert isinstance(error, RunError)
    assert str(error) == f"tiles.zarr: has no run 'yesterday'. Its runs are {FIRST}, {SECOND}."


def test_a_review_goes_out_and_comes_back_and_can_be_undone(call: Call) -> None:
    shown = said(call("review", "export", "--most", "10", "--json"))
    assert (shown["run"], shown["doubtful"]) == (SECOND, 10)
    for file in shown["files"]:
        assert check_geojson(Path(file)).faults == ()
    fill(Path("review/review.csv"), lambda row: "Keep" if row["state"] == "excluded" else "")
    done = said(call("review", "import", "review/review.csv", "--who", "ann", "--json"))
    assert done["verdicts"] == {"keep": 30, "exclude": 0, "relabel": 0}
    assert decisions_now() == (SECOND, 0)
    batch = done["batch"]
    assert call("review", "undo", batch).stdout == (
        f"batch {batch}: undone. `w2wpath review undo {batch}` turns this round.\n"
    )
    assert decisions_now() == (SECOND, 30)
    first, second = said(call("review", "list", "--json"))["batches"]
    assert (first["name"], first["who"], first["source"], first["verdicts"], first["counts"]) == (
        batch,
        "ann",
        "review.csv",
        30,
        False,
    )
    assert (second["undoes"], second["verdicts"], second["counts"]) == (batch, 0, True)
    lines = call("review", "list").stdout.splitlines()
    assert [line.split()[-1] for line in lines[2:]] == ["undone", batch]


def test_verdicts_on_labels_that_are_no_longer_those_are_told(call: Call) -> None:
    call("review", "export", "--most", "1")
    path = Path("review/review.csv")
    fill(path, lambda row: "keep" if row["state"] == "excluded" else "")
    text = path.read_text("utf-8").splitlines()
    names = TileStore.open("tiles.zarr").table().classes
    cells = text[1].split(",")
    cells[6] = next(name for name in names if name != cells[6])
    path.write_text("\n".join([text[0], ",".join(cells), *text[2:]]), "utf-8")
    done = call("review", "import", path)
    assert done.stdout.splitlines()[0] == f"{path}: 30 verdicts (keep 30, exclude 0, relabel 0)"
    assert " ".join(done.stderr.split()) == (
        "warning: 1 of them were given on labels that the tiles no longer have. Those tiles are undecided until they "
        "are asked again: w2wpath review export."
    )


def test_a_review_out_of_qupath_comes_back(call: Call) -> None:
    call("review", "export", "--most", "6")
    path = Path("review/s1.review.geojson")
    document = json.loads(path.read_text())
    gone = document["features"].pop(0)["properties"]["metadata"]["tile_id"]
    path.write_text(json.dumps(document))
    done = call("review", "import", path)
    assert done.stdout.splitlines()[0] == f"{path}: 1 verdicts (keep 0, exclude 1, relabel 0)"
    store = TileStore.open("tiles.zarr")
    table = store.table()
    row = [bytes(one).hex() for one in table.tile_id].index(gone.replace("-", ""))
    assert read_decisions(store, table).state[row] == EXCLUDED


def test_an_audit_is_scored_as_it_comes_back(call: Call) -> None:
    shown = said(call("review", "export", "--audit", "20", "--json"))
    assert (shown["run"], shown["excluded"], shown["kept"]) == (SECOND, 10, 10)
    key = json.loads(Path(str(shown["key"])).read_text())
    assert Path(str(shown["key"])) == Path("clean", SECOND, f"audit-{shown['audit']}.json")
    fill(Path("audit/audit.csv"), lambda row: "exclude" if key["tiles"][row["tile_id"]] == "excluded" else "keep")
    lines = call("review", "import", "audit/audit.csv").stdout.splitlines()
    assert (
        lines[2:]
        == call("review", "audit").stdout.splitlines()
        == [
            f"audit {shown['audit']} of run {SECOND}: 20 of 20 tiles have a verdict (95 % intervals)",
            "  spurious among the excluded (precision)  1.000 [0.722, 1.000]  of 10",
            "  spurious among the kept (missed)         0.000 [0.000, 0.278]  of 10",
            "  excluded of all spurious (sensitivity)   1.000 [0.566, 1.000]",
        ]
    )


def test_a_file_without_a_verdict_and_a_folder_that_is_there_are_refused(call: Call) -> None:
    call("review", "export")
    before = file_bytes(Path())
    error = call("review", "import", "review/review.csv").exception
    assert isinstance(error, ReviewError)
    assert str(error) == ("review/review.csv: holds no verdict. Fill in the column verdict, or change tiles in QuPath.")
    error = call("review", "export").exception
    assert isinstance(error, ReviewError)
    assert str(error) == "review: is there already, perhaps with edited files. Choose another folder with -o."
    assert call("review", "import", "x.geojson", "--unchanged", "exclude").exit_code == 2
    assert file_bytes(Path()) == before


def test_what_is_not_there_yet_is_said(call: Call) -> None:
    assert call("review", "list").stdout == "No verdict yet. Begin with `w2wpath review export`.\n"
    assert call("review", "audit").stdout == "No audit yet. Begin one with `w2wpath review export --audit 100`.\n"
