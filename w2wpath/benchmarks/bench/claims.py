"""What the paper says of its benchmarks, held against what was measured: pass, fail, or not measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from w2wpath.benchmarks.noise.sets import SHARES
from w2wpath.benchmarks.study.plain import grid
from w2wpath.benchmarks.study.resampling import Figure

Rows = Mapping[str, Mapping[str, Figure]]
PASS, FAIL, OPEN = "pass", "fail", "not measured"
OURS = "recommended"
TOLERANCE = 2.0
"""Standard errors within which two accuracies are alike."""


@dataclass(frozen=True)
class Claim:
    """A claim, the verdict, and the numbers that it rests on."""

    text: str
    verdict: str
    numbers: str


@dataclass(frozen=True)
class Measured:
    """What claims are held against, by data set.

    Attributes
    ----------
    accuracy
        Rows of figures; ``accuracy`` is that on the good test images.
    training, unseen
        Sensitivity of row paper where it was run, else of recommended, on training and test images, over all kinds.
    """

    accuracy: Mapping[str, Rows]
    training: Mapping[str, float]
    unseen: Mapping[str, float]


def claims(measured: Measured) -> list[Claim]:
    """Check every claim on what there is."""
    return [
        *_by_side(measured),
        _trend(measured),
        *(_alike(measured, row) for row in ("roy", "koehler")),
        *_ranking(measured),
        _falls(measured),
    ]


def _by_side(measured: Measured) -> Iterator[Claim]:
    for base, more, less in (("MNIST", "test", "training"), ("CIFAR10", "training", "test")):
        names = [name for share in SHARES if (name := f"Sp-{base}-{share}") in measured.training]
        pairs = {name: (measured.training[name], measured.unseen[name]) for name in names}
        numbers = "; ".join(f"{name} training {a:.3f}, test {b:.3f}" for name, (a, b) in pairs.items())
        holds = [a > b if more == "training" else b > a for a, b in pairs.values()]
        yield Claim(f"Sp-{base}: more of the spurious is found in {more} than in {less}", verdict(holds), numbers)


def _trend(measured: Measured) -> Claim:
    names = [f"Sp-CIFAR10-{share}" for share in SHARES]
    found = [measured.training[name] for name in names if name in measured.training]
    falls = [bool(np.all(np.diff(found) < 0))] if len(found) == len(names) else []
    return Claim(
        "Sp-CIFAR10: the share found in training falls from 10 to 30 %",
        verdict(falls),
        ", ".join(f"{value:.3f}" for value in found),
    )


def _alike(measured: Measured, row: str) -> Claim:
    """Compare with the deterministic network of the rival's own settings: within two standard errors of the intervals.

    That is row ``all``, where it was run; ``deterministic`` has the paper's rate and batch, which no rival has.
    """
    found, numbers = [], []
    for name, rows in measured.accuracy.items():
        other = next(
            (figures for told, figures in rows.items() if told == row or told.startswith(f"{row}, best")), None
        )
        same = rows.get("all", rows.get("deterministic"))
        if other is None or same is None:
            continue
        mine, base = other["accuracy"], same["accuracy"]
        found.append(alike(mine, base))
        numbers.append(f"{name} {mine.value:.3f} / {base.value:.3f}")
    return Claim(f"{row}: about as the deterministic network", verdict(found), "; ".join(numbers))


def _ranking(measured: Measured) -> Iterator[Claim]:
    noisy = {name: rows for name, rows in measured.accuracy.items() if name.startswith("Sp-")}
    for text, low, high in (
        (
            f"Wiped ({OURS}) at least as the deterministic network on every Sp set, within intervals",
            "deterministic",
            OURS,
        ),
        (f"random at most as {OURS} on every Sp set, within intervals", "random", OURS),
        (f"{OURS} at most as oracle on every Sp set, within intervals", OURS, "oracle"),
    ):
        pairs = {name: (rows[low], rows[high]) for name, rows in noisy.items() if low in rows and high in rows}
        found = [_at_most(a["accuracy"], b["accuracy"]) for a, b in pairs.values()]
        numbers = [f"{n} {a['accuracy'].value:.3f} / {b['accuracy'].value:.3f}" for n, (a, b) in pairs.items()]
        yield Claim(text, verdict(found), "; ".join(numbers))


def _falls(measured: Measured) -> Claim:
    """Check the deterministic network from the least to the most noise of a base, within intervals."""
    found, numbers = [], []
    for base in ("MNIST", "CIFAR10"):
        names = [name for name in (base, *(f"Sp-{base}-{share}" for share in SHARES)) if name in measured.accuracy]
        rows = [measured.accuracy[name].get("deterministic") for name in names]
        there = [row["accuracy"] for row in rows if row is not None]
        if len(there) > 1:
            found.append(_at_most(there[-1], there[0]))
            numbers.append(f"{base} {', '.join(f'{one.value:.3f}' for one in there)}")
    return Claim("accuracy of the deterministic network falls with noise", verdict(found), "; ".join(numbers))


def alike(one: Figure, other: Figure) -> bool:
    """Tell whether two figures differ by no more than chance may do."""
    return _at_most(one, other) and _at_most(other, one)


def _at_most(low: Figure, high: Figure) -> bool:
    """Tell whether `low` is below `high`, or above it by less than chance may do."""
    return low.value - high.value <= TOLERANCE * float(np.hypot(_error(low), _error(high)))


def _error(figure: Figure) -> float:
    """Return the standard error that a 95 % interval stands for; 0 where there is none."""
    width = figure.high - figure.low
    return 0.0 if np.isnan(width) else width / (2 * 1.96)


def verdict(holds: Sequence[bool]) -> str:
    """Return what a claim comes to, of all comparisons that could be made."""
    return OPEN if not holds else PASS if all(holds) else FAIL


def claim_table(held: Sequence[Claim]) -> Iterator[str]:
    """Yield the lines of a markdown table of claims."""
    yield from grid(["claim", "", "numbers"], [[claim.text, f"**{claim.verdict}**", claim.numbers] for claim in held])
