"""Does a model say when a slide is unlike its training slides? On crc27, with patients held out and stains shifted.

Two questions. Without a network: how many unshifted slides of patients held out are called out of domain (leave one
patient out)? With one: where the amounts of stains of held-out slides are changed, how much does the accuracy of the
confident tiles fall, and how many slides are called out of domain? ``truth.csv`` is opened when all has been read.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from w2wpath.slides.reader import open_slide
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.domain import DomainReference, measure
from w2wpath.w2wnet.nets.augment import SCALE_SIGMA, SHIFT_SIGMA, stained
from w2wpath.w2wnet.pixels import images_of
from w2wpath.w2wnet.quality import EMPTY_SHARE, FEATURES
from w2wpath.w2wnet.quality import measure as measure_quality

TWICE = 2.0
"""Standard deviations of the jitter in training (augment.py): a shift twice as far as what is usual there."""
SHIFTS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "as they are": ((0, 0, 0), (0, 0, 0)),
    "twice the jitter, all stains more": ((1, 1, 1), (1, 1, 1)),
    "twice the jitter, all stains less": ((-1, -1, -1), (-1, -1, -1)),
    "twice the jitter, haematoxylin more, eosin less": ((1, -1, 0), (1, -1, 0)),
    "twice the jitter, haematoxylin less, eosin more": ((-1, 1, 0), (-1, 1, 0)),
    "stains x 1.2": ((2, 2, 2), (0, 0, 0)),
    "stains x 1.5": ((5, 5, 5), (0, 0, 0)),
    "stains x 2": ((10, 10, 10), (0, 0, 0)),
    "stains x 0.5": ((-5, -5, -5), (0, 0, 0)),
}
"""Haematoxylin, eosin and residue: what is added to their factor of 1, and to their amount, in units of TWICE standard
deviations of the training's jitter of each. The larger ones show where it ends."""
EVERY = 5
"""Every fifth patient is held out."""


def main() -> None:
    """Work in a folder, which may hold an interrupted run; print a table and write ``domain.json`` there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of crc27")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    args = parser.parse_args()
    data, out = args.data.resolve(), args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with (data / "cohort.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    patients = sorted({row["patient"] for row in rows})
    held_out = set(patients[EVERY // 2 :: EVERY])
    _cohort(out / "train.csv", data, [row for row in rows if row["patient"] not in held_out])
    _cohort(out / "all.csv", data, rows)
    config = ["--config", str(Path(__file__).resolve().parent / "settings.toml")]
    _w2wpath(out, ["tile", "--cohort", "all.csv", "-o", "all.zarr", *config])
    false_calls = _leave_one_out(out / "all.zarr")
    if not (out / "model" / "model.json").is_file():
        _w2wpath(out, ["tile", "--cohort", "train.csv", *config])
        _w2wpath(out, ["clean", "--folds", "2", "--workers", "1", *config])
        _w2wpath(out, ["train", "-o", "model/"])
    read = [row for row in rows if row["patient"] in held_out]
    shifted = {name: _read(out, data, read, name) for name in SHIFTS}
    truth = _truth(data / "truth.csv")
    found = {
        "unshifted_slides_called_out_of_domain": false_calls,
        "held_out": sorted(held_out),
        "shifts": {name: _scored(folder, truth) for name, folder in shifted.items()},
    }
    (out / "domain.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))  # noqa: T201 - a script


def _leave_one_out(path: Path) -> dict[str, object]:
    store = TileStore.open(path)
    table = store.table()
    rows = table.labelled()
    images = images_of(store, table, rows)
    quality = measure_quality(images)
    values = measure(images, quality[:, FEATURES.index("focus")])
    stained = quality[:, FEATURES.index("background")] < EMPTY_SHARE
    slide, patient = table.slide[rows], table.patient[rows]
    mpp = {int(one): float(store.attributes(table.slides[one])["slide_mpp"]) for one in np.unique(slide)}
    outside = {}
    for one in np.unique(patient):
        train = (patient != one) & stained
        reference = DomainReference.learn(values[train], slide[train], mpp)
        if reference is None:
            raise SystemExit("too few slides for a reference")
        for number in np.unique(slide[patient == one]):
            verdict = reference.judge(values[(slide == number) & stained], mpp[int(number)])
            if not verdict.inside:
                outside[table.slides[number]] = list(verdict.unusual)
    return {"slides": len(table.slides), "called": outside}


def _read(out: Path, data: Path, rows: list[dict[str, str]], name: str) -> Path:
    folder = out / "read" / name.replace(" ", "_").replace(",", "")
    slides = folder / "slides"
    slides.mkdir(parents=True, exist_ok=True)
    for row in rows:
        made = slides / Path(row["slide"]).name
        if not made.is_file():
            _shifted(data / row["slide"], made, *SHIFTS[name])
    lines = ["slide", *(f"slides/{Path(row['slide']).name}" for row in rows)]
    (folder / "slides.csv").write_text("\n".join(lines) + "\n", "utf-8")
    said = _w2wpath(out, ["heatmap", "--cohort", str(folder / "slides.csv"), "--model", "model/", "-o", str(folder)])
    (folder / "said.json").write_text(json.dumps(said), "utf-8")
    return folder


def _shifted(
    source: Path, made: Path, factors: tuple[float, float, float], amounts: tuple[float, float, float]
) -> None:
    """Write a slide anew, lossless, with its stains changed as training changes them, only further."""
    with open_slide(source) as slide:
        image = slide.read_rgb(0, 0, 0, slide.width0, slide.height0)
        mpp = slide.mpp
    scale = 1 + TWICE * SCALE_SIGMA * torch.tensor([factors], dtype=torch.float32)
    shift = TWICE * SHIFT_SIGMA * torch.tensor([amounts], dtype=torch.float32)
    # strips, so that a slide of floats never fills the memory
    strips = [image[i : i + 256] for i in range(0, len(image), 256)]
    image = np.concatenate([_stained(strip, scale, shift) for strip in strips])
    height, width = image.shape[:2]
    about = f"Aperio Image Library v12\n{width}x{height} [0,0 {width}x{height}] (240x240)|AppMag = 20|MPP = {mpp}"
    tiled: dict[str, Any] = {"tile": (240, 240), "compression": "zlib"}
    rgb: dict[str, Any] = {"photometric": "rgb", "metadata": None, "description": about}
    scratch = made.with_suffix(".partial")
    with tifffile.TiffWriter(scratch) as file:
        file.write(image, **tiled, **rgb)
        file.write(np.ascontiguousarray(image[::16, ::16]), **rgb)
        file.write(_quartered(image), **tiled, **rgb)
    scratch.rename(made)


def _stained(strip: NDArray[np.uint8], scale: torch.Tensor, shift: torch.Tensor) -> NDArray[np.uint8]:
    changed = stained(torch.from_numpy(strip[None].astype(np.float32)), scale, shift)
    return np.asarray(changed[0].clamp(0, 255).round().to(torch.uint8).numpy())


def _quartered(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = (side // 4 * 4 for side in image.shape[:2])
    parts = image[:height, :width].reshape(height // 4, 4, width // 4, 4, 3)
    return np.asarray(parts.mean(axis=(1, 3)).round().astype(np.uint8))


def _truth(path: Path) -> dict[tuple[str, int, int], str]:
    """Return the class of every good tile by slide and corner."""
    with path.open(encoding="utf-8") as file:
        return {
            (row["slide"], int(row["x0"]), int(row["y0"])): row["content"]
            for row in csv.DictReader(file)
            if row["spurious"] == "0"
        }


def _scored(folder: Path, truth: dict[tuple[str, int, int], str]) -> dict[str, object]:
    said = json.loads((folder / "said.json").read_text("utf-8"))["slides"]
    right, confident, good = 0, 0, 0
    for one in said:
        with (folder / f"{one['slide']}.tiles.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                content = truth.get((one["slide"], int(row["x0"]), int(row["y0"])))
                good += content is not None
                if content is not None and row["state"] == "confident":
                    confident += 1
                    right += row["class"] == content
    outside = [one["slide"] for one in said if not one["domain"]["inside"]]
    accuracy = right / confident if confident else None
    return {"good": good, "confident": confident, "accuracy": accuracy, "out_of_domain": outside, "slides": len(said)}


def _cohort(path: Path, data: Path, rows: list[dict[str, str]]) -> None:
    lines = ["slide,rois,patient"]
    lines += [f"{data / row['slide']},{data / row['rois']},{row['patient']}" for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _w2wpath(folder: Path, words: list[str]) -> dict[str, object]:
    print("w2wpath", *words, file=sys.stderr, flush=True)  # noqa: T201 - a script
    command = [sys.executable, "-m", "w2wpath", *words, "--json"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"w2wpath {words[0]} failed with {done.returncode}")
    said: dict[str, object] = json.loads(done.stdout)
    return said


if __name__ == "__main__":
    main()
