"""What `clean` shows a person: ``report.html`` and ``review.csv``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.provenance import write_whole
from w2wpath.reports import cleaning_figures as figures
from w2wpath.reports import cleaning_folds as folds
from w2wpath.reports.cleaning_galleries import galleries
from w2wpath.reports.cleaning_tables import (
    Share,
    excluded_by,
    patient_table,
    reason_table,
    share_table,
    warnings_of,
)
from w2wpath.reports.page import figure_uri, render
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.ledger import EXCLUDED, Decisions
from w2wpath.w2wnet.review import write_review_csv
from w2wpath.w2wnet.selective import aurc, risk_coverage, selective_accuracy

__all__ = ["Share", "excluded_by", "write_report"]


def write_report(folder: Path, store: TileStore, table: TileTable, decisions: Decisions) -> Path:
    """Write ``report.html`` and ``review.csv`` into `folder`; return the page.

    Raises
    ------
    DiskError
        There is no room.
    """
    write_review_csv(folder / "review.csv", table, decisions)
    path = folder / "report.html"
    write_whole(path, render("cleaning.html.j2", _page(store, table, decisions)))
    return path


def _page(store: TileStore, table: TileTable, decisions: Decisions) -> dict[str, Any]:
    about = decisions.about
    return {
        "run": decisions.run,
        "store": store.path.name,
        "time": about.get("time"),
        "folds": len(about["folds"]),
        "settings": about["settings"],
        "draws": about["settings"].get("draws"),
        "by_members": about["settings"].get("stop_rule") == "membership",
        "stopped": about.get("stopped") or [],
        "counts": decisions.counts(),
        "judged": int(decisions.judged.sum()),
        "unlabelled": int((~decisions.judged).sum()),
        "patients": len(set(table.patient[decisions.judged].tolist())),
        "slides": len(set(table.slide[decisions.judged].tolist())),
        "classes": list(table.classes),
        "galleries": galleries(store, table, decisions),
        **_who(table, decisions),
        **_figures(decisions),
        "stop_table": folds.stop_table(about["folds"]),
        "score_table": folds.score_table(about["folds"], about["settings"]),
        "score_in_symbols": folds.score_in_symbols(about["settings"]),
        "unlearned": folds.unlearned(about["folds"]),
        "nothing_judged": folds.nothing_judged(about["folds"]),
        "u_table": folds.u_table(about["folds"]),
        "controls": folds.controls_table(about.get("controls") or {}),
        "duplicate_tiles": about.get("duplicate_tiles"),
        "duplicates": folds.duplicates_table(about.get("duplicates") or []),
        "provenance": folds.provenance(decisions.run, about),
        "fold_patients": folds.fold_patients_table(about.get("fold_table") or []),
    }


def _who(table: TileTable, decisions: Decisions) -> dict[str, Any]:
    """Return tables and warnings of who was set aside, the largest share first."""
    by_class = excluded_by(decisions, decisions.label, table.classes, "class")
    by_patient = excluded_by(decisions, table.patient, table.patients, "patient")
    by_slide = excluded_by(decisions, table.slide, table.slides, "slide")
    patients = patient_table(decisions, table)
    patients.rows.sort(key=lambda row: -(row[5].value or 0.0))
    return {
        "warnings": warnings_of(by_class, by_patient, by_slide),
        "class_table": share_table("Class", by_class),
        "reason_table": reason_table(decisions),
        "slide_table": share_table("Slide", sorted(by_slide, key=lambda row: -row.share)),
        "patient_table": patients,
    }


def _figures(decisions: Decisions) -> dict[str, Any]:
    about, settings = decisions.about, decisions.about["settings"]
    curves = risk_curves(decisions)
    return {
        "score_uri": figure_uri(figures.score_figure(decisions)),
        "u_uris": [figure_uri(figures.u_figure(decisions, fold)) for fold in about["folds"]],
        "delta_uri": figure_uri(figures.delta_figure(about["folds"], settings["track_every"])),
        "spread_uri": figure_uri(figures.spread_figure(about["folds"], settings)),
        "risk_uri": figure_uri(
            figures.risk_figure({name: (one.coverage_m, one.risk_m) for name, one in curves.items()})
        ),
        "curves": curves,
    }


@dataclass(frozen=True)
class RiskCurve:
    """How wrong a classifier is on the tiles that it answers, when it leaves out those that it is least sure of.

    Attributes
    ----------
    coverage_m, risk_m
        Share (m,) of the tiles that are answered, rising to 1, and of the wrong answers among those.
    risk, risk_at_80
        Share of wrong answers when all tiles are answered, and when the surest 80 % are; NaN without tiles.
    aurc
        Area under the curve; NaN without tiles.
    """

    coverage_m: NDArray[np.float64]
    risk_m: NDArray[np.float64]
    risk: float
    risk_at_80: float
    aurc: float


def risk_curves(decisions: Decisions) -> dict[str, RiskCurve]:
    """Return the out-of-fold risk-coverage curves of all judged tiles, and of those that are not excluded."""
    judged = decisions.judged
    stay = judged & (decisions.state != EXCLUDED)
    sides = {"all tiles": judged, "without those set aside": stay}
    return {
        name: _curve(decisions.u[mask], (decisions.predicted != decisions.label)[mask]) for name, mask in sides.items()
    }


def _curve(u_n: NDArray[np.float32], wrong_n: NDArray[np.bool_]) -> RiskCurve:
    risk, risk_at_80 = (1.0 - selective_accuracy(u_n, ~wrong_n, coverage) for coverage in (1.0, 0.8))
    return RiskCurve(*risk_coverage(u_n, wrong_n), risk, risk_at_80, aurc(u_n, wrong_n))
