"""A data set on disk: the store that `clean` takes, without a trace of the truth, and the truth beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import file_bytes
from w2wpath.benchmarks.noise import dataset
from w2wpath.benchmarks.noise.corruptions import blurred, cropped, rescaled
from w2wpath.benchmarks.noise.dataset import DataSet, make_dataset
from w2wpath.benchmarks.noise.manifest import BLUR, CROP, KINDS, SCALE
from w2wpath.benchmarks.sources.source import Source, Split
from w2wpath.config import CleanSettings
from w2wpath.errors import ConfigError
from w2wpath.progress import Silent
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.clean import clean
from w2wpath.w2wnet.nets.training import Tiles, WiseLearner
from w2wpath.w2wnet.truth import read_truth

SIZE: dict[Split, int] = {"train": 120, "test": 40}


def source(name: str, classes: int, px: int, seed: int) -> Source:
    """Random images, each with its number in the first pixels."""
    random = np.random.default_rng(seed)
    images, labels = {}, {}
    for split, n in SIZE.items():
        images[split] = random.integers(0, 256, (n, px, px, 3), dtype=np.uint8)
        images[split][:, 0, 0, 0] = np.arange(n)
        labels[split] = (np.arange(n) % classes).astype(np.int16)
    return Source(name, tuple(f"c{i}" for i in range(classes)), images, labels, f"{name}.npz sha256 0")


@pytest.fixture(scope="module")
def digits() -> Source:
    return source("MNIST", 10, 28, 0)


@pytest.fixture(scope="module")
def letters() -> Source:
    return source("letters", 26, 28, 1)


@pytest.fixture(scope="module")
def pictures() -> Source:
    return source("CIFAR-10", 10, 32, 2)


def seen(made: DataSet, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Images and given labels of a split, in the order of its manifest."""
    store = TileStore.open(made.store)
    tiles = store.read(split)
    return store.images(split, np.arange(tiles.n)), tiles.columns["label"]


def test_the_store_holds_what_the_manifest_says(digits: Source, letters: Source, tmp_path: Path) -> None:
    made = make_dataset("Sp-MNIST-20", tmp_path, digits, letters, images=100, test_images=30, seed=5)
    for split, manifest in made.manifests.items():
        images, labels = seen(made, split)
        for i in range(manifest.n):
            of = letters if manifest.letter[i] else digits
            np.testing.assert_array_equal(images[i], of.images[split][manifest.index[i]])
        np.testing.assert_array_equal(labels, manifest.label)
    table = TileStore.open(made.store).table()
    truth = read_truth(made.truth, table)
    assert truth.known.all()
    joined = [np.concatenate([getattr(made.manifests[s], name) for s in table.slides]) for name in ("kind", "content")]
    order = np.lexsort((table.row, table.slide))
    np.testing.assert_array_equal(truth.kind[order], joined[0])
    np.testing.assert_array_equal(truth.content[order], [f"c{c}" if c >= 0 else "" for c in joined[1]])
    np.testing.assert_array_equal(truth.spurious, truth.kind != "")


def test_every_kind_of_fault_is_what_it_is_called(pictures: Source, tmp_path: Path) -> None:
    made = make_dataset("Sp-CIFAR10-30", tmp_path, pictures, None)
    found = set()
    for split, manifest in made.manifests.items():
        images, _ = seen(made, split)
        for i in range(manifest.n):
            original, kind = pictures.images[split][manifest.index[i]], str(manifest.kind[i])
            factor, left, top = (float(values[i]) for values in (manifest.factor, manifest.left, manifest.top))
            expected = {
                BLUR: lambda original=original: blurred(original),
                CROP: lambda original=original, f=factor, x=left, y=top: cropped(original, f, x, y),
                SCALE: lambda original=original, f=factor: rescaled(original, f),
            }.get(kind, lambda original=original: original)()
            np.testing.assert_array_equal(images[i], expected)
            found.add(kind)
    assert found >= {BLUR, CROP, SCALE}


def test_a_set_whose_tiles_or_truth_were_lost_is_made_again(digits: Source, letters: Source, tmp_path: Path) -> None:
    def made() -> DataSet:
        return make_dataset("Sp-MNIST-20", tmp_path, digits, letters, images=60, test_images=30)

    first = made()
    before = file_bytes(tmp_path)
    first.truth.unlink()
    made()
    shutil.rmtree(first.store)
    made()
    assert file_bytes(tmp_path).keys() == before.keys()
    assert first.truth.read_bytes() == before["truth/truth.csv"]


def test_k16_a_flipped_copy_differs_from_its_twin_by_the_label_alone(pictures: Source, tmp_path: Path) -> None:
    made = make_dataset("Sp-CIFAR10-30", tmp_path, pictures, None)
    manifest = made.manifests["train"]
    images, labels = seen(made, "train")
    table = TileStore.open(made.store).table().take(np.arange(manifest.n))
    for i in np.flatnonzero(manifest.spurious):
        twin, wrong = manifest.twin_of[i], str(manifest.kind[i]).startswith("label")
        assert np.array_equal(images[i], images[twin]) is wrong
        assert (labels[i] != labels[twin]) == wrong
    patient = TileStore.open(made.store).read("train").columns["patient"]
    copies = np.flatnonzero(manifest.spurious)
    np.testing.assert_array_equal(patient[copies], patient[manifest.twin_of[copies]])
    assert table.n == manifest.n


def test_nothing_in_the_store_tells_what_is_wrong(pictures: Source, tmp_path: Path) -> None:
    made = make_dataset("Sp-CIFAR10-30", tmp_path, pictures, None)
    words = ("spurious", "truth", "twin", "content", *(kind.removeprefix("label ") for kind in KINDS))
    told = [path.read_bytes() for path in sorted(made.store.rglob("zarr.json"))]
    assert told
    for text in told:
        lowered = text.lower().replace(b"content_hash", b"")
        assert [word for word in words if word.encode() in lowered] == []


def test_what_is_there_stays_and_another_set_is_refused(digits: Source, letters: Source, tmp_path: Path) -> None:
    make_dataset("Sp-MNIST-10", tmp_path, digits, letters, images=50, test_images=20)
    before = file_bytes(tmp_path)
    make_dataset("Sp-MNIST-10", tmp_path, digits, letters, images=50, test_images=20)
    assert file_bytes(tmp_path) == before
    with pytest.raises(ConfigError) as caught:
        make_dataset("Sp-MNIST-10", tmp_path, digits, letters, images=50, test_images=20, seed=1)
    assert str(caught.value) == (
        f"{tmp_path / 'dataset.json'}: is of another data set, source, size or seed. Take another folder with -o, or "
        f"remove the whole folder {tmp_path}, with the networks in it."
    )
    assert file_bytes(tmp_path) == before


def test_a_damaged_record_of_a_set_is_told(digits: Source, letters: Source, tmp_path: Path) -> None:
    make_dataset("Sp-MNIST-10", tmp_path, digits, letters, images=50, test_images=20)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(ConfigError) as caught:
        make_dataset("Sp-MNIST-10", tmp_path, digits, letters, images=50, test_images=20)
    assert str(caught.value) == (
        f"{tmp_path / 'dataset.json'}: is damaged (Expecting property name enclosed in double quotes: line 1 column 2 "
        "(char 1)). Remove its folder, and run again."
    )


def test_an_interrupted_making_is_done_again(
    digits: Source, letters: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_dataset("Sp-MNIST-10", tmp_path / "whole", digits, letters, images=50, test_images=20)

    def torn(*args: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(dataset, "_truth_csv", torn)
        with pytest.raises(KeyboardInterrupt):
            make_dataset("Sp-MNIST-10", tmp_path / "torn", digits, letters, images=50, test_images=20)
    assert not (tmp_path / "torn" / "dataset.json").exists()
    again = make_dataset("Sp-MNIST-10", tmp_path / "torn", digits, letters, images=50, test_images=20)
    assert again.truth.read_bytes() == whole.truth.read_bytes()
    assert TileStore.open(again.store).content_hash() == TileStore.open(whole.store).content_hash()


def test_both_shares_are_told(digits: Source, letters: Source, tmp_path: Path) -> None:
    make_dataset("Sp-MNIST-20", tmp_path, digits, letters, images=100, test_images=30)
    told = json.loads((tmp_path / "dataset.json").read_text("utf-8"))["splits"]["train"]
    assert (told["share_of_originals"], told["share_of_set"]) == (0.2, pytest.approx(1 / 6))
    assert told["kinds"] == {"letter": 20}


def test_letters_that_are_missing_are_asked_for(digits: Source, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        make_dataset("Mixed-MNIST-10", tmp_path, digits, None)
    assert str(caught.value) == "Mixed-MNIST-10: needs letters. Name the folder that holds them."
    make_dataset("MNIST", tmp_path, digits, None, images=20, test_images=10)


def test_the_very_same_clean_runs_on_it(pictures: Source, tmp_path: Path) -> None:
    made = make_dataset("Sp-CIFAR10-30", tmp_path, pictures, None)
    store = TileStore.open(made.store)
    settings = CleanSettings(backbone="conv5", folds=2, max_epochs=2, median_window=1, std_window=2, draws=2)

    def learner(table: TileTable) -> WiseLearner:
        return WiseLearner(Tiles.of(store, table, settings), Silent())

    table, decisions = clean(store, learner, settings, tmp_path / "clean", force=True)
    assert decisions.judged.all()
    assert table.n == sum(manifest.n for manifest in made.manifests.values())
