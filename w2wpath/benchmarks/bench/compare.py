"""Grids of other backbones side by side, and whether W2WNet does the same on all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from w2wpath.benchmarks.bench.claims import NOTHING, OPEN, OURS, Claim, alike, claim_table, removes, verdict
from w2wpath.benchmarks.bench.published import stand_ins
from w2wpath.benchmarks.study.plain import cell, grid
from w2wpath.benchmarks.study.resampling import Figure
from w2wpath.errors import ConfigError

COMPARED: Mapping[str, tuple[str, str, str]] = {
    "AUROC of the joined score, training": ("training", OURS, "AUROC"),
    "share of the spurious excluded, training": ("training", OURS, "sensitivity"),
    "share of the good excluded, training": ("training", OURS, "false removals"),
    "accuracy, recommended": ("accuracy", OURS, "accuracy"),
    "accuracy, all": ("accuracy", "all", "accuracy"),
    "accuracy, oracle": ("accuracy", "oracle", "accuracy"),
    "gain captured": ("gain", OURS, "gain captured"),
}
"""Figures that are set side by side: table, row and figure."""
APART = frozenset({"stem", "sets", "rows", "rows_once", "device", "loader_workers", "mnist", "letters", "cifar10"})
"""Settings in which grids may differ beside the backbone: what is left out of one is not compared."""
HELD = tuple(COMPARED)[:2]
"""Those that must be alike for a backbone not to matter: what cleaning does, whatever a classifier reaches."""


@dataclass(frozen=True)
class Told:
    """What ``bench.json`` of a grid tells.

    Attributes
    ----------
    name
        The backbone.
    settings
        The others, by name.
    figures
        By set, table, row and figure.
    stand_ins
        Which files stand in for which set.
    """

    name: str
    settings: Mapping[str, Any]
    figures: Mapping[tuple[str, str, str, str], Figure]
    stand_ins: tuple[str, ...] = ()


def read_told(folder: Path) -> Told:
    """Read the figures of the grid in `folder`.

    Raises
    ------
    ConfigError
        There is no report, or it is none.
    """
    path = folder / "bench.json"
    try:
        found = json.loads(path.read_text("utf-8"))
        figures = {(one["set"], one["table"], one["row"], one["figure"]): _figure(one) for one in found["figures"]}
        clean, bench = dict(found["about"]["settings"]["clean"]), dict(found["about"]["settings"]["bench"])
        name = str(clean.pop("backbone"))
        settings = {key: one for key, one in (clean | bench).items() if key not in APART}
        return Told(name, settings, figures, tuple(stand_ins(found.get("sets", {}))))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Write it with `w2wpath bench report`.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: not the report of a benchmark ({error!r}). Write it with `w2wpath bench report`."
        ) from None


def _figure(one: Mapping[str, Any]) -> Figure:
    value, low, high, std = (
        float("nan") if one[name] is None else float(one[name]) for name in ("value", "low", "high", "std")
    )
    return Figure(value, low, high, std, int(one["n"]))


def compare(folders: Sequence[Path]) -> list[str]:
    """Return the lines of a markdown text: a table for each set that all grids have, and what follows.

    Raises
    ------
    ConfigError
        A folder has no report, two grids have one backbone, other settings differ, or there is no set that all have.
    """
    grids = [read_told(folder) for folder in folders]
    names = [one.name for one in grids]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two of these grids have the backbone {twice}. Name grids of different backbones.")
    for other in grids[1:]:
        _refuse_other_settings(grids[0], other)
    sets = [name for name in dict.fromkeys(key[0] for key in grids[0].figures) if all(_has(one, name) for one in grids)]
    if not sets:
        raise ConfigError(
            f"{', '.join(map(str, folders))}: no data set is in all of them. Name grids of the same sets."
        )
    told = sorted({text for one in grids for text in one.stand_ins})
    note = [f"{'; '.join(told)}.", ""] if told else []
    held = claim_table([_held(grids, sets, what) for what in HELD])
    return ["# Backbones", "", *note, *_tables(grids, sets), "", *held]


def _refuse_other_settings(one: Told, other: Told) -> None:
    names = {**one.settings, **other.settings}
    if differ := next((key for key in names if one.settings.get(key) != other.settings.get(key)), None):
        mine, theirs = (f"{told.settings.get(differ)} with {told.name}" for told in (one, other))
        raise ConfigError(
            f"{differ} is {mine} and {theirs}, so more than the backbone would be compared. "
            "Name grids that differ in the backbone alone."
        )


def _has(one: Told, name: str) -> bool:
    return any(key[0] == name for key in one.figures)


def _tables(grids: Sequence[Told], sets: Sequence[str]) -> Iterator[str]:
    for name in sets:
        yield from ("", f"**{name}**", "")
        rows = [[told, *(cell(one.figures.get((name, *place))) for one in grids)] for told, place in COMPARED.items()]
        yield from grid(["", *(one.name for one in grids)], rows)


def _removes(one: Told, name: str) -> bool:
    """Tell whether a grid removed anything of a set."""
    return removes({key[3]: figure for key, figure in one.figures.items() if key[:3] == (name, "training", OURS)})


def _held(grids: Sequence[Told], sets: Sequence[str], told: str) -> Claim:
    """Compare all pairs of grids, within two standard errors, taken from the intervals."""
    found, numbers = [], []
    for name in sets:
        figures = {one.name: one.figures.get((name, *COMPARED[told])) for one in grids}
        # no spurious tile, no figure
        there = {name: one for name, one in figures.items() if one is not None and not np.isnan(one.value)}
        idle = [one.name for one in grids if one.name in there and not _removes(one, name)]
        found += [alike(a, b) for a, b in combinations([one for of, one in there.items() if of not in idle], 2)]
        if there:
            but = f" ({NOTHING} by {', '.join(idle)})" if idle else ""
            numbers.append(f"{name} {' / '.join(f'{one.value:.3f}' for one in there.values())}{but}")
    text = f"the backbone does not matter: {told}"
    return Claim(text, verdict(found) if len(grids) > 1 else OPEN, "; ".join(numbers))
