"""``w2wpath patients``: other patients for stored tiles, without reading a pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from w2wpath.cli import options
from w2wpath.cli.tile import finish

NAME = "patients"


def run(
    table: Annotated[Path, typer.Argument(help="CSV of slide, patient and, for tissue microarrays, core.")],
    store: options.Store = Path("tiles.zarr"),
    as_json: options.Json = False,
) -> None:
    """Say whose slides, or whose TMA cores, the tiles of a store are."""
    from w2wpath.tiles.changes import assign_patients
    from w2wpath.tiles.patients import read_patient_map

    finish(store, assign_patients(store, read_patient_map(table), str(table)), as_json=as_json)
