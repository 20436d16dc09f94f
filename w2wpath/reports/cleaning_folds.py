"""What the cleaning report says of its folds: stops, cuts, planted controls, and how it was made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from w2wpath.reports.cleaning_tables import Cell, Table, count, number, percent

STOPS = {
    "stable": "stable: the two groups no longer changed",
    "max_epochs": "max_epochs: the groups still changed when the epochs were used up; the steadiest epoch was taken",
    "degenerate": "degenerate: the network learned nothing, so it sets nothing aside",
}
CONTROLS = {
    "flip": "a wrong label, given on purpose",
    "blur": "blurred on purpose",
    "background": "replaced by empty background",
    "all": "all of these together",
}


def stop_table(folds: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulate when and why the network of each fold stopped, and how it fares on the patients that it never saw."""
    rows = [
        [
            *(Cell(str(fold["fold"] + 1), float(fold["fold"])), count(fold["stop"]["epoch"])),
            Cell(STOPS.get(fold["stop"]["reason"], fold["stop"]["reason"])),
            *(_tiles(fold.get("train_tiles")), _tiles(fold.get("test_tiles"))),
            *(_tiles(fold.get("excluded")), percent(fold["test_accuracy"])),
        ]
        for fold in folds
    ]
    head = ("Fold", "Stopped at epoch", "Why", "Tiles learned from", "Unseen tiles", "Votes to set aside")
    return Table("When training stopped", (*head, "Unseen tiles read as labelled"), rows)


def unlearned(folds: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a warning of the folds whose network learned nothing, and so judged nothing; none where there is none."""
    those = [fold["fold"] + 1 for fold in folds if fold["stop"]["reason"] == "degenerate"]
    if not those:
        return []
    if nothing_judged(folds):
        return [
            "no network learned anything, so nothing was judged: that no tile is set aside says nothing about them. "
            "Clean again with more --max-epochs, another --lr or another --backbone."
        ]
    named = ", ".join(map(str, those))
    return [
        f"the network of fold {named} learned nothing, so it votes against no tile, and others may be outvoted. "
        "Look at its curve in the report; more --max-epochs or another --lr may help."
    ]


def nothing_judged(folds: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether every network learned nothing."""
    return all(fold["stop"]["reason"] == "degenerate" for fold in folds)


def score_in_symbols(settings: Mapping[str, Any]) -> str:
    """Return the score by which a network sorts its tiles: u, and the Brier score by its weight."""
    weight = settings.get("label_weight", 1.0)
    return "u" if weight == 0.0 else "u + Brier" if weight == 1.0 else f"u + {weight:g} × Brier"


def score_table(folds: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Table:
    """Tabulate the two centres of each fold's own score, and the boundary between them."""
    rows = [
        [
            Cell(str(fold["fold"] + 1), float(fold["fold"])),
            *(number(fold.get(key)) for key in ("low", "boundary", "high", "separation")),
        ]
        for fold in folds
    ]
    head = ("Fold", "Centre of the usual tiles", "Boundary", "Centre of the odd tiles", "Depth of the valley")
    return Table(f"Score of each network ({score_in_symbols(settings)})", head, rows)


def u_table(folds: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulate the centres of each fold's u, both thresholds, and the one that was used."""
    rows = []
    for fold in folds:
        both = fold.get("thresholds", {})
        values = (fold.get("u_low"), fold.get("u_boundary"), both.get("centroid"), both.get("quantile"))
        first = Cell(str(fold["fold"] + 1), float(fold["fold"]))
        rows.append([first, *(number(value) for value in values), number(fold["threshold"])])
    head = ("Fold", "Centre of the usual tiles", "Midway", "Centre of the odd tiles (threshold centroid)")
    return Table("Thresholds on u", (*head, "Threshold quantile", "Used"), rows)


def _tiles(n: int | None) -> Cell:
    return number(None) if n is None else count(n)


def controls_table(controls: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """Tabulate the recall of planted controls by kind, with its 95 % interval; None when none were planted."""
    rows = []
    for kind in (kind for kind in CONTROLS if kind in controls):
        one = controls[kind]
        recall = one["found"] / one["planted"] if one["planted"] else None
        interval = Cell(f"{one['low']:.1%} to {one['high']:.1%}" if one["planted"] else "–")
        rows.append([Cell(CONTROLS[kind]), count(one["planted"]), count(one["found"]), percent(recall), interval])
    head = ("Known fault", "Planted", "Found", "Found, share", "95 % interval")
    return Table("Planted controls", head, rows) if rows else None


def duplicates_table(groups: Sequence[Mapping[str, Any]]) -> Table | None:
    """Tabulate tiles that are the same image in several patients; None when there are none."""
    rows = [
        [Cell(str(at), float(at)), Cell(str(slide)), count(x0), count(y0), Cell(str(patient))]
        for at, group in enumerate(groups, 1)
        for slide, x0, y0, patient in group["tiles"]
    ]
    return Table("Same image, several patients", ("Group", "Slide", "x0", "y0", "Patient"), rows) if rows else None


def fold_patients_table(fold_table: Sequence[Sequence[Any]]) -> Table:
    """Tabulate which patients each fold held back."""
    by_fold: dict[int, list[str]] = defaultdict(list)
    for patient, fold in fold_table:
        by_fold[int(fold)].append(str(patient))
    rows = [
        [Cell(str(fold + 1), float(fold)), count(len(names)), Cell(", ".join(names))]
        for fold, names in sorted(by_fold.items())
    ]
    return Table("Patients that each fold's network never saw", ("Fold", "Patients", "Names"), rows)


def provenance(run: str, about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the run was, as pairs of name and value; what was not recorded is left out."""
    seed = about["settings"].get("seed")
    networks = ", ".join(str(seed + fold["fold"]) for fold in about["folds"]) if seed is not None else ""
    facts = {
        "Run": run,
        "Time": about.get("time"),
        "Command": " ".join(["w2wpath", *about["argv"]]) if about.get("argv") else None,
        "Hash of the tiles and labels": about.get("store_hash"),
        "Hash of the fold table": about.get("fold_hash"),
        "Classes": ", ".join(about.get("classes", ())),
        "Seeds": None if seed is None else f"{seed} for the folds, {networks} for their networks",
        "Versions": ", ".join(f"{name} {value}" for name, value in about.get("versions", {}).items()),
    }
    return [(name, str(value)) for name, value in facts.items() if value]
