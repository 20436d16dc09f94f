"""Make a cohort of GlaS for ``w2wpath tile --cohort``, and from its masks a truth table that is for scoring only.

Nothing but ``truth/truth.csv`` comes from the masks, and no other output is made from it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from w2wpath.errors import CohortError, TruthError, W2wError

SIDE0 = 112
"""Side of a tile in level-0 pixels: 775 x 522 px hold 6 x 4 of them."""
SLIDE_MPP = 0.62005
"""um/px of GlaS (20x) as published; the image files do not say it."""
LEAST_GLAND = 0.05
"""A tile of which less is gland does not show what its image's grade is about."""
NO_GLAND = "no gland"
CLASSES = ("benign", "malignant")
GRADE_COLUMNS = ("name", "patient ID", "grade (GlaS)", "grade (Sirinukunwattana et al. 2015)")
TRUTH_COLUMNS = ("slide", "x0", "y0", "content", "spurious", "kind", "gland_share")


@dataclass(frozen=True)
class Graded:
    """One image of GlaS: its file, and what Grade.csv says of it. The split is information and used nowhere."""

    path: Path
    patient: str
    label: str
    grade: str
    split: str

    @property
    def name(self) -> str:
        """The file's stem, which also names mask, annotations and slide."""
        return self.path.stem


def main() -> int:
    """Write cohort, annotations and truth; print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds glas/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the cohort; written over if there")
    args = parser.parse_args()
    try:
        images = read_images(args.data / "glas")
        write_cohort(images, args.out)
        counts = count_images(images) | write_truth(images, args.data / "glas" / "masks", args.out / "truth")
    except W2wError as error:
        print(f"prepare.py: {error}", file=sys.stderr)  # noqa: T201 - a script
        return 1
    print(json.dumps(counts, indent=1))  # noqa: T201 - a script
    return 0


def read_images(folder: Path) -> list[Graded]:
    """Return the images that Grade.csv names, in its order.

    Raises
    ------
    CohortError
        Grade.csv or an image is missing, a column is missing, or a class is neither benign nor malignant.
    """
    table = folder / "Grade.csv"
    if not table.is_file():
        raise CohortError(f"{table}: no such file. Give --data the folder that holds glas/.")
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [column for column in GRADE_COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise CohortError(f"{table}: column {missing[0]!r} is missing. Give columns {', '.join(GRADE_COLUMNS)}.")
        return [_graded([row[column].strip() for column in GRADE_COLUMNS], folder) for row in reader]


def _graded(cells: Sequence[str], folder: Path) -> Graded:
    name, patient, label, grade = cells
    if label not in CLASSES:
        raise CohortError(f"{folder / 'Grade.csv'}: {name}: class must be benign or malignant; got {label!r}.")
    found = sorted((folder / "images").glob(f"{name}.*"))
    if len(found) != 1:
        raise CohortError(f"{folder / 'images'}: holds {len(found)} files of image {name}; one is needed.")
    return Graded(found[0], patient, label, grade, name.partition("_")[0])


def write_cohort(images: Sequence[Graded], out: Path) -> None:
    """Write cohort.csv, images.csv and one GeoJSON an image, whose only annotation is the whole image."""
    (out / "rois").mkdir(parents=True, exist_ok=True)
    for image in images:
        with Image.open(image.path) as opened:
            region = whole_image(image.label, *opened.size)
        (out / "rois" / f"{image.name}.geojson").write_text(json.dumps(region) + "\n", "utf-8")
    slides = [(os.path.relpath(i.path, out), f"rois/{i.name}.geojson", i.patient, SLIDE_MPP) for i in images]
    _write_csv(out / "cohort.csv", ("slide", "rois", "patient", "slide_mpp"), slides)
    about = [(i.name, i.patient, i.label, i.grade, i.split) for i in images]
    _write_csv(out / "images.csv", ("slide", "patient", "class", "grade", "split"), about)


def whole_image(label: str, width0: int, height0: int) -> dict[str, Any]:
    """Return a FeatureCollection of one annotation that covers width0 x height0 px."""
    ring = [[0, 0], [width0, 0], [width0, height0], [0, height0], [0, 0]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": {"name": label}},
    }
    return {"type": "FeatureCollection", "features": [feature]}


def count_images(images: Sequence[Graded]) -> dict[str, Any]:
    """Count images, patients and images by class and split."""
    return {
        "images": len(images),
        "patients": len({image.patient for image in images}),
        "images by class": dict(Counter(image.label for image in images)),
        "images by split": dict(Counter(image.split for image in images)),
    }


def write_truth(images: Sequence[Graded], masks: Path, folder: Path) -> dict[str, Any]:
    """Write truth.csv from the masks and return counts of its tiles.

    Raises
    ------
    TruthError
        A mask is missing or has another size than its image.
    """
    rows = [row for image in images for row in truth_rows(image, read_mask(image, masks))]
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(folder / "truth.csv", TRUTH_COLUMNS, (tuple(row.values()) for row in rows))
    return {
        "tiles": len(rows),
        "tiles by class": dict(Counter(row["content"] for row in rows)),
        "spurious": sum(row["spurious"] for row in rows),
        "share spurious": round(sum(row["spurious"] for row in rows) / max(1, len(rows)), 4),
    }


def read_mask(image: Graded, masks: Path) -> NDArray[np.bool_]:
    """Return which pixels (h, w) of an image are gland.

    Raises
    ------
    TruthError
        The mask is missing or has another size than its image.
    """
    path = masks / f"{image.name}.png"
    if not path.is_file():
        raise TruthError(f"{path}: no such mask. Every image of Grade.csv needs one.")
    with Image.open(path) as mask, Image.open(image.path) as picture:
        if mask.size != picture.size:
            raise TruthError(f"{path}: is {mask.size} px, its image {picture.size}. Bring back the mask of this image.")
        return np.asarray(mask) > 0


def truth_rows(image: Graded, gland_hw: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return a row of TRUTH_COLUMNS for every whole cell of SIDE0 px, by the gland's exact share of its pixels."""
    down, across = (size // SIDE0 for size in gland_hw.shape)
    cells = gland_hw[: down * SIDE0, : across * SIDE0].reshape(down, SIDE0, across, SIDE0)
    share_yx = cells.mean(axis=(1, 3))
    rows = []
    for (row, column), share in np.ndenumerate(share_yx):
        spurious = int(share < LEAST_GLAND)
        place = (image.name, column * SIDE0, row * SIDE0)
        said = (*place, image.label, spurious, NO_GLAND if spurious else "", f"{share:.6f}")
        rows.append(dict(zip(TRUTH_COLUMNS, said, strict=True)))
    return rows


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(header)
        lines.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
