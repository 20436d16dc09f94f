"""What was taken for spurious in the sets without a fault (Fig. 4): the images, with the label that they carry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from w2wpath.benchmarks.bench.grid import Entry
from w2wpath.benchmarks.noise.sets import recipe_of
from w2wpath.benchmarks.study.methods import RECOMMENDED
from w2wpath.errors import writing

COLUMNS, MOST = 10, 40
DPI = 110


def draw_gallery(out: Path, entries: Sequence[Entry]) -> list[Path]:
    """Draw the training images that recommended removes from each set as it is, the worst first."""
    return [
        _drawn(out / f"tagged-{entry.name}.png", entry)
        for entry in entries
        if recipe_of(entry.name).percent == 0 and entry.seed == entries[0].seed and _is_there(entry)
    ]


def _is_there(entry: Entry) -> bool:
    return RECOMMENDED in entry.study.variants and entry.study.wise(RECOMMENDED, (0, entry.seed)) is not None


def _drawn(path: Path, entry: Entry) -> Path:
    ground, judged = entry.study.ground, entry.study.judged(RECOMMENDED, (0, entry.seed))
    train, severity = ground.sides(0)[0], judged.severity_n
    order = np.argsort(-severity)
    worst = order[severity[order] > 1.0]
    shown = train[worst[:MOST]]
    lines = max(1, -(-len(shown) // COLUMNS))
    picture = Picture(figsize=(COLUMNS * 0.95, lines * 1.15 + 0.6), dpi=DPI, layout="constrained")
    picture.suptitle(
        f"{entry.name}: {len(worst)} of {len(train)} training images removed"
        + (f", the {len(shown)} worst" if len(shown) < len(worst) else ""),
        fontsize=10,
    )
    panels = picture.subplots(lines, COLUMNS, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    names, table = ground.table.slides, ground.table
    for axes, row, at in zip(panels.flat, shown, worst, strict=False):
        axes.imshow(ground.store.images(names[table.slide[row]], table.row[[row]])[0])
        axes.set_title(f"{table.classes[table.label[row]]}  {severity[at]:.2f}", fontsize=7, pad=2)
    with writing(path):
        FigureCanvasAgg(picture).print_png(path)  # type: ignore[no-untyped-call]  # matplotlib leaves it untyped
    return path
