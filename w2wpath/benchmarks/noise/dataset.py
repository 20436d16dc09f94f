"""Make a data set of Table 1 on disk: a tile store for whoever trains, and its truth in a folder of its own.

::

    OUT/dataset.json         name, seed, mode, counts, sources, digests
    OUT/tiles.zarr/          slides ``train`` and ``test``: pixels and given labels
    OUT/truth/truth.csv      slide, x0, y0, content, spurious, kind
    OUT/truth/manifest.csv   every column of the manifests
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.noise.corruptions import blurred, cropped, rescaled
from w2wpath.benchmarks.noise.manifest import BLUR, CROP, SCALE, Manifest, Mode, make_manifest
from w2wpath.benchmarks.noise.sets import FULL_SIZE, Recipe, recipe_of
from w2wpath.benchmarks.sources.source import SPLITS, Source, Split
from w2wpath.errors import ConfigError
from w2wpath.provenance import write_whole
from w2wpath.tiles.layout import tile_ids
from w2wpath.tiles.store import SlideTiles, StoreSpec, TileStore

MPP = 1.0
"""Nominal: such images have no physical size."""
COLUMNS = 100
"""Tiles side by side on the made-up slide of a split."""
GROUPS = 50
"""Image i of a source belongs to group i modulo this (the `patient` of the store): a copy is with its original."""


@dataclass(frozen=True)
class DataSet:
    """A data set on disk."""

    name: str
    store: Path
    truth: Path
    manifests: Mapping[Split, Manifest]
    about: Mapping[str, Any]


def make_dataset(
    name: str,
    out: Path,
    base: Source,
    letters: Source | None,
    *,
    images: int | None = None,
    test_images: int | None = None,
    mode: Mode = "append",
    seed: int = 0,
) -> DataSet:
    """Make data set `name` of Table 1 in folder `out`; one that is there already and is the same stays.

    Parameters
    ----------
    letters
        What is put among digits; not needed elsewhere.
    images, test_images
        Originals of either split; None takes all.

    Raises
    ------
    ConfigError
        There is no such set, letters are missing, more is asked for than there is, or another set lies in `out`.
    """
    recipe = recipe_of(name)
    if recipe.base == "MNIST" and recipe.percent and letters is None:
        raise ConfigError(f"{name}: needs letters. Name the folder that holds them.")
    asked: dict[Split, int | None] = {"train": images, "test": test_images}
    manifests = {
        split: make_manifest(
            recipe,
            split,
            base.labels[split],
            n_classes=len(base.classes),
            letters=0 if letters is None else len(letters.labels[split]),
            images=asked[split],
            mode=mode,
            seed=seed,
        )
        for split in SPLITS
    }
    about = _about(recipe, base, letters, manifests, mode, seed)
    made = DataSet(name, out / "tiles.zarr", out / "truth" / "truth.csv", manifests, about)
    if not (_is_there(out, about) and made.store.is_dir() and made.truth.is_file()):
        _write(out, made, base, letters)
    return made


def _is_there(out: Path, about: Mapping[str, Any]) -> bool:
    path = out / "dataset.json"
    if not path.is_file():
        return False
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: is damaged ({error}). Remove its folder, and run again.") from error
    if found != json.loads(json.dumps(about)):
        raise ConfigError(
            f"{path}: is of another data set, source, size or seed. Take another folder with -o, or remove the whole "
            f"folder {out}, with the networks in it."
        )
    return True


def _write(out: Path, made: DataSet, base: Source, letters: Source | None) -> None:
    """Write the store, the truth, and last what tells that all of it is there."""
    shutil.rmtree(made.store, ignore_errors=True)  # of a run that was interrupted
    out.mkdir(parents=True, exist_ok=True)
    px = int(base.images["train"].shape[1])
    store = TileStore.create_or_open(made.store, StoreSpec(px, MPP, px, "none"))
    for split, manifest in made.manifests.items():
        tiles = _tiles(split, manifest, base.classes, px)
        store.add(split, tiles, _pixels(split, manifest, base, letters))
    made.truth.parent.mkdir(exist_ok=True)
    write_whole(made.truth, _truth_csv(made.manifests, base.classes, px).encode())
    write_whole(made.truth.with_name("manifest.csv"), _manifest_csv(made.manifests).encode())
    write_whole(out / "dataset.json", (json.dumps(made.about, indent=1) + "\n").encode())


def _corners(n: int, px: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    at = np.arange(n)
    return (at % COLUMNS * px).astype(np.int32), (at // COLUMNS * px).astype(np.int32)


def _tiles(split: Split, manifest: Manifest, classes: tuple[str, ...], px: int) -> SlideTiles:
    """Return the columns of a split: nothing in them tells what is wrong with an image."""
    n, (x0, y0) = manifest.n, _corners(manifest.n, px)
    patients = [f"{split}-{group:02d}" for group in range(GROUPS)]
    columns: dict[str, NDArray[Any]] = {
        "x0": x0,
        "y0": y0,
        "side0": np.full(n, px, dtype=np.int32),
        "label": manifest.label,
        "roi": np.zeros(n, dtype=np.int32),
        "patient": (manifest.index % GROUPS).astype(np.int32),
        "core": np.full(n, -1, dtype=np.int32),
        "valid_share": np.ones(n, dtype=np.float32),
        "area_share": np.eye(len(classes), dtype=np.float32)[manifest.label],
        "tile_id": tile_ids(split, x0, y0, px),
    }
    labels = hashlib.sha256(manifest.label.tobytes()).hexdigest()
    attributes = {
        "classes": list(classes),
        "patients": patients,
        "patient_from": "index of the image modulo 50",
        # of the pixels, by what they were made from; one-way, so that it tells nothing
        "pixels_hash": manifest.digest,
        "labels_hash": labels,
    }
    return SlideTiles(columns, attributes)


def _pixels(split: Split, manifest: Manifest, base: Source, letters: Source | None) -> Iterator[NDArray[np.uint8]]:
    for i in range(manifest.n):
        source = letters if manifest.letter[i] and letters is not None else base
        image, kind = source.images[split][manifest.index[i]], manifest.kind[i]
        if kind == BLUR:
            image = blurred(image)
        elif kind == CROP:
            image = cropped(image, float(manifest.factor[i]), float(manifest.left[i]), float(manifest.top[i]))
        elif kind == SCALE:
            image = rescaled(image, float(manifest.factor[i]))
        yield image


def _truth_csv(manifests: Mapping[Split, Manifest], classes: tuple[str, ...], px: int) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("slide", "x0", "y0", "content", "spurious", "kind"))
    for split, manifest in manifests.items():
        x0, y0 = _corners(manifest.n, px)
        content = ["" if one < 0 else classes[one] for one in manifest.content]
        spurious = manifest.spurious.astype(int).tolist()
        rows = zip(x0.tolist(), y0.tolist(), content, spurious, manifest.kind.tolist(), strict=True)
        writer.writerows((split, *row) for row in rows)
    return text.getvalue()


def _manifest_csv(manifests: Mapping[Split, Manifest]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [one.name for one in fields(Manifest) if one.name != "originals"]
    writer.writerow(("slide", *names))
    for split, manifest in manifests.items():
        columns = [getattr(manifest, name).tolist() for name in names]
        writer.writerows((split, *row) for row in zip(*columns, strict=True))
    return text.getvalue()


def _about(
    recipe: Recipe, base: Source, letters: Source | None, manifests: Mapping[Split, Manifest], mode: Mode, seed: int
) -> dict[str, Any]:
    """Return what a data set is; both of the paper's and the real share of spurious images (R30)."""
    sources = [base, *([letters] if letters is not None and recipe.base == "MNIST" and recipe.percent else [])]
    return {
        "name": recipe.name,
        "seed": seed,
        "mode": mode,
        "sources": [
            {"name": one.name, "stands_in_for": one.stands_in_for, "origin": one.origin.splitlines()} for one in sources
        ],
        "splits": {
            split: {
                "originals": manifest.originals,
                "images": manifest.n,
                "spurious": int(manifest.spurious.sum()),
                "kinds": {str(kind): int((manifest.kind == kind).sum()) for kind in np.unique(manifest.kind) if kind},
                "share_of_originals": float(manifest.spurious.sum() / manifest.originals),
                "share_of_set": float(manifest.spurious.mean()),
                "of_full_size": manifest.originals / FULL_SIZE[recipe.base][split],
                "manifest": manifest.digest,
            }
            for split, manifest in manifests.items()
        },
    }
