"""The report of a run: nothing in it is executed or fetched, and it shows the tiles that it says."""

from __future__ import annotations

import base64
import csv
import io
import re
import uuid
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import file_bytes, file_size_limit
from tests.decided import decided
from tests.reports.conftest import CLASSES, PATIENTS, PX, RUN, SLIDES, flat_tiles, with_states
from tests.w2wnet.conftest import add_slide, new_store
from w2wpath.errors import DiskError
from w2wpath.reports.cleaning import GALLERY, Share, excluded_by, write_report
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, REASONS, STATES, UNDECIDED, Decisions

OUR_TAGS = {
    *("html", "head", "meta", "title", "link", "style", "body", "h1", "h2", "h3", "p", "strong", "code", "em", "br"),
    *("div", "table", "tr", "th", "td", "figure", "img", "figcaption"),
}


class Seen(HTMLParser):
    """Collects tags, addresses, and the text below each heading of galleries."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.addresses: list[str] = []
        self.galleries: dict[str, list[tuple[str, str]]] = {}
        """Title of each gallery: source of each picture and its caption."""
        self.warnings: list[str] = []
        self.text = ""
        self._where = ""
        self._buffer = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        values = dict(attrs)
        if tag == "img" and self.galleries and "class" not in values:
            self.galleries[list(self.galleries)[-1]].append((str(values["src"]), ""))
        if tag in ("h3", "figcaption") or (tag == "p" and values.get("class") == "warn"):
            self._where, self._buffer = tag, ""
        if tag == "br":
            self._buffer += "\n"

    def handle_endtag(self, tag: str) -> None:
        if tag != self._where:
            return
        if tag == "h3":
            self.galleries[self._buffer] = []
        elif tag == "figcaption":
            tiles = self.galleries[list(self.galleries)[-1]]
            tiles[-1] = (tiles[-1][0], self._buffer)
        else:
            self.warnings.append(self._buffer)
        self._where = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        self._buffer += data


@pytest.fixture
def page(store: TileStore, decisions: Decisions, tmp_path: Path) -> str:
    """The page of the made run."""
    path = write_report(tmp_path, store, store.table(), decisions)
    assert path == tmp_path / "report.html"
    return path.read_text("utf-8")


def test_no_name_breaks_out_of_the_page(page: str) -> None:
    seen = Seen(page)
    assert seen.tags <= OUR_TAGS
    assert seen.handlers == []
    assert "<script" not in page
    assert "alert(1)</" not in page
    assert "<b>" not in page


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
    assert [address for address in addresses if not address.startswith("data:")] == []


def test_galleries_show_the_tiles_that_they_name(page: str, store: TileStore, decisions: Decisions) -> None:
    table = store.table()
    label, state = table.label, decisions.state
    reason = np.array(REASONS)[decisions.reason]
    expected = {
        "Excluded: the network reads another class": (state == EXCLUDED) & (reason == "label"),
        "Excluded: the network is not sure": (state == EXCLUDED) & (reason == "uncertain"),
        "Excluded: out of focus": (state == EXCLUDED) & (reason == "focus"),
        "Excluded: mostly empty": (state == EXCLUDED) & (reason == "background"),
        "Excluded: colour or density far from the others": (state == EXCLUDED) & (reason == "colour"),
        "Undecided: the votes are even": (state == UNDECIDED) & (label >= 0),
        "Kept, but nearest to the boundary": state == KEPT,
    }
    galleries = Seen(page).galleries
    assert list(galleries) == [f"{title} ({int(mask.sum())})" for title, mask in expected.items()]
    pixels = np.concatenate([flat_tiles(15, 0), flat_tiles(24, 15)])
    for shown, mask in zip(galleries.values(), expected.values(), strict=True):
        rows = np.flatnonzero(mask)
        assert len(rows)
        for (source, caption), i in zip(shown, rows, strict=True):  # the score falls with the row
            with Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) as image:
                assert image.size == (PX, PX)
                assert np.abs(np.asarray(image).astype(int) - pixels[i]).max() <= 4
            assert caption == (
                f"{CLASSES[label[i]]}, read as {CLASSES[decisions.predicted[i]]}\n"
                f"score {decisions.score[i]:.2f}, u {decisions.u[i]:.2f}\n"
                f"{SLIDES[table.slide[i]]} x0={table.x0[i]} y0={table.y0[i]}"
            )


def test_a_long_gallery_shows_the_highest_scores_and_says_so(tmp_path: Path) -> None:
    store, n = new_store(tmp_path / "tiles.zarr"), GALLERY + 12
    add_slide(store, "s", np.zeros(n, dtype=int), np.arange(n) % 2, ["p"])
    score = np.random.default_rng(0).permutation(n) / n
    stop = {"reason": "max_epochs", "epoch": 1, "deltas": [0.0], "stds": [None]}
    about = {
        "folds": [{"fold": 0, "stop": stop, "boundary": 0.5, "threshold": 0.2, "test_accuracy": float("nan")}],
        "settings": {"std_below": 0.01, "track_every": 1},
        "versions": {},
        "time": "now",
    }
    made = decided(store.table(), about, run=RUN, score=score, predicted=np.zeros(n, dtype=int))
    galleries = Seen(write_report(tmp_path, store, store.table(), made).read_text("utf-8")).galleries
    title, shown = list(galleries.items())[-1]
    assert title == f"Kept, but nearest to the boundary ({n}, the {GALLERY} with the highest score)"
    where = [caption.rsplit("\n", 1)[1] for _, caption in shown]
    assert where == [f"s x0={32 * i} y0=0" for i in np.argsort(-score)[:GALLERY]]


def test_shares_are_counted_by_name(store: TileStore, decisions: Decisions) -> None:
    table = store.table()
    found = excluded_by(decisions, table.patient, table.patients)
    out, judged = decisions.state == EXCLUDED, table.label >= 0
    for share in found:
        mine = table.patient == table.patients.index(share.name)
        assert (share.judged, share.excluded) == (int((mine & judged).sum()), int((mine & out).sum()))
    assert found[0].cells() == [table.patients[0], found[0].judged, found[0].excluded, f"{found[0].share:.1%}"]


@pytest.mark.parametrize(("excluded", "warned"), [(4, False), (5, True)])
def test_only_more_than_twice_the_overall_share_is_warned_of(decisions: Decisions, excluded: int, warned: bool) -> None:
    # 10 of 40 judged tiles belong to the first name; the others lose 4 in all
    code = np.repeat([0, 1], [10, 30])
    state = np.zeros(40, dtype=np.uint8)
    state[:excluded] = EXCLUDED
    state[10 : 10 + 8 - excluded] = EXCLUDED  # overall 8 of 40
    made = replace(decisions, state=state, label=np.zeros(40, dtype=np.int16))
    first, second = excluded_by(made, code, ["first", "second"])
    text = f"first: {excluded} of 10 tiles excluded, over twice the overall share of 20.0%. Look at them."
    assert first == Share("first", 10, excluded, text if warned else "")
    assert second.warning == ""


def test_a_name_with_few_tiles_is_never_warned_of_and_one_without_is_left_out(decisions: Decisions) -> None:
    code = np.repeat([0, 1], [9, 31])
    state = np.where(code == 0, EXCLUDED, KEPT)
    made = replace(with_states(decisions, state), label=np.zeros(40, dtype=np.int16))
    assert excluded_by(made, code, ["few", "many", "none"]) == [Share("few", 9, 9, ""), Share("many", 31, 0, "")]


def test_warnings_stand_in_the_page(store: TileStore, decisions: Decisions, tmp_path: Path) -> None:
    table = store.table()
    of_script = table.patient == table.patients.index("<script>alert(1)</script>")
    state = np.where(of_script & (table.label >= 0), EXCLUDED, KEPT)
    page = write_report(tmp_path, store, table, with_states(decisions, state)).read_text("utf-8")
    assert Seen(page).warnings == [
        "<script>alert(1)</script>: 10 of 10 tiles excluded, over twice the overall share of 38.5%. Look at them."
    ]


def test_the_page_counts_and_names_states(page: str, decisions: Decisions) -> None:
    counts = decisions.counts()
    text = " ".join(Seen(page).text.split())
    assert (
        f"{counts['kept']} tiles kept, {counts['excluded']} excluded, {counts['undecided']} undecided "
        f"(kept for training). {int((decisions.label < 0).sum())} tiles carry no label"
    ) in text


def test_the_review_has_every_judged_tile_excluded_ones_first(
    page: str, store: TileStore, decisions: Decisions, tmp_path: Path
) -> None:
    table = store.table()
    judged = np.flatnonzero(table.label >= 0)
    order = [i for state in (EXCLUDED, UNDECIDED, KEPT) for i in judged if decisions.state[i] == state]
    where = ["tile_id", "slide", "patient", "x0", "y0", "side0"]
    header = [*where, "label", "state", "reason", "says", "score", "u", "fold"]
    expected = [
        [
            str(uuid.UUID(bytes=table.tile_id[i].tobytes())),
            SLIDES[table.slide[i]],
            table.patients[table.patient[i]],
            str(table.x0[i]),
            str(table.y0[i]),
            str(PX),
            CLASSES[table.label[i]],
            STATES[decisions.state[i]],
            REASONS[decisions.reason[i]],
            CLASSES[decisions.predicted[i]],
            f"{decisions.score[i]:.4f}",
            f"{decisions.u[i]:.4f}",
            str(decisions.fold[i] + 1),
        ]
        for i in order
    ]
    with (tmp_path / "review.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [header, *expected]
    assert len(expected) == 26


def test_a_full_disk_leaves_the_earlier_report(
    page: str, store: TileStore, decisions: Decisions, tmp_path: Path
) -> None:
    before = file_bytes(tmp_path)
    with file_size_limit(20_000), pytest.raises(DiskError) as caught:
        write_report(tmp_path, store, store.table(), replace(decisions, run="another"))
    assert str(caught.value) == (
        f"{tmp_path / 'report.html'}: could not be written, the file-size limit is met. Nothing that was there before "
        "has changed; make room (or choose another place with -o) and run the same command again."
    )
    assert file_bytes(tmp_path) == before
