"""What the paper says of its benchmarks, held against what was measured: pass, fail, or not measured.

A comparison that says "more" or "falls" holds where the difference is larger than chance explains, one that says "at
least" or "about as" where it is not. Accuracies are compared draw by draw of the same images, of rows of one data set
and of the data sets of one base; the rest by their intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from w2wpath.benchmarks.noise.manifest import OF_MEASUREMENT
from w2wpath.benchmarks.noise.sets import SHARES
from w2wpath.benchmarks.study.plain import grid
from w2wpath.benchmarks.study.resampling import Figure

Rows = Mapping[str, Mapping[str, Figure]]
PASS, FAIL, OPEN = "pass", "fail", "not measured"
OURS, FAIR, PAPERS = "recommended", "all", "deterministic"
"""Rows: ours; the deterministic network with our settings; the same with the paper's rate and batch."""
LEAD, OVER = f"lead of {OURS}", f"lead over {FAIR}"
TOLERANCE = 2.0
"""Standard errors within which two figures are alike."""
NOTHING = "nothing removed"


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
    accuracy, lead
        Rows of figures; ``accuracy`` is that on the good test images, and leads, of recommended over a row and of a row
        over all, are paired.
    training, unseen
        Figures of row paper where it was run and removed something, else of recommended, on training and test images:
        ``sensitivity`` (in test of faults of the image), ``excluded, all spurious``, ``false removals``,
        ``excluded KIND``.
    ours
        Those of recommended on training images.
    judged
        Whose ``training`` and ``unseen`` are, in words.
    fall
        By base, the paired loss of accuracy of row all from its set of least to that of most noise.
    """

    accuracy: Mapping[str, Rows] = field(default_factory=dict)
    lead: Mapping[str, Rows] = field(default_factory=dict)
    training: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    unseen: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    ours: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    judged: Mapping[str, str] = field(default_factory=dict)
    fall: Mapping[str, Figure] = field(default_factory=dict)

    def told(self, name: str) -> str:
        """Return a set's name, with the row that is judged where that is not recommended."""
        row = self.judged.get(name, OURS)
        return name if row == OURS else f"{name} ({row})"


def claims(measured: Measured) -> list[Claim]:
    """Check every claim on what there is."""
    return [
        *_by_side(measured),
        _trend(measured),
        *(_alike(measured, row) for row in ("roy", "koehler")),
        *_ranking(measured),
        _falls(measured),
        _kinds_in_test(measured),
    ]


def _by_side(measured: Measured) -> Iterator[Claim]:
    for base, more, less in (("MNIST", "test", "training"), ("CIFAR10", "training", "test")):
        found, numbers = [], []
        for name in (f"Sp-{base}-{share}" for share in SHARES):
            if name not in measured.training:
                continue
            if not removes(measured.training[name]):
                numbers.append(f"{measured.told(name)} {NOTHING}")
                continue
            # as in the paper, wrong labels count in test too, though no label is read there
            a, b = measured.training[name]["sensitivity"], measured.unseen[name]["excluded, all spurious"]
            found.append(_above(a, b) if more == "training" else _above(b, a))
            numbers.append(f"{measured.told(name)} training {a.value:.3f}, test {b.value:.3f}")
        text = f"Sp-{base}: more of the spurious is found in {more} than in {less}"
        yield Claim(text, verdict(found), "; ".join(numbers))


def _trend(measured: Measured) -> Claim:
    names = [f"Sp-CIFAR10-{share}" for share in SHARES]
    there = {name: measured.training[name] for name in names if name in measured.training}
    found = [one["sensitivity"] for one in there.values() if removes(one)]
    whole = len(found) == len(names)
    falls = whole and bool(np.all(np.diff([one.value for one in found]) < 0)) and _above(found[0], found[-1])
    return Claim(
        "Sp-CIFAR10: the share found in training falls from 10 to 30 %",
        verdict([falls] if whole else []),
        ", ".join(f"{measured.told(name)} {_share_found(one)}" for name, one in there.items()),
    )


def _share_found(figures: Mapping[str, Figure]) -> str:
    return f"{figures['sensitivity'].value:.3f}" if removes(figures) else NOTHING


def _alike(measured: Measured, row: str) -> Claim:
    """Compare with the deterministic network of the rival's own settings, which is row ``all`` where it was run."""
    found, numbers = [], []
    for name, rows in measured.accuracy.items():
        which = next((told for told in rows if told == row or told.startswith(f"{row}, best")), None)
        same = _fair(rows)
        if which is None or same is None:
            continue
        mine, base = rows[which]["accuracy"], same["accuracy"]
        lead = measured.lead.get(name, {}).get(which, {}).get(OVER)
        if lead is None:
            found.append(alike(mine, base))
            numbers.append(f"{name} {mine.value:.3f} / {base.value:.3f}")
        else:  # of the seeds that both have, which the other's accuracy is not
            found.append(lead.low <= 0.0 <= lead.high)
            numbers.append(f"{name} {mine.value:.3f}, {OVER} {lead}")
    return Claim(f"{row}: about as the deterministic network", verdict(found), "; ".join(numbers))


def _ranking(measured: Measured) -> Iterator[Claim]:
    for text, row, ahead in (
        (f"Wiped ({OURS}) at least as the deterministic network of the same settings ({FAIR})", FAIR, True),
        (f"Wiped ({OURS}) at least as the deterministic network with the paper's rate and batch", PAPERS, True),
        (f"random at most as {OURS}", "random", True),
        (f"{OURS} at most as oracle", "oracle", False),
    ):
        found, numbers = [], []
        for name, rows in measured.lead.items():
            if not name.startswith("Sp-") or LEAD not in rows.get(row, {}):
                continue
            if not removes(measured.ours.get(name, {})):
                numbers.append(f"{name} {NOTHING}")
                continue
            lead = rows[row][LEAD]
            found.append(not (lead.high < 0 if ahead else lead.low > 0))
            accuracy = measured.accuracy[name]
            mine, other = (accuracy[one]["accuracy"].value for one in (OURS, row))
            numbers.append(f"{name} {mine:.3f} / {other:.3f}, lead {lead}")
        yield Claim(f"{text} on every Sp set, within intervals", verdict(found), "; ".join(numbers))


def _falls(measured: Measured) -> Claim:
    """Check the deterministic network from the least to the most noise of a base, row ``all`` on the same images."""
    found, numbers = [], []
    for base in ("MNIST", "CIFAR10"):
        names = [name for name in (base, *(f"Sp-{base}-{share}" for share in SHARES)) if name in measured.accuracy]
        there = [row["accuracy"] for name in names if (row := _fair(measured.accuracy[name])) is not None]
        if len(there) > 1:
            numbers.append(f"{base} {', '.join(f'{one.value:.3f}' for one in there)}")
            if (fall := measured.fall.get(base)) is None:
                found.append(_above(there[0], there[-1]))
            else:
                found.append(fall.low > 0.0)
                numbers[-1] += f", by {fall}"
    return Claim("accuracy of the deterministic network falls with noise", verdict(found), "; ".join(numbers))


def _kinds_in_test(measured: Measured) -> Claim:
    found, numbers = [], []
    for name, figures in measured.unseen.items():
        if not name.startswith("Mixed-CIFAR10"):
            continue
        if not removes(figures):
            numbers.append(f"{measured.told(name)} {NOTHING}")
            continue
        good = figures["false removals"]
        kinds = {kind: figures[f"excluded {kind}"] for kind in OF_MEASUREMENT if f"excluded {kind}" in figures}
        found += [_above(one, good) for one in kinds.values()]
        told = ", ".join(f"{kind} {one.value:.3f}" for kind, one in kinds.items())
        numbers.append(f"{measured.told(name)} {told}, good {good.value:.3f}")
    text = "Mixed-CIFAR10: blur, crop and scale are flagged in test more often than good images"
    return Claim(text, verdict(found), "; ".join(numbers))


def _fair(rows: Rows) -> Mapping[str, Figure] | None:
    """Return the deterministic network that rivals and ours are held against."""
    return rows.get(FAIR, rows.get(PAPERS))


def removes(figures: Mapping[str, Figure]) -> bool:
    """Tell whether anything was removed: a network that doubts most labels removes nothing, and shows nothing."""
    there = [figures[part].value for part in ("sensitivity", "false removals") if part in figures]
    return not there or any(value > 0 for value in there)


def alike(one: Figure, other: Figure) -> bool:
    """Tell whether two figures differ by no more than chance may do."""
    return not _above(one, other) and not _above(other, one)


def _above(high: Figure, low: Figure) -> bool:
    """Tell whether `high` is above `low` by more than chance may do."""
    return high.value - low.value > TOLERANCE * float(np.hypot(_error(low), _error(high)))


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
