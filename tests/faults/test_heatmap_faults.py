"""A heatmap that is killed in the middle of a slide: nothing half-made is seen, and the next run goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.heatmaps.made import SEEN, ColourReader, save_slide
from w2wpath.config import HeatmapSettings
from w2wpath.heatmaps.run import ENDINGS, heatmap
from w2wpath.heatmaps.store import read_maps

SLOW = """
import sys, time
from pathlib import Path
from tests.heatmaps.made import ColourReader
from w2wpath.config import HeatmapSettings
from w2wpath.heatmaps import notebook
from w2wpath.heatmaps.run import heatmap

class Slow(ColourReader):
    def predict(self, images, **options):
        time.sleep(0.3)
        return super().predict(images, **options)

notebook.KEPT_EVERY_S = 0.0
heatmap(Path(sys.argv[1]), Slow(), Path(sys.argv[2]), HeatmapSettings(batch_size=2))
"""


def test_a_killed_run_leaves_its_notes_and_the_next_one_goes_on_from_them(tmp_path: Path) -> None:
    path, out = save_slide(tmp_path / "a.svs"), tmp_path / "out"
    notes = out / ".a.read.npz"
    running = subprocess.Popen([sys.executable, "-c", SLOW, str(path), str(out)], cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 60
        while not notes.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
    finally:
        running.kill()
        running.wait()
    seen = {file.name for file in out.iterdir()}
    assert ".a.read.npz" in seen
    # besides the notes, at most a scratch file of theirs
    assert not seen & {f"a.{ending}" for ending in ENDINGS}
    with np.load(notes) as kept:
        rows = int(kept["rows"])
    assert rows >= 2
    reader = ColourReader()
    made = heatmap(path, reader, out, HeatmapSettings(batch_size=2))
    assert sum(count for count, *_ in reader.asked) == (SEEN >= 0).sum() - rows
    whole = heatmap(path, ColourReader(), tmp_path / "whole", HeatmapSettings(batch_size=2))
    (again, _), (expected, _) = (read_maps(folder / "a.maps.zarr") for folder in (out, tmp_path / "whole"))
    for name in ("state", "reason", "probs_nk", "u", "draws"):
        assert np.array_equal(getattr(again, name), getattr(expected, name), equal_nan=name in ("probs_nk", "u"))
    assert made.summary == whole.summary
    assert json.loads((out / "a.summary.json").read_text())["slide"] == "a.svs"
    assert not notes.exists()
