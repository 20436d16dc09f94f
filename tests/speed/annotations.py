"""How fast annotations are read and written, and in how much memory, against plain ways to do the same.

Run: ``python tests/speed/annotations.py read`` (seconds and peak memory against ``json.load`` and ``shapely.shape``;
the limit is ``json.load`` alone), or ``write`` (seconds, MB as text, MB gzipped and growth of memory against
``json.dump`` of all at once).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROUNDS = 3
SIZES = (10_000, 100_000)
WRITE = """
import gzip, json, resource, sys, tempfile, time
from pathlib import Path
import numpy as np
from w2wpath.frames import Frame
from w2wpath.heatmaps.geojson import qupath_tiles
from w2wpath.heatmaps.maps import Maps
from w2wpath.qupath.write import write_tiles

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)

def at_once(path, tiles, about):
    features = [
        {
            "type": "Feature",
            "id": str(tile.object_id),
            "geometry": {"type": "Polygon", "coordinates": [[
                [tile.x, tile.y], [tile.x + tile.side, tile.y], [tile.x + tile.side, tile.y + tile.side],
                [tile.x, tile.y + tile.side], [tile.x, tile.y],
            ]]},
            "properties": {
                "objectType": "tile",
                "classification": {"name": tile.class_name, "color": list(tile.colour)},
                "measurements": {name: round(value, 4) for name, value in tile.measurements.items()},
            },
        }
        for tile in tiles
    ]
    with gzip.open(path, "wt") as file:
        json.dump({"type": "FeatureCollection", "features": features, "w2wpath": about}, file, separators=(",", ":"))

n, way = int(sys.argv[1]), sys.argv[2]
draw = np.random.default_rng(0)
place = np.arange(n, dtype=np.int32)
probs = draw.dirichlet(np.ones(2), n).astype(np.float32)
u = draw.random(n, dtype=np.float32)
side = 512
# two classes, half of the tiles uncertain: five and three measurements, four on average
maps = Maps(
    classes=("Stroma", "Tumor"), x0=place % 400 * side, y0=place // 400 * side, side0=side, step0=side,
    width0=400 * side, height0=(n // 400 + 1) * side, slide_mpp=0.25, threshold=0.5,
    state=(1 + place % 2).astype(np.uint8), reason=(place % 2).astype(np.uint8), probs_nk=probs, u=u, epistemic=u,
)
frame = Frame("qupath", 0, 0, maps.width0, maps.height0)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "a.geojson.gz"
    before, began = peak(), time.perf_counter()
    (write_tiles if way == "streamed" else at_once)(path, qupath_tiles(maps, frame, "slide"), {})
    took, grown = time.perf_counter() - began, peak() - before
    with gzip.open(path) as file:
        text = sum(len(part) for part in iter(lambda: file.read(1 << 20), b""))
    print(json.dumps([took, text / 1e6, path.stat().st_size / 1e6, grown]))
"""

READ = """
import json, math, random, resource, sys, time
from pathlib import Path
import shapely
from shapely.geometry import shape
from w2wpath.qupath.read import read_rois

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
path, way = Path(sys.argv[1]), sys.argv[2]
began, valid = time.perf_counter(), 0
if way == "make":
    draw = random.Random(0)
    with path.open("w") as file:
        file.write('{"type":"FeatureCollection","features":[')
        for i in range(100_000):
            x, y = draw.random() * 1e5, draw.random() * 1e5
            reach = [10 + 2 * draw.random() for _ in range(24)]
            ring = [[round(x + r * math.cos(k * math.pi / 12), 2), round(y + r * math.sin(k * math.pi / 12), 2)]
                    for k, r in enumerate(reach)]
            properties = {
                "objectType": "annotation",
                "classification": {"name": "Tumor" if i % 3 else "Stroma", "color": [200, 0, 0]},
                "measurements": {"Area": 1.5, "Probability": 0.25},
            }
            one = {"type": "Feature", "id": f"8e0831cc-5975-42da-9e38-{i:012d}",
                   "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}, "properties": properties}
            file.write("," * bool(i) + json.dumps(one))
        file.write("]}")
elif way == "w2wpath":
    rois = read_rois(path)
    tree = shapely.STRtree([roi.geometry for roi in rois.regions])
    valid = len(rois.regions)
else:
    features = json.loads(path.read_text("utf-8"))["features"]
    if way == "json and shapely":
        areas = [shape(feature["geometry"]) for feature in features]
        valid = int(shapely.is_valid(areas).sum())
        tree = shapely.STRtree(areas)
print(json.dumps([time.perf_counter() - began, peak(), valid]))
"""


def read_100k() -> None:
    """Read, validate and index 100,000 polygons of 25 vertices in turns, each in a process of its own."""
    ways = ("w2wpath", "json and shapely", "json alone")
    seen: dict[str, list[list[float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "regions.geojson"
        _measured(READ, path, "make")
        _say(f"100000 polygons of 25 vertices, {path.stat().st_size / 1e6:.0f} MB")
        for _ in range(ROUNDS):
            for way, values in seen.items():
                values.append(_measured(READ, path, way))
    middle = {
        way: [sorted(column)[ROUNDS // 2] for column in zip(*values, strict=True)] for way, values in seen.items()
    }
    for way, (seconds, peak_mb, valid) in middle.items():
        _say(f"{way}: {seconds:.2f} s, peak memory {peak_mb:.0f} MB, {valid:.0f} valid areas indexed")
    own, plain = middle["w2wpath"], middle["json and shapely"]
    _say(f"json and shapely / w2wpath: time {plain[0] / own[0]:.2f}, memory {plain[1] / own[1]:.1f}")


def write_100k() -> None:
    """Write tiles of a heatmap both ways in turns, each in a process of its own, and print the medians."""
    ways = ("streamed", "at once")
    seen: dict[tuple[int, str], list[list[float]]] = {(n, way): [] for n in SIZES for way in ways}
    for _ in range(ROUNDS):
        for (n, way), values in seen.items():
            values.append(_measured(WRITE, n, way))
    middle = {
        key: [sorted(column)[ROUNDS // 2] for column in zip(*values, strict=True)] for key, values in seen.items()
    }
    for (n, way), (seconds, raw_mb, gz_mb, grown_mb) in middle.items():
        _say(f"{n} tiles {way}: {seconds:.2f} s, {raw_mb:.1f} MB, {gz_mb:.2f} MB gz, memory grew by {grown_mb:.1f} MB")
    streamed, whole = (middle[SIZES[-1], way] for way in ways)
    _say(
        f"{SIZES[-1]} tiles, at once / streamed: time {whole[0] / streamed[0]:.2f}, memory {whole[3] / streamed[3]:.1f}"
    )


COMMANDS: dict[str, Callable[[], None]] = {"read": read_100k, "write": write_100k}


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=COMMANDS)
    COMMANDS[parser.parse_args().what]()


def _measured(code: str, *args: object) -> list[float]:
    command = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    numbers: list[float] = json.loads(done.stdout)
    return numbers


def _say(line: str) -> None:
    print(line)  # noqa: T201 - a script


if __name__ == "__main__":
    main()
