"""Manifests: Table 1's counts at full size, shares of each kind, twins, and the same on any machine."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2wpath.benchmarks.noise.manifest import (
    BLUR,
    CROP,
    KINDS,
    LETTER,
    OF_LABEL,
    OF_MEASUREMENT,
    PAIR,
    SCALE,
    SYMMETRIC,
    Manifest,
    Mode,
    make_manifest,
)
from w2wpath.benchmarks.noise.sets import FULL_SIZE, SETS, recipe_of
from w2wpath.benchmarks.sources.source import SPLITS
from w2wpath.errors import ConfigError

EMNIST = {"train": 124_800, "test": 20_800}
TABLE_1 = {
    "MNIST": (60_000, 0, 10_000, 0),
    "Sp-MNIST-10": (60_000, 6_000, 10_000, 1_000),
    "Sp-MNIST-20": (60_000, 12_000, 10_000, 2_000),
    "Sp-MNIST-30": (60_000, 18_000, 10_000, 3_000),
    "Mixed-MNIST-10": (60_000, 0, 10_000, 1_000),
    "Mixed-MNIST-20": (60_000, 0, 10_000, 2_000),
    "Mixed-MNIST-30": (60_000, 0, 10_000, 3_000),
    "CIFAR10": (50_000, 0, 10_000, 0),
    "Sp-CIFAR10-10": (50_000, 5_000, 10_000, 1_000),
    "Sp-CIFAR10-20": (50_000, 10_000, 10_000, 2_000),
    "Sp-CIFAR10-30": (50_000, 15_000, 10_000, 3_000),
    "Mixed-CIFAR10-10": (50_000, 0, 10_000, 1_000),
    "Mixed-CIFAR10-20": (50_000, 0, 10_000, 2_000),
    "Mixed-CIFAR10-30": (50_000, 0, 10_000, 3_000),
}


def made(name: str, n: int, **changes: Any) -> Manifest:
    labels = np.random.default_rng(7).integers(0, 10, n)
    given: dict[str, Any] = {"n_classes": 10, "letters": n, "images": None, "mode": "append", "seed": 0, **changes}
    return make_manifest(recipe_of(name), given.pop("split", "train"), labels, **given)


def test_all_sets_of_table_1_are_there() -> None:
    assert list(SETS) == list(TABLE_1)


@pytest.mark.parametrize("name", TABLE_1)
def test_counts_are_those_of_table_1(name: str) -> None:
    recipe = SETS[name]
    found = []
    for split in SPLITS:
        n = FULL_SIZE[recipe.base][split]
        manifest = made(name, n, split=split, letters=EMNIST[split])
        found += [int((~manifest.spurious).sum()), int(manifest.spurious.sum())]
        assert (manifest.originals, manifest.n) == (n, sum(found[-2:]))
    assert tuple(found) == TABLE_1[name]


def test_the_same_seed_gives_the_same_manifest_on_any_machine() -> None:
    digests = [made(name, 500, seed=3).digest for name in ("Sp-MNIST-20", "Sp-CIFAR10-30")]
    assert digests == [
        "f71d84ea5f97c86bc6638c9a75a8ddd8cfd2a861959ca8df1b98e18da7a182ca",
        "e8eebe7cc8c283a6b4219a97a85bd63afa2cc2ddd188e026399f807ab260abdf",
    ]
    assert made("Sp-MNIST-20", 500, seed=4).digest not in digests


def test_a_split_to_which_nothing_is_done_is_the_same_in_all_sets_of_a_seed() -> None:
    for base in ("MNIST", "CIFAR10"):
        plain = made(base, 300, images=200, seed=5, letters=0).digest  # digits alone know of no letters
        mixed = [made(f"Mixed-{base}-{share}", 300, images=200, seed=5) for share in (10, 30)]
        assert [one.digest for one in mixed] == [plain, plain]
        assert made(base, 300, images=200, seed=6, letters=0).digest != plain
        unseen = [made(name, 300, split="test", images=200, seed=5) for name in (base, f"Mixed-{base}-10")]
        assert unseen[0].digest != unseen[1].digest


def test_sets_of_one_seed_share_their_originals() -> None:
    index = {
        name: set(m.index[~m.spurious].tolist())
        for name in ("CIFAR10", "Sp-CIFAR10-10", "Sp-CIFAR10-30")
        for m in [made(name, 400, images=90)]
    }
    assert index["CIFAR10"] == index["Sp-CIFAR10-10"] == index["Sp-CIFAR10-30"]
    assert index["CIFAR10"] != set(made("CIFAR10", 400, images=90, seed=1).index.tolist())


modes = st.sampled_from(get_args(Mode))


@given(st.integers(1, 300), st.sampled_from([10, 20, 30]), modes, st.integers(0, 50))
def test_faults_of_cifar_are_dealt_as_stated(n: int, percent: int, mode: Mode, seed: int) -> None:
    manifest = made(f"Sp-CIFAR10-{percent}", n, mode=mode, seed=seed)
    count = (percent * n + 50) // 100
    assert manifest.n == (n + count if mode == "append" else n)
    of = {kind: int((manifest.kind == kind).sum()) for kind in KINDS}
    assert sum(of.values()) == int(manifest.spurious.sum()) == count
    by_label, by_measurement = (sum(of[kind] for kind in kinds) for kinds in (OF_LABEL, OF_MEASUREMENT))
    assert (by_label, by_measurement) == (count - count // 2, count // 2)
    for kinds in (OF_LABEL, OF_MEASUREMENT):
        assert max(of[kind] for kind in kinds) - min(of[kind] for kind in kinds) <= 1
    wrong = np.isin(manifest.kind, OF_LABEL)
    assert np.array_equal(manifest.label != manifest.content, wrong)
    pair = manifest.kind == PAIR
    assert np.array_equal(manifest.label[pair], (manifest.content[pair] + 1) % 10)
    crop, scale = manifest.kind == CROP, manifest.kind == SCALE
    assert ((manifest.factor[crop] >= 16 / 32) & (manifest.factor[crop] <= 24 / 32)).all()
    assert ((manifest.factor[scale] >= 0.25) & (manifest.factor[scale] <= 0.5)).all()
    assert not manifest.factor[~(crop | scale)].any()


@given(st.integers(1, 200), st.sampled_from([10, 20, 30]), st.integers(0, 50))
def test_k16_every_copy_has_its_original_as_twin(n: int, percent: int, seed: int) -> None:
    manifest = made(f"Sp-CIFAR10-{percent}", n, seed=seed)
    copies = np.flatnonzero(manifest.spurious)
    twins = manifest.twin_of[copies]
    assert not manifest.spurious[twins].any()
    assert np.array_equal(manifest.index[copies], manifest.index[twins])
    assert np.array_equal(manifest.content[copies], manifest.label[twins])
    assert len(set(manifest.index[copies].tolist())) == len(copies)  # each original is altered once
    assert (manifest.twin_of[~manifest.spurious] == -1).all()
    assert sorted(manifest.index[~manifest.spurious].tolist()) == list(range(n))


@given(st.integers(1, 200), st.sampled_from([10, 20, 30]), modes, st.integers(0, 50))
def test_letters_carry_digits_and_show_none(n: int, percent: int, mode: Mode, seed: int) -> None:
    manifest = made(f"Sp-MNIST-{percent}", n, mode=mode, seed=seed, letters=80)
    count = (percent * n + 50) // 100
    assert int(manifest.letter.sum()) == count
    assert np.array_equal(manifest.kind == LETTER, manifest.letter)
    assert (manifest.content[manifest.letter] == -1).all()
    assert len(set(manifest.index[manifest.letter].tolist())) == count
    assert (manifest.twin_of == -1).all()
    assert manifest.n == (n + count if mode == "append" else n)


def test_labels_of_letters_and_symmetric_flips_are_uniform() -> None:
    letters = made("Sp-MNIST-30", 40_000, letters=EMNIST["train"])
    counts = np.bincount(letters.label[letters.letter], minlength=10)
    assert np.abs(counts - 1200).max() < 5 * np.sqrt(1200)
    flips = made("Sp-CIFAR10-30", 40_000)
    away = (flips.label - flips.content)[flips.kind == SYMMETRIC] % 10
    counts = np.bincount(away, minlength=10)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 3000 / 9).max() < 5 * np.sqrt(3000 / 9)


def test_the_order_tells_nothing() -> None:
    manifest = made("Sp-CIFAR10-30", 20_000)
    place = np.flatnonzero(manifest.spurious) / manifest.n
    assert abs(place.mean() - 0.5) < 5 * np.sqrt(1 / 12 / len(place))
    assert {kind for kind in KINDS if (manifest.kind == kind).any()} == {*OF_LABEL, BLUR, CROP, SCALE}


def test_more_than_there_is_is_refused() -> None:
    def refusal(**changes: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            made("Sp-MNIST-30", 50, **changes)
        return str(caught.value)

    assert refusal(images=51) == "Sp-MNIST-30: 51 train images were asked for. Ask for 1 to 50, as many as there are."
    assert refusal(letters=14) == (
        "Sp-MNIST-30: 15 train letters are needed, and there are 14. Ask for fewer images, or get EMNIST's letters."
    )
    with pytest.raises(ConfigError) as caught:
        recipe_of("Sp-MNIST-25")
    assert str(caught.value) == "data set 'Sp-MNIST-25' is not in the paper's Table 1. Did you mean 'Sp-MNIST-20'?"
