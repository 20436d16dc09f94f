"""What keeping freed memory gains: training and drawing speed with and without it, in one run, taking turns.

Run: ``python tests/speed/memory.py``. Prints images a second and the ratio.
"""

from __future__ import annotations

import subprocess
import sys

ROUNDS = 3
WORK = """
import sys, time
import numpy as np
from w2wpath.config import NetSettings
from w2wpath.w2wnet.nets import device, training
if sys.argv[1] == "without":
    device._keep_freed_memory = lambda: None
n = 640
images = np.random.default_rng(0).integers(0, 255, (n, 64, 64, 3), dtype=np.uint8)
labels = np.random.default_rng(1).integers(0, 3, n).astype(np.int16)
settings = NetSettings(backbone="resnet10t")
tiles = training.Tiles(images, 3, settings, device.choose_compute("cpu", "auto"))
run = training.WiseLearner(tiles).start(np.arange(n), labels, 0)
run.epoch(), run.draw(np.arange(n))
began = time.perf_counter()
for _ in range(2):
    run.epoch()
middle = time.perf_counter()
for _ in range(4):
    run.draw(np.arange(n))
print(2 * n / (middle - began), 4 * n / (time.perf_counter() - middle))
"""


def main() -> None:
    """Alternate both ways and print the medians."""
    seen: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
    for _ in range(ROUNDS):
        for way, values in seen.items():
            out = subprocess.run([sys.executable, "-c", WORK, way], check=True, capture_output=True, text=True).stdout
            train, draw = map(float, out.split())
            values.append((train, draw))
    for index, what in enumerate(("training", "drawing")):
        with_, without = (sorted(pair[index] for pair in seen[way])[ROUNDS // 2] for way in ("with", "without"))
        print(f"{what}: {with_:.0f} images/s, without {without:.0f}: ratio {with_ / without:.2f}")  # noqa: T201 - a script


if __name__ == "__main__":
    main()
