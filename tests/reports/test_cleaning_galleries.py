"""Galleries show the tiles that they name, undecided and stale ones first, and describe them in words."""

from __future__ import annotations

import base64
import io
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.decided import decided
from tests.reports.conftest import CLASSES, PATIENTS, PX, SLIDES, flat_tiles
from tests.w2wnet.conftest import add_slide, new_store
from w2wpath.reports.cleaning_galleries import GALLERY, Card, card, choose, galleries
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.decisions import Since
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, REASONS, UNDECIDED, Decisions

ABOUT = {"folds": [], "settings": {}}


def picture(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"), validate=True)))


def test_tiles_lie_where_they_belong_highest_score_first(store: TileStore, decisions: Decisions) -> None:
    state, judged = decisions.state, decisions.judged
    reason = np.array(REASONS)[decisions.reason]
    expected = {
        "Undecided: as many networks for as against": judged & (state == UNDECIDED) & (reason != "vetoed"),
        "Undecided: networks doubt the label, but the one that never saw the patient reads it too": judged
        & (reason == "vetoed"),
        "Stale: the label was changed after the tile was judged": np.zeros(39, dtype=bool),
        "Set aside: the networks read another class": judged & (state == EXCLUDED) & (reason == "label"),
        "Set aside: the networks are not sure": judged & (state == EXCLUDED) & (reason == "uncertain"),
        "Set aside: out of focus": judged & (state == EXCLUDED) & (reason == "focus"),
        "Set aside: mostly empty": judged & (state == EXCLUDED) & (reason == "background"),
        "Set aside: colour or density far from the others": judged & (state == EXCLUDED) & (reason == "colour"),
        "Kept, but nearest to being set aside": judged & (state == KEPT),
    }
    chosen = choose(store.table(), decisions)
    assert list(chosen) == list(expected)
    for title, rows in chosen.items():  # the score falls with the row
        assert rows.tolist() == np.flatnonzero(expected[title]).tolist()


def test_a_tile_whose_label_was_changed_is_stale_and_nowhere_else(store: TileStore, decisions: Decisions) -> None:
    table = store.table()
    stale = np.array([1, 4, 9])  # row 9 had no label when it was judged
    label = table.label.copy()
    label[stale] = [1, -1, 0]
    assert (label[stale] != table.label[stale]).all()
    changed = replace(table, label=label)
    other = np.isin(np.arange(table.n), stale)
    since = replace(decisions, since=Since(other, np.zeros(table.n, dtype=bool), label))
    chosen = choose(changed, since)
    assert chosen["Stale: the label was changed after the tile was judged"].tolist() == [1, 4, 9]
    assert sum(len(rows) for rows in chosen.values()) == decisions.judged.sum() + 1
    shown = galleries(store, changed, since)[2]
    assert [tile.given for tile in shown.cards] == [CLASSES[1], "none", CLASSES[0]]
    assert [tile.reads for tile in shown.cards][2] == "none"


def test_pictures_are_those_of_the_tiles(store: TileStore, decisions: Decisions) -> None:
    table = store.table()
    pixels = np.concatenate([flat_tiles(15, 0), flat_tiles(24, 15)])
    ids = [str(uuid.UUID(bytes=one.tobytes())) for one in table.tile_id]
    cards = [tile for gallery in galleries(store, table, decisions) for tile in gallery.cards]
    assert len(cards) == decisions.judged.sum()
    for tile in cards:
        with picture(tile.uri) as image:
            assert image.size == (PX, PX)
            assert np.abs(np.asarray(image).astype(int) - pixels[ids.index(tile.tile_id)]).max() <= 4


def test_a_tile_is_described_in_words(store: TileStore, decisions: Decisions) -> None:
    table = store.table()
    votes = np.tile(np.array([[1, -1, 0, 1]], dtype=np.int8), (table.n, 1))
    made = replace(decisions, votes=votes)
    rows = np.flatnonzero((made.state == EXCLUDED) & (made.reason == REASONS.index("focus")))
    i = int(rows[0])
    assert card(table, made, i, "data:") == Card(
        tile_id=str(uuid.UUID(bytes=table.tile_id[i].tobytes())),
        uri="data:",
        slide=SLIDES[table.slide[i]],
        patient=PATIENTS[table.slide[i]],
        x0=int(table.x0[i]),
        y0=int(table.y0[i]),
        label=int(table.label[i]),
        given=CLASSES[table.label[i]],
        reads=CLASSES[made.predicted[i]],
        state="set aside",
        why="out of focus",
        votes="2 of 3",
        score=f"{made.score[i]:.2f}",
        u=f"{made.u[i]:.2f}",
    )


@pytest.mark.parametrize(
    ("severity", "why"),
    [([0.1, 0, 0.9, 0, 0], "most of all: out of focus"), ([0] * 5, "nothing stands out")],
    ids=["focus", "none"],
)
def test_of_a_tile_that_is_not_set_aside_what_speaks_most_against_it_is_named(
    store: TileStore, decisions: Decisions, severity: list[float], why: str
) -> None:
    i = int(np.flatnonzero(decisions.judged & (decisions.state == KEPT))[0])
    made = replace(decisions, severity=np.tile(np.array(severity, dtype=np.float32), (39, 1)))
    assert card(store.table(), made, i, "").why == why


def test_of_a_vetoed_tile_it_is_said_who_does_not_agree(store: TileStore, decisions: Decisions) -> None:
    i = int(np.flatnonzero(decisions.reason == REASONS.index("vetoed"))[0])
    made = replace(decisions, severity=np.tile(np.array([1.3, 0, 0.2, 0, 0], dtype=np.float32), (39, 1)))
    assert card(store.table(), made, i, "").why == (
        "the networks read another class, but the one that never saw the patient does not agree"
    )


def test_what_was_not_judged_has_no_numbers(store: TileStore, decisions: Decisions) -> None:
    i = int(np.flatnonzero(~decisions.judged)[0])
    tile = card(store.table(), replace(decisions, severity=np.full((39, 5), np.nan, np.float32)), i, "")
    assert (tile.given, tile.reads, tile.score, tile.u, tile.why) == ("none", "none", "–", "–", "nothing stands out")


def test_a_long_gallery_shows_the_highest_scores_and_large_tiles_are_made_smaller(tmp_path: Path) -> None:
    store, n = new_store(tmp_path / "tiles.zarr", 200), GALLERY + 12
    add_slide(store, "s", np.zeros(n, dtype=int), np.arange(n) % 2, ["p"], np.zeros((n, 200, 200, 3), dtype=np.uint8))
    score = np.random.default_rng(0).permutation(n) / n
    (gallery,) = galleries(store, store.table(), decided(store.table(), ABOUT, score=score))
    assert (gallery.title, gallery.total, len(gallery.cards)) == ("Kept, but nearest to being set aside", n, GALLERY)
    assert [tile.x0 for tile in gallery.cards] == [200 * i for i in np.argsort(-score)[:GALLERY]]
    with picture(gallery.cards[0].uri) as image:
        assert image.size == (160, 160)


def test_where_nothing_was_judged_there_is_no_gallery(store: TileStore, decisions: Decisions) -> None:
    table = replace(store.table(), label=np.full(39, -1, dtype=np.int16))
    assert galleries(store, table, replace(decisions, label=table.label)) == []
