"""Every rival by the name of its row: the tables ``RIVALS`` of this package's modules."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec

from w2wpath.benchmarks import rivals
from w2wpath.benchmarks.rivals.rival import Rival


def _found() -> dict[str, Rival]:
    found: dict[str, Rival] = {}
    for one in pkgutil.iter_modules(rivals.__path__):
        if one.name != __name__.rpartition(".")[2]:
            found |= getattr(import_module(f"{rivals.__name__}.{one.name}"), "RIVALS", {})
    return found


RIVALS: Mapping[str, Rival] = _found()


def is_installed(rival: Rival) -> bool:
    """Tell whether the package that a rival needs is there."""
    return not rival.package or find_spec(rival.package) is not None
