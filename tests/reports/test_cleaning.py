"""The report of a run: nothing in it escapes or is fetched, and it says what was decided."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import file_size_limit
from tests.decided import decided
from tests.reports.conftest import CLASSES, PATIENTS, RUN, SLIDES, made_decisions, made_store, with_states
from tests.w2wnet.conftest import add_slide, new_store
from w2wpath.errors import DiskError
from w2wpath.reports.cleaning import risk_curves, write_report
from w2wpath.reports.cleaning_galleries import GALLERY, choose
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, Decisions

OUR_TAGS = {
    *("html", "head", "meta", "title", "link", "style", "script", "body", "header", "nav", "main", "section"),
    *("h1", "h2", "h3", "p", "strong", "b", "code", "em", "i", "kbd", "br", "a", "ul", "ol", "li", "dl", "dt", "dd"),
    *("div", "span", "table", "caption", "thead", "tbody", "tr", "th", "td", "figure", "img", "figcaption"),
    *("button", "dialog", "details", "summary"),
}


class Seen(HTMLParser):
    """Collects tags, addresses, warnings, and the titles of galleries."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.addresses: list[str] = []
        self.body: dict[str, str | None] = {}
        self.titles: list[str] = []
        self.warnings: list[str] = []
        self.text = ""
        self._into: list[str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag == "body":
            self.body = values
        into = {"h3": self.titles, "p": self.warnings if values.get("class") == "warn" and len(attrs) == 1 else None}
        self._into = into.get(tag)
        if self._into is not None:
            self._into.append("")

    def handle_endtag(self, tag: str) -> None:
        self._into = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._into is not None:
            self._into[-1] += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the made run."""
    folder = tmp_path_factory.mktemp("report")
    store = made_store(folder / "tiles.zarr")
    return written(folder, store, made_decisions(store))


def written(folder: Path, store: TileStore, decisions: Decisions) -> str:
    path = write_report(folder, store, store.table(), decisions)
    assert path == folder / "report.html"
    return path.read_text("utf-8")


def having(decisions: Decisions, **facts: Any) -> Decisions:
    return replace(decisions, about={**decisions.about, **facts})


def flat(text: str) -> str:
    return " ".join(text.split())


def test_no_name_breaks_out_of_the_page(page: str) -> None:
    seen = Seen(page)
    assert set(seen.tags) <= OUR_TAGS
    assert seen.handlers == []
    assert page.count("<script") == seen.tags.count("script") == 1
    assert "alert(1)</" not in page
    assert '<b>"A"' not in page
    assert seen.body["data-classes"] == (
        '["\\u003cb\\u003e\\"A\\" \\u0026 B\\u003c/b\\u003e", "Tumor, \\u0027solid\\u0027"]'
    )


def test_every_name_can_be_read_as_it_was_given(page: str) -> None:
    text = Seen(page).text
    for name in (*CLASSES, *PATIENTS, *SLIDES, RUN, "tiles.zarr", "<i>odd</i>", "<u>net</u>", "<s>2</s>"):
        assert name in text


def test_the_page_fetches_nothing(page: str) -> None:
    assert re.findall(r"https?:", page) == []
    assert "url(" not in page
    assert "@import" not in page
    addresses = Seen(page).addresses
    assert len(addresses) > 10
    assert [address for address in addresses if not address.startswith(("data:", "#"))] == []
    assert re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page) == [
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    ]


def test_galleries_that_have_tiles_are_shown_with_their_numbers(
    page: str, store: TileStore, decisions: Decisions
) -> None:
    counted = {title: len(rows) for title, rows in choose(store.table(), decisions).items()}
    assert [title for title, n in counted.items() if not n] == [
        "Stale: the label was changed after the tile was judged"
    ]
    expected = [f"{title} ({n})" for title, n in counted.items() if n]
    assert Seen(page).titles == ["What to do next", *expected, "Doubt about unseen patients"]


def test_a_long_gallery_says_that_it_is_a_choice(tmp_path: Path) -> None:
    store, n = new_store(tmp_path / "tiles.zarr"), GALLERY + 12
    add_slide(store, "s", np.zeros(n, dtype=int), np.arange(n) % 2, ["p"])
    stop = {"reason": "max_epochs", "epoch": 1, "deltas": [0.0], "stds": [None]}
    about = {
        "folds": [{"fold": 0, "stop": stop, "threshold": 0.2, "test_accuracy": float("nan")}],
        "settings": {"std_below": 0.01, "track_every": 1},
        "versions": {},
    }
    page = written(tmp_path, store, decided(store.table(), about, run=RUN, score=0.5))
    assert f"Kept, but nearest to being set aside ({n}, the {GALLERY} with the highest score)" in Seen(page).titles
    assert page.count('<figure class="tile"') == GALLERY


def test_warnings_stand_in_the_page(store: TileStore, decisions: Decisions, tmp_path: Path) -> None:
    table = store.table()
    of_script = table.patient == table.patients.index("<script>alert(1)</script>")
    state = np.where(of_script & (table.label >= 0), EXCLUDED, KEPT)
    page = written(tmp_path, store, with_states(decisions, state))
    says = "10 of 10 tiles excluded, more than half of them. Look at them."
    assert Seen(page).warnings == [f"patient <script>alert(1)</script>: {says}", f"slide {SLIDES[0]}: {says}"]


def test_what_stopped_the_run_stands_on_top(store: TileStore, decisions: Decisions, tmp_path: Path, page: str) -> None:
    assert 'role="alert"' not in page
    stopped = written(tmp_path, store, having(decisions, stopped=["class <q>: 6 of 10 excluded", "patient z"]))
    alert = stopped[stopped.index('role="alert"') : stopped.index('id="summary"')]
    assert "<li>class &lt;q&gt;: 6 of 10 excluded</li><li>patient z</li>" in alert
    assert "No decision was written." in alert
    assert "--force" in alert
    assert "--force" not in page[: page.index('id="who"')]


def test_the_summary_counts_and_names_states(page: str, decisions: Decisions) -> None:
    counts = decisions.counts()
    text = flat(Seen(page).text)
    assert (
        f"26 labelled tiles of 2 patients on 2 slides were looked at: {counts['kept']} kept, "
        f"{counts['excluded']} set aside, {counts['undecided']} undecided. Nothing was deleted."
    ) in text
    assert "13 tiles carry no label" in text
    assert f"w2wpath review import review-{RUN}.csv" in text


def test_controls_and_duplicates_are_told_of_where_there_are_any(
    store: TileStore, decisions: Decisions, tmp_path: Path, page: str
) -> None:
    assert "Planted controls" not in page
    assert "Duplicates" not in page
    controls = {"flip": {"planted": 30, "found": 24, "low": 0.627, "high": 0.905}}
    groups = [{"hash": "aa", "tiles": [["<s>1</s>", 0, 64, "p1"], ["s2", 128, 0, "p2"]]}]
    made = having(decisions, controls=controls, duplicates=groups, duplicate_tiles=2)
    text = flat(Seen(written(tmp_path, store, made)).text)
    assert "how many of them were found: of these kinds only. It says nothing of other faults." in text
    assert "They were made from your own tiles, some of which may be faulty themselves." in text
    assert "2 tiles are the same image, pixel for pixel, as a tile of another patient." in text
    assert "<s>1</s>" in text


def test_the_stop_is_explained_by_the_rule_that_was_used(
    store: TileStore, decisions: Decisions, tmp_path: Path, page: str
) -> None:
    says = "training stops when {} (below the dashed limit)"
    assert says.format("the median of delta no longer changes") in flat(Seen(page).text)
    made = having(decisions, settings={**decisions.about["settings"], "stop_rule": "membership"})
    text = flat(Seen(written(tmp_path, store, made)).text)
    assert says.format("hardly any tile changes group any more") in text


def test_networks_that_learned_nothing_are_told_first(store: TileStore, decisions: Decisions, tmp_path: Path) -> None:
    folds = [{**fold, "stop": {**fold["stop"], "reason": "degenerate"}} for fold in decisions.about["folds"]]
    text = flat(Seen(written(tmp_path, store, having(decisions, folds=folds))).text)
    assert "no network learned anything, so nothing was judged: that no tile is set aside says nothing about" in text
    assert "Clean again: this run says nothing of your tiles." in text
    assert "No network learned enough to judge them." in text
    assert "stands out" not in text
    assert "found nothing wrong" not in text


def test_risk_is_of_all_judged_tiles_and_of_those_that_are_not_set_aside(decisions: Decisions) -> None:
    curves = risk_curves(decisions)
    wrong = decisions.predicted != decisions.label
    stay = decisions.judged & (decisions.state != EXCLUDED)
    assert list(curves) == ["all tiles", "without those set aside"]
    for curve, mask in zip(curves.values(), (decisions.judged, stay), strict=True):
        assert (len(curve.risk_m), curve.coverage_m[-1]) == (len(np.unique(decisions.u[mask])), 1.0)
        assert (curve.risk_m[-1], curve.risk) == (pytest.approx(wrong[mask].mean()), pytest.approx(wrong[mask].mean()))
        surest = np.argsort(decisions.u[mask], kind="stable")[: round(0.8 * mask.sum())]
        assert curve.risk_at_80 == pytest.approx(wrong[mask][surest].mean(), abs=1.0 / mask.sum())
        assert 0.0 <= curve.aurc <= 1.0


def test_a_full_disk_leaves_the_earlier_report(store: TileStore, decisions: Decisions, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("earlier", "utf-8")
    (tmp_path / "review.csv").write_text("", "utf-8")
    with file_size_limit(20_000), pytest.raises(DiskError) as caught:
        write_report(tmp_path, store, store.table(), decisions)
    assert str(caught.value) == (
        f"{tmp_path / 'report.html'}: could not be written, the file-size limit is met. Nothing that was there before "
        "has changed; make room (or choose another place with -o) and run the same command again."
    )
    assert (tmp_path / "report.html").read_text("utf-8") == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "review.csv", "tiles.zarr"]


def test_the_page_begins_as_a_page(store: TileStore, decisions: Decisions, tmp_path: Path) -> None:
    page = write_report(tmp_path, store, store.table(), decisions).read_text("utf-8")
    assert page.startswith("<!doctype html>\n<html lang=")
