"""What a grid found, over its seeds: the figures that every table and picture of its report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from w2wpath.benchmarks.bench.claims import FAIR, OURS, Claim, Measured, claims, removes
from w2wpath.benchmarks.bench.grid import Entry
from w2wpath.benchmarks.bench.headline import joined, of_entry
from w2wpath.benchmarks.bench.seeds import gains_over_seeds, over_seeds
from w2wpath.benchmarks.noise.sets import SHARES
from w2wpath.benchmarks.study.detection import spread_between_classes
from w2wpath.benchmarks.study.methods import variant_settings
from w2wpath.benchmarks.study.resampling import Figure, figure
from w2wpath.benchmarks.study.score import Scores, score

Rows = dict[str, dict[str, Figure]]
GAIN, BESIDE = "gain", "lead"
"""Tables whose figures are no shares: of the gain of cleaning, and of how far a row is ahead."""
REMOVERS = ("recommended", "paper")
"""Rows whose removal is shown as in Fig. 3."""


@dataclass(frozen=True)
class Removal:
    """Share removed of one side of a data set: mean over classes (by given label) and std between them (Fig. 3)."""

    spurious: tuple[float, float]
    good: tuple[float, float]


@dataclass(frozen=True)
class Results:
    """A whole grid, by data set, in the order of the grid.

    Attributes
    ----------
    about
        ``dataset.json`` of the first seed.
    tables
        Tables of the study, by name, over seeds.
    sides, removal
        By row, then ``training`` and ``test``: what was removed, or flagged by the threshold of the row's settings.
    headline
        By kind, score and figure.
    curves
        Selective risk by row, of the first seed.
    cards
        A run card for each cell.
    missing
        Rows that are not there yet, by set and seed.
    fall
        By base, the paired loss of accuracy of row all from its set of least to that of most noise.
    """

    about: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    tables: dict[str, dict[str, Rows]] = field(default_factory=dict)
    sides: dict[str, dict[str, dict[str, dict[str, Figure]]]] = field(default_factory=dict)
    removal: dict[str, dict[str, dict[str, Removal]]] = field(default_factory=dict)
    headline: dict[str, dict[str, dict[str, dict[str, Figure]]]] = field(default_factory=dict)
    curves: dict[str, Mapping[str, list[float | None]]] = field(default_factory=dict)
    cards: list[dict[str, Any]] = field(default_factory=list)
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fall: dict[str, Figure] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)


def gather(entries: Sequence[Entry]) -> Results:
    """Score every data set and join the seeds; truth is read here, when everything has been trained."""
    results, scored = Results(), dict[str, dict[int, tuple[Entry, Scores]]]()
    for name in dict.fromkeys(entry.name for entry in entries):
        mine = [entry for entry in entries if entry.name == name]
        scores = [score(entry.study) for entry in mine]
        scored[name] = {entry.seed: (entry, one) for entry, one in zip(mine, scores, strict=True)}
        results.about[name] = mine[0].about
        results.tables[name] = _over_seeds(scores)
        results.sides[name] = _sides(mine[0], results.tables[name])
        results.removal[name] = _removal(mine[0], results.sides[name])
        results.headline[name] = joined([of_entry(entry) for entry in mine])
        results.curves[name] = scores[0].curves
        for entry, one in zip(mine, scores, strict=True):
            results.cards.extend(_cards(entry, one))
            if one.missing:
                results.missing[entry.told] = one.missing
    results.fall.update(_falls(scored))
    results.claims.extend(claims(_measured(results)))
    return results


def _over_seeds(scores: Sequence[Scores]) -> dict[str, Rows]:
    found: dict[str, dict[str, dict[str, list[Figure]]]] = {}
    for one in scores:
        for table, rows in one.tables.items():
            for row, figures in rows.items():
                for name, one_figure in figures.items():
                    found.setdefault(table, {}).setdefault(row, {}).setdefault(name, []).append(one_figure)
    joined_up = {
        table: {
            row: {name: over_seeds(many, share=table not in (GAIN, BESIDE)) for name, many in figures.items()}
            for row, figures in rows.items()
        }
        for table, rows in found.items()
    }
    if GAIN in joined_up:
        n = max(one.n for rows in joined_up[GAIN].values() for one in rows.values())
        joined_up[GAIN] = gains_over_seeds([one.accuracies for one in scores], n)
    return joined_up


def _sides(entry: Entry, tables: Mapping[str, Rows]) -> dict[str, dict[str, dict[str, Figure]]]:
    study, found = entry.study, dict[str, dict[str, dict[str, Figure]]]()
    for row in (row for row in REMOVERS if row in study.rows):
        recipe = variant_settings(study.settings, row, 0, study.study).threshold
        sides = {"training": ("training", row), "test": ("unseen", f"{row}, threshold {recipe}")}
        there = {side: tables.get(table, {}).get(told) for side, (table, told) in sides.items()}
        if all(figures is not None for figures in there.values()):
            found[row] = {side: figures for side, figures in there.items() if figures is not None}
    return found


def _removal(entry: Entry, sides: Mapping[str, Mapping[str, Mapping[str, Figure]]]) -> dict[str, dict[str, Removal]]:
    classes, what = entry.study.ground.table.classes, ("sensitivity", "false removals")
    return {
        row: {
            side: Removal(*(spread_between_classes(figures, classes, one) for one in what))
            for side, figures in own.items()
        }
        for row, own in sides.items()
    }


def _measured(results: Results) -> Measured:
    accuracy = {name: tables.get("accuracy", {}) for name, tables in results.tables.items()}
    lead = {name: tables.get("lead", {}) for name, tables in results.tables.items()}
    whose = {name: _judged(sides) for name, sides in results.sides.items() if sides}
    return Measured(
        accuracy,
        lead,
        training={name: results.sides[name][row]["training"] for name, (row, _) in whose.items()},
        unseen={name: results.sides[name][row]["test"] for name, (row, _) in whose.items()},
        ours={name: sides[OURS]["training"] for name, sides in results.sides.items() if OURS in sides},
        judged={name: told for name, (_, told) in whose.items()},
        fall=results.fall,
    )


def _judged(sides: Mapping[str, Mapping[str, Mapping[str, Figure]]]) -> tuple[str, str]:
    """Return the row that the paper's claims are held against, its own where that removed something; and its name."""
    if "paper" not in sides:
        return OURS, OURS
    if OURS in sides and not removes(sides["paper"]["training"]) and removes(sides[OURS]["training"]):
        return OURS, f"{OURS}, paper removed nothing"
    return "paper", "paper"


def _falls(scored: Mapping[str, Mapping[int, tuple[Entry, Scores]]]) -> dict[str, Figure]:
    """Return, by base, the loss of accuracy of row all from the set of least to that of most noise, on the same images.

    The draws of two sets of one seed are paired where they are of the same groups of originals.
    """
    found = {}
    for base in ("MNIST", "CIFAR10"):
        there = [name for name in (base, *(f"Sp-{base}-{share}" for share in SHARES)) if name in scored]
        if len(there) < 2:
            continue
        least, most = scored[there[0]], scored[there[-1]]
        pairs = [
            figure(low.accuracies[FAIR] - high.accuracies[FAIR], 0)
            for (one, low), (other, high) in ((least[seed], most[seed]) for seed in least if seed in most)
            if FAIR in low.accuracies and FAIR in high.accuracies and _groups(one) == _groups(other)
        ]
        if pairs:
            found[base] = over_seeds(pairs, share=False)
    return found


def _groups(entry: Entry) -> tuple[str, ...]:
    """Return the groups of images that an entry's draws are of."""
    return tuple(entry.study.ground.table.patients)


def _cards(entry: Entry, scores: Scores) -> list[dict[str, Any]]:
    """Return what is to be known of each cell: settings, seed, device, how it stopped, minutes, draws, labels named."""
    found = []
    for name, about in scores.about.get("cells", {}).items():
        stop, settings = about.get("stop"), about["settings"]
        found.append(
            {
                "set": entry.name,
                "seed": entry.seed,
                "cell": name,
                "stop_reason": "epochs" if stop is None else stop["reason"],
                "epochs": about["key"]["epochs"] if stop is None else stop["epoch"],
                "tracker": settings.get("tracker"),
                "draws": settings.get("draws"),
                "labels_named": about.get("labels_named"),
                "device": about["compute"],
                "training_images": about["train_tiles"],
                "minutes": round(about["seconds"] / 60, 2),
                "same_as": about.get("same_as"),
                "settings": settings,
                "versions": about["versions"],
            }
        )
    return found
