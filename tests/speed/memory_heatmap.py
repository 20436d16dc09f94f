"""What a heatmap of a whole slide takes of memory, without the networks: it must not grow with the slide's area.

Run: ``python -m tests.speed.memory_heatmap``. The slides are those of memory_tile.py, one of a gigapixel and one of a
tenth and as wide; a reader that looks at the mean colour reads every tile of 224 px, and all outputs are written, each
slide in a process of its own. Prints the peaks (VmHWM) and their ratio; ends with exit code 1 where it is above the
limit. The numbers of 21,316 tiles and the picture of the slide are part of what grows, up to their own limits.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.speed.memory_tile import AS_WIDE, LARGE, ROOT, save_slide

MOST_RATIO = 1.5
WORK = """
import sys
from pathlib import Path
from tests.heatmaps.made import ColourReader
from w2wpath.heatmaps.run import heatmap

made = heatmap(Path(sys.argv[1]), ColourReader(tile_px=224), Path(sys.argv[2]))
status = Path("/proc/self/status").read_text()
print(int((made.maps.state != 0).sum()), int(status.partition("VmHWM:")[2].split()[0]) / 1024)
"""


def peak_mb(folder: Path, width: int, height: int) -> tuple[int, float]:
    """Read a whole slide in a process of its own; return how many tiles that were and its peak in MB."""
    slide = save_slide(folder / f"{width}x{height}.tiff", width, height)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", WORK, str(slide), str(folder / "out")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        sys.exit(ran.stderr)
    tiles, peak = ran.stdout.split()
    return int(tiles), float(peak)


def main() -> int:
    """Print the peaks and their ratio; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        small_tiles, small = peak_mb(Path(folder), *AS_WIDE)
        large_tiles, large = peak_mb(Path(folder), *LARGE)
    print(f"{small_tiles} tiles: {small:.0f} MB; {large_tiles} tiles: {large:.0f} MB; ratio {large / small:.2f}")  # noqa: T201
    return int(large > MOST_RATIO * small)


if __name__ == "__main__":
    sys.exit(main())
