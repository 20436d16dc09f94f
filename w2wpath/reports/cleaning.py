"""What `clean` shows a person: ``report.html`` and ``review.csv``."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from w2wpath.provenance import write_whole
from w2wpath.reports.page import figure_uri, render, tile_uri
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, REASONS, STATES, UNDECIDED, Decisions

GALLERY = 48
"""Most tiles shown in one gallery."""
EXCLUDED_BECAUSE = {
    "label": "Excluded: the network reads another class",
    "uncertain": "Excluded: the network is not sure",
    "focus": "Excluded: out of focus",
    "background": "Excluded: mostly empty",
    "colour": "Excluded: colour or density far from the others",
}
"""Titles of the galleries, by reason."""
SCORE_SHOWN = 3.0
"""Scores above this share the last bar of the histogram."""
ENTRIES_TO_JUDGE = 10
"""Fewest tiles of a class or patient for which its share of exclusions is worth a warning."""


@dataclass(frozen=True)
class Share:
    """How many of a class's or patient's judged tiles were excluded; `warning` is empty when nothing stands out."""

    name: str
    judged: int
    excluded: int
    warning: str

    @property
    def share(self) -> float:
        """Excluded share of the judged tiles."""
        return self.excluded / self.judged

    def cells(self) -> list[object]:
        """Return the cells of a table."""
        return [self.name, self.judged, self.excluded, f"{self.share:.1%}"]


def excluded_by(decisions: Decisions, code_n: NDArray[np.integer[Any]], names: Sequence[str]) -> list[Share]:
    """Count exclusions by class or patient (`code_n` indexes `names`); warn above twice the overall share."""
    judged, out = decisions.label >= 0, decisions.state == EXCLUDED
    overall = float(out[judged].mean())
    rows = []
    for code, name in enumerate(names):
        mine = judged & (code_n == code)
        n, gone = int(mine.sum()), int((mine & out).sum())
        if n:
            stands_out = n >= ENTRIES_TO_JUDGE and gone / n > 2 * overall
            text = f"{name}: {gone} of {n} tiles excluded, over twice the overall share of {overall:.1%}. Look at them."
            rows.append(Share(name, n, gone, text if stands_out else ""))
    return rows


def write_report(folder: Path, store: TileStore, table: TileTable, decisions: Decisions) -> Path:
    """Write ``report.html`` and ``review.csv`` into `folder`; return the page.

    Raises
    ------
    DiskError
        There is no room.
    """
    write_whole(folder / "review.csv", _review(table, decisions))
    by_patient = excluded_by(decisions, table.patient, table.patients)
    by_class = excluded_by(decisions, table.label, table.classes)
    page = render(
        "cleaning.html.j2",
        {
            "run": decisions.run,
            "store": store.path.name,
            "counts": decisions.counts(),
            "unlabelled": int((decisions.label < 0).sum()),
            "by_class": by_class,
            "by_patient": sorted(by_patient, key=lambda row: -row.share),
            "warnings": [row.warning for row in [*by_class, *by_patient] if row.warning],
            "curve": figure_uri(_curves(decisions)),
            "histogram": figure_uri(_histogram(decisions)),
            "folds": decisions.about["folds"],
            "galleries": _galleries(store, table, decisions),
            "settings": decisions.about["settings"],
            "versions": decisions.about["versions"],
            "time": decisions.about["time"],
        },
    )
    path = folder / "report.html"
    write_whole(path, page)
    return path


def _review(table: TileTable, decisions: Decisions) -> str:
    """Return every judged tile, excluded ones first, highest score first; x0, y0, side0 in level-0 pixels."""
    rows = np.flatnonzero(decisions.label >= 0)
    rank = {EXCLUDED: 0, UNDECIDED: 1, KEPT: 2}
    order = sorted(rows, key=lambda i: (rank[int(decisions.state[i])], -float(decisions.score[i]), i))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(
        ["tile_id", "slide", "patient", "x0", "y0", "side0", "label", "state", "reason", "says", "score", "u", "fold"]
    )
    for i in order:
        lines.writerow(
            [
                uuid.UUID(bytes=table.tile_id[i].tobytes()),
                table.slides[table.slide[i]],
                table.patients[table.patient[i]],
                table.x0[i],
                table.y0[i],
                table.side0[i],
                table.classes[decisions.label[i]],
                STATES[decisions.state[i]],
                REASONS[decisions.reason[i]],
                table.classes[decisions.predicted[i]],
                f"{decisions.score[i]:.4f}",
                f"{decisions.u[i]:.4f}",
                int(decisions.fold[i]) + 1,
            ]
        )
    return text.getvalue()


def _curves(decisions: Decisions) -> Figure:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for fold in decisions.about["folds"]:
        stop = fold["stop"]
        epochs = np.arange(1, len(stop["deltas"]) + 1) * decisions.about["settings"]["track_every"]
        line = left.plot(epochs, stop["deltas"], linewidth=1, label=f"fold {fold['fold'] + 1}")[0]
        left.axvline(stop["epoch"], color=line.get_color(), linewidth=0.6, linestyle=":")
        stds = [np.nan if x is None else x for x in stop["stds"]]
        right.plot(epochs, stds, color=line.get_color(), linewidth=1)
    left.set(xlabel="epoch", ylabel="delta = (low - high) / all", title="Sizes of the two groups", ylim=(-1, 1))
    left.legend(fontsize=7, frameon=False)
    settings = decisions.about["settings"]
    right.axhline(settings["std_below"], color="0.3", linewidth=0.8, linestyle="--")
    right.set(xlabel="epoch", ylabel="std of the median of delta", title="Stable when below the dashed line")
    # with few epochs there is no std yet, and a log axis of nothing cannot be drawn
    if any(x for fold in decisions.about["folds"] for x in fold["stop"]["stds"]):
        right.set_yscale("log")
    return figure


def _histogram(decisions: Decisions) -> Figure:
    figure = Figure(figsize=(9, 3), layout="constrained")
    axis = figure.subplots()
    judged = decisions.label >= 0
    score = np.minimum(decisions.score, SCORE_SHOWN)
    bins = np.linspace(0.0, SCORE_SHOWN, 61).tolist()
    for state, colour in ((KEPT, "#4477aa"), (UNDECIDED, "#ccbb44"), (EXCLUDED, "#cc3311")):
        axis.hist(score[judged & (decisions.state == state)], bins, color=colour, alpha=0.7, label=STATES[state])
    axis.axvline(1.0, color="0.3", linewidth=0.7, linestyle=":")
    axis.set(xlabel=f"score (a network excludes above 1; {SCORE_SHOWN:g} stands for more)", ylabel="tiles")
    axis.legend(frameon=False)
    return figure


def _galleries(store: TileStore, table: TileTable, decisions: Decisions) -> list[dict[str, Any]]:
    score = decisions.score
    excluded = decisions.state == EXCLUDED
    chosen = {
        **{title: excluded & (decisions.reason == REASONS.index(reason)) for reason, title in EXCLUDED_BECAUSE.items()},
        "Undecided: the votes are even": (decisions.state == UNDECIDED) & (decisions.label >= 0),
        "Kept, but nearest to the boundary": decisions.state == KEPT,
    }
    galleries = []
    for title, mask in chosen.items():
        rows = np.flatnonzero(mask)
        worst = rows[np.argsort(-score[rows], kind="stable")[:GALLERY]]
        tiles = [_shown(store, table, decisions, int(i)) for i in worst]
        galleries.append({"title": title, "total": len(rows), "tiles": tiles})
    return galleries


def _shown(store: TileStore, table: TileTable, decisions: Decisions, i: int) -> dict[str, str]:
    slide = table.slides[table.slide[i]]
    image = store.images(slide, table.row[i : i + 1].astype(np.int64))[0]
    says = table.classes[decisions.predicted[i]]
    return {
        "uri": tile_uri(image),
        "where": table.where(i),
        "label": table.classes[decisions.label[i]],
        "says": says,
        "numbers": f"score {decisions.score[i]:.2f}, u {decisions.u[i]:.2f}",
    }
