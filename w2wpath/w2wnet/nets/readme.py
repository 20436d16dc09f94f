"""``README.md`` of a model: what it is, what it learned from, how well it does and what it must not be used for.

It is for people. Loading a model does not read it; what counts is ``model.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from w2wpath.w2wnet.nets.card import THRESHOLDS, Card

STOPS: Mapping[str, str] = {
    "stable": "the stop rule fired: the groups of sure and unsure tiles had become stable",
    "max_epochs": "the stop rule never fired; the calmest epoch was taken",
    "degenerate": "**the network learned nothing**: its uncertainty says nothing",
}
CALIBRATED: Mapping[str, str] = {
    "wiped": "The temperature comes from one more Wiped, trained without the patients of one fold, on those patients.",
    "oof": "The temperature comes from the Wises of the folds, each on patients that it never saw. It is applied to "
    "Wiped, which is a sibling of theirs and no average of draws, so take it as an approximation.",
    "none": "The probabilities are as Wiped gives them: no temperature was fitted.",
}
LIMITS = """\
- **Research use only.** Not a medical device; it must not guide the care of a patient.
- It reads tiles of {tile_px} x {tile_px} px at {mpp:g} um/px. `w2wpath heatmap` resamples a slide to that.
- It knows {n} classes: {classes}. Any other tissue gets one of these names too, or is masked as uncertain; nothing
  promises that it is masked.
- Tissue, stains, scanners and diseases that were not among its {patients} patients and {slides} slides are unknown to
  it. The figures above come from these patients: measure on patients of your own.
- The uncertainty reads the image only. A wrong label is found in training, where there are labels, and nowhere else:
  on a new slide it finds faults of the image.
- The figures above are against the given labels, which may be wrong themselves, on the tiles that cleaning kept, which
  are easier than all tiles."""


def model_readme(card: Card) -> str:
    """Return the text for a model that `train` made."""
    metrics = card.metrics
    parts = [
        "# A w2wpath model",
        _what(card),
        "## What it learned from",
        _data(card),
        "## How well it does on patients that the networks never saw",
        _figures(metrics),
        *_warnings(metrics["warnings"]),
        "## When it says *uncertain*",
        _thresholds(card),
        *_controls(metrics["controls"]),
        "## Limits",
        LIMITS.format(
            tile_px=card.tile_px,
            mpp=card.mpp,
            n=len(card.classes),
            classes=", ".join(map(_plain, card.classes)),
            patients=metrics["patients"],
            slides=metrics["slides"],
        ),
        "## How to use it",
        "```\nw2wpath heatmap slide.svs --model . -o out/\n```",
        "```python\nfrom w2wpath import Model, heatmap\n\nheatmap('slide.svs', Model.load('.'), 'out')\n```",
        "`model.json` holds everything said here and more, with a checksum; this page is not read by any program.",
    ]
    return "\n\n".join(parts) + "\n"


def model_facts(card: Card) -> dict[str, str]:
    """Return lines about a model for people, by name, for what it writes of a slide."""
    metrics, versions = card.metrics, card.provenance.get("versions", {})
    data = (metrics.get("tiles"), metrics.get("kept"), metrics.get("slides"), metrics.get("patients"))
    lines = {
        "networks": f"Wise and Wiped, {card.backbone}, preset {card.preset}",
        "reads": f"tiles of {card.tile_px} px at {card.mpp:g} um/px",
        "threshold": f"u above {card.chosen.value:.4f} is uncertain: {THRESHOLDS[card.threshold]}",
        "draws": f"at most {card.recipe.draws} of Wise for each tile",
        "weights": f"Wise {card.sha256['wise'][:12]}, Wiped {card.sha256['wiped'][:12]}",
    }
    if None not in data:
        lines["trained on"] = "{} tiles ({} kept by cleaning) on {} slides of {} patients".format(*data)
    if "time" in card.provenance:
        lines["made"] = f"{card.provenance['time']} by w2wpath {versions.get('w2wpath', 'of unknown version')}"
    return lines


def _what(card: Card) -> str:
    stop, epoch = card.metrics["stop_reason"], card.metrics["stop_epoch"]
    return (
        f"Wise and Wiped, two networks of the kind {_plain(card.backbone)} (preset {card.preset}). Wiped names the "
        f"class of a tile; Wise draws {card.recipe.draws} times with dropout and says how uncertain that is. "
        f"Wise stopped at epoch {epoch}: {STOPS.get(stop, stop)}. Wiped trained {card.metrics['wiped_epochs']} epochs."
    )


def _data(card: Card) -> str:
    metrics = card.metrics
    rows = [[_plain(name), *counts.values()] for name, counts in metrics["by_class"].items()]
    states = list(next(iter(metrics["by_class"].values())))
    return (
        f"{metrics['tiles']} labelled tiles of {metrics['slides']} slides and {metrics['patients']} patients "
        f"(store `{card.recipe.store_hash[:12]}`, run of clean `{metrics['run']}`). Wise trained on all of them, "
        f"Wiped on the {metrics['kept']} that cleaning did not exclude.\n\n" + _table(["class", *states], rows)
    )


def _figures(metrics: Mapping[str, Any]) -> str:
    unseen, calibration = metrics["out_of_fold"], metrics["calibration"]
    of = "Wiped of the held-out fold" if calibration["source"] == "wiped" else "Wises of the folds"
    rows = [
        ["accuracy, Wises of the folds", _number(unseen["accuracy"])],
        ["balanced accuracy, Wises of the folds", _number(unseen["balanced_accuracy"])],
        [f"accuracy, {of}", _number(calibration["accuracy"])],
        [f"negative log-likelihood, {of}, before and after the temperature", _pair(calibration, "nll")],
        [f"expected calibration error, {of}, before and after", _pair(calibration, "ece")],
    ]
    if calibration["source"] != "wiped":
        del rows[2]
    return (
        f"On {unseen['tiles']} kept tiles, each judged by a network that never saw its patient:\n\n"
        + _table(["figure", "value"], rows)
        + f"\n\n{CALIBRATED[calibration['source']]} It is {calibration['temperature']:.3f}, from "
        f"{calibration['tiles']} tiles; above 1 it makes the probabilities less sure."
    )


def _thresholds(card: Card) -> str:
    metrics = card.metrics
    transfer, share = metrics["transfer"], metrics["out_of_fold_above_threshold"]
    rows = [
        [
            f"**{name}** (used)" if name == card.threshold else name,
            f"{one.value:.4f}",
            THRESHOLDS[name],
            f"{transfer['flagged_out_of_fold'][name]:.1%}",
            f"{transfer['flagged_final'][name]:.1%}",
        ]
        for name, one in card.thresholds.items()
    ]
    header = ["threshold", "u above", "what it is", "flags of kept tiles, unseen", "the same, by the final Wise"]
    return (
        "A tile whose uncertainty u exceeds the threshold, or whose image quality is unusual, is masked.\n\n"
        + _table(header, rows)
        + f"\n\nOf all labelled tiles of patients that a network never saw, the threshold in use would mask "
        f"{share:.1%}. The final Wise is not one of the networks of the folds: their u on the same kept tiles differ "
        f"by a Kolmogorov-Smirnov distance of {transfer['distance']:.2f} (0 is the same, 1 is altogether another)."
    )


def _warnings(warnings: Sequence[str]) -> list[str]:
    return ["\n".join(f"> **Warning:** {one}" for one in warnings)] if warnings else []


def _controls(controls: Mapping[str, Any]) -> list[str]:
    if not controls:
        return []
    rows = [
        [
            _plain(kind),
            f"{found['found']} of {found['planted']}",
            f"{found['low']:.0%} to {found['high']:.0%}" if found["planted"] else "",
        ]
        for kind, found in controls.items()
    ]
    return [
        "## Planted controls",
        "Known faults, made from tiles of the same store and planted in training, and how many of them cleaning found "
        "(with the 95 % interval). They speak of these kinds of fault only. These networks never saw them.",
        _table(["kind", "found", "interval"], rows),
    ]


def _pair(calibration: Mapping[str, Any], what: str) -> str:
    return f"{_number(calibration[f'{what}_before'])}, {_number(calibration[f'{what}_after'])}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _plain(name: str) -> str:
    """Return `name`, which comes from an annotation file, so that it cannot be Markdown, HTML or a second line."""
    marked = "".join(f"\\{mark}" if mark in "\\`*_[]()#|!~" else mark for mark in " ".join(name.split()))
    return marked.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
