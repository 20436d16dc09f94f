"""What the paper published of its benchmarks, read from its text and plots: other data and size, so columns apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PUBLISHED_HEAD = "published, other data and size"
PUBLISHED = """Published, other data and size (W2WNet's paper; DenseNet121, all of MNIST and CIFAR-10, EMNIST letters;
read from its text and plots): 27 to 70 % of the spurious removed over all Sp and Mixed sets, 27 to 50 % on Mixed; of
the good at most 17 % (Sp-CIFAR10-30), about 0 % on Sp-MNIST; of the originals 5 % (MNIST) and 10 % (CIFAR10); accuracy
5 to 10 points above the deterministic network on the noisy sets."""
"""The paper's figures in words; it gives no table of them."""
ABSENT = "–"


def stand_ins(sets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return which files stand in for which published set, of ``dataset.json`` by name: said at every table."""
    sources = [source for about in sets.values() for source in about["sources"]]
    return sorted({f"{one['name']} stands in for {one['stands_in_for']}" for one in sources if one["stands_in_for"]})


def published_removal(name: str) -> str:
    """Return what the paper says was removed of data set `name`."""
    if name in ("MNIST", "CIFAR10"):
        return f"good {'0.05' if name == 'MNIST' else '0.10'}"
    if name.startswith("Mixed-"):
        return "spurious 0.27 to 0.50"
    good = "about 0" if name.startswith("Sp-MNIST") else "0.17" if name == "Sp-CIFAR10-30" else "at most 0.17"
    return f"spurious 0.27 to 0.70, good {good}"


def published_accuracy(row: str) -> str:
    """Return what the paper says of the accuracy of a row."""
    return {
        "paper": "0.05 to 0.10 above deterministic on noisy sets",
        "deterministic": "falls with noise",
        "roy": "about as deterministic",
    }.get(row, "about as deterministic" if row.startswith("koehler, best") else ABSENT)
