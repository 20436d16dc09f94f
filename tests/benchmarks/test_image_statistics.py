"""The row without a network: its statistics against plain references, its z within the patient, what it finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, laplace
from scipy.stats import entropy, median_abs_deviation, skew
from skimage.color import rgb2hed
from skimage.data import immunohistochemistry

from w2wpath.benchmarks.image_statistics import FEATURES, features, robust_z, score, trivial_scores
from w2wpath.errors import NonFiniteScoreError
from w2wpath.w2wnet.metrics import auroc

PX = 32


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    """256 tiles of real tissue."""
    picture = immunohistochemistry()
    return picture.reshape(16, PX, 16, PX, 3).swapaxes(1, 2).reshape(256, PX, PX, 3)


def column(tiles: np.ndarray, name: str) -> np.ndarray:
    return features(tiles)[:, FEATURES.index(name)]


def test_there_are_sixteen_statistics_with_a_name_each(tissue: np.ndarray) -> None:
    assert features(tissue).shape == (256, 16)
    assert len(set(FEATURES)) == 16
    assert np.isfinite(features(tissue)).all()
    assert features(tissue[:0]).shape == (0, 16)


def test_the_statistics_are_those_of_plain_references(tissue: np.ndarray) -> None:
    tile = tissue[3].astype(np.float64)
    grey, stains = tile @ [0.299, 0.587, 0.114], rgb2hed(tissue[3])
    smooth = gaussian_filter(stains[..., 0], 1)
    levels = np.bincount(np.minimum(grey // 8, 31).astype(int).ravel(), minlength=32)
    inner = (slice(1, -1), slice(1, -1))
    size = np.abs(laplace(grey)[inner])

    def energy(plane: np.ndarray) -> float:
        down, across = (part[inner] for part in np.gradient(plane))
        return float((down**2 + across**2).mean())

    expected = {
        "mean of red": tile[..., 0].mean(),
        "mean of green": tile[..., 1].mean(),
        "mean of blue": tile[..., 2].mean(),
        "std of red": tile[..., 0].std(),
        "mean of saturation": ((tile.max(2) - tile.min(2)) / tile.max(2)).mean(),
        "mean of eosin": stains[..., 1].mean(),
        "std of haematoxylin": stains[..., 0].std(),
        "log gradient energy of haematoxylin": np.log(energy(smooth) + 1e-8),
        "5th percentile of brightness": np.percentile(grey, 5),
        "95th percentile of brightness": np.percentile(grey, 95),
        "skewness of brightness": skew(grey.ravel()) * grey.std() ** 3 / (grey.std() ** 3 + 1),
        "entropy of brightness": entropy(levels, base=2),
        "log gradient energy": np.log1p(energy(grey)),
        "log variance of Laplacian": np.log1p(laplace(grey)[inner].var()),
        "log 99th percentile of Laplacian": np.log1p(np.percentile(size, 99)),
        "log maximum of Laplacian": np.log1p(size.max()),
    }
    assert tuple(expected) == FEATURES
    assert features(tissue[3:4])[0] == pytest.approx(list(expected.values()), rel=1e-5)


def test_a_tile_has_the_same_statistics_alone_and_among_many(tissue: np.ndarray) -> None:
    many = np.concatenate([tissue, tissue])  # more than are measured at a time
    assert features(many)[[3, 255, 300]] == pytest.approx(
        np.concatenate([features(many[i : i + 1]) for i in (3, 255, 300)])
    )


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_the_robust_z_is_that_of_scipy_where_there_is_one(values: list[int]) -> None:
    column = np.array(values, dtype=np.float64)
    away = column - np.median(column)
    scale = median_abs_deviation(column, scale="normal")
    found = robust_z(column[:, None])[:, 0]
    assert np.isfinite(found).all()
    assert (np.sign(found) == np.sign(away)).all()
    if scale > 0:
        assert found == pytest.approx(away / scale, rel=1e-3)


def test_a_constant_statistic_says_nothing_and_a_rare_value_something() -> None:
    rare = np.repeat([0.0, 1.0], [9, 1])
    found = robust_z(np.stack([np.full(10, 0.1 + 0.2), rare], axis=1))
    assert (found[:, 0] == 0).all()
    assert found[:9, 1].tolist() == [0] * 9
    assert found[9, 1] == pytest.approx(1 / (np.sqrt(np.pi / 2) * 0.1))


def test_a_statistic_that_is_not_finite_is_loud() -> None:
    with pytest.raises(NonFiniteScoreError) as caught:
        robust_z(np.array([[0.0, 1.0], [np.nan, np.inf], [2.0, 3.0]]))
    assert str(caught.value) == "1 of 3 tiles have a statistic that is not finite."


def test_patients_are_scored_apart(tissue: np.ndarray) -> None:
    patient_n = np.arange(256) % 2
    other = tissue.copy()
    other[patient_n == 1] = 255 - other[patient_n == 1]
    first = patient_n == 0
    assert np.array_equal(score(tissue, patient_n)[first], score(other, patient_n)[first])
    assert score(tissue[first], patient_n[first]) == pytest.approx(score(tissue, patient_n)[first])
    assert (score(tissue, patient_n) >= 0).all()


@pytest.mark.parametrize("fault", ["glass", "blur", "other stain"])
def test_a_few_faulty_tiles_stand_out(tissue: np.ndarray, fault: str) -> None:
    rng = np.random.default_rng(0)
    bad = np.isin(np.arange(256), rng.choice(256, 12, replace=False))
    tiles = tissue.copy()
    if fault == "glass":
        tiles[bad] = np.clip(rng.normal(243, 2, tiles[bad].shape), 0, 255)
    elif fault == "blur":
        tiles[bad] = gaussian_filter(tiles[bad].astype(float), (0, 2, 2, 0))
    else:
        tiles[bad] = tiles[bad][..., ::-1]
    assert auroc(score(tiles, np.zeros(256, dtype=int)), bad) > 0.8


def test_images_of_another_kind_are_refused(tissue: np.ndarray) -> None:
    wanted = "images must be (n, h, w, 3) uint8, at least 3 x 3 pixels; got"
    for images, got in (
        (tissue.astype(np.float32), "float32 (256, 32, 32, 3)"),
        (tissue[0], "uint8 (32, 32, 3)"),
        (tissue[..., :1], "uint8 (256, 32, 32, 1)"),
        (tissue[:, :2], "uint8 (256, 2, 32, 3)"),
    ):
        with pytest.raises(ValueError, match="images must be") as caught:
            features(images)
        assert str(caught.value) == f"{wanted} {got}"
    with pytest.raises(ValueError, match="patient_n") as caught:
        score(tissue, np.zeros(3, dtype=int))
    assert str(caught.value) == "patient_n must be (256,), one for each image; got shape (3,)"


def test_trivial_scores_are_what_they_say(tissue: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    shown = np.arange(256) % 2
    tiles = np.where(shown[:, None, None, None] == 1, tissue // 2, tissue)
    tiles[:8] = 240
    labels = shown.copy()
    flipped = rng.permutation(np.arange(8, 256))[:20]
    labels[flipped] = 1 - labels[flipped]
    found = trivial_scores(tiles, labels)
    assert all(scores_n.shape == (256,) and np.isfinite(scores_n).all() for scores_n in found.values())
    assert found["mean brightness"][:8] == pytest.approx(240)
    assert (found["variance of the Laplacian"][:8] < 1e-3).all()
    assert found["size as PNG"][:8].max() < found["size as PNG"][8:].min()
    is_flipped = np.isin(np.arange(256), flipped)
    assert auroc(found["logistic regression, 1 - p of the label"], is_flipped) > 0.8
    assert 0.3 < auroc(found["logistic regression, Gini impurity"], is_flipped) < 0.7


def test_copies_of_an_image_do_not_answer_for_each_other(tissue: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    noise = np.tile(rng.integers(0, 256, (128, 16, 16, 3), dtype=np.uint8), (2, 1, 1, 1))
    labels, pair_n = np.tile(rng.permutation(np.arange(128) % 2), 2), np.tile(np.arange(128), 2)
    apart, together = (
        trivial_scores(noise, labels, group_n)["logistic regression, 1 - p of the label"].mean()
        for group_n in (None, pair_n)
    )
    # what is in the pixels of a copy tells its label, of noise nothing else does
    assert apart < 0.4 < 0.45 < together < 0.55


def test_a_label_too_rare_for_the_logistic_regression_is_refused(tissue: np.ndarray) -> None:
    with pytest.raises(ValueError, match="every label") as caught:
        trivial_scores(tissue[:30], np.arange(30) // 25)
    assert str(caught.value) == "every label must occur at least 10 times for the logistic regression"
