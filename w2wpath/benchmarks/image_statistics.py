"""The row that every cleaning figure stands beside: colour and focus statistics of a tile, no network and no label.

Sixteen numbers a tile; each is turned into a robust z within the patient, (x - median) / (1.4826 MAD); the score is the
mean of their absolute values. What a network finds counts only where it is above this. Beside it stand trivial scores
(K4): brightness, sharpness, size as PNG, and a logistic regression on 16 x 16 pixels.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from w2wpath.errors import NonFiniteScoreError
from w2wpath.tiles.measures import LUMA, laplacian, sharpness
from w2wpath.w2wnet.uncertainty import gini

Floats = NDArray[np.float64]

FEATURES = (
    "mean of red",
    "mean of green",
    "mean of blue",
    "std of red",
    "mean of saturation",
    "mean of eosin",
    "std of haematoxylin",
    "log gradient energy of haematoxylin",
    "5th percentile of brightness",
    "95th percentile of brightness",
    "skewness of brightness",
    "entropy of brightness",
    "log gradient energy",
    "log variance of Laplacian",
    "log 99th percentile of Laplacian",
    "log maximum of Laplacian",
)
"""Chosen among some forty by how well they score crc27 against its truth: a choice that favours this rival."""
GREY_LEVELS = 32
LOGISTIC = "logistic regression, 1 - p of the label"
FOLDS = 10
"""Parts of the images for the logistic regression, each of which is asked about by one that has not seen it."""
CHUNK = 256
"""Tiles measured at a time: memory stays flat."""
MAD_TO_STD = 1.4826
"""Of a normal distribution, so that a robust z has the scale of a plain one."""


def score(images: NDArray[np.uint8], patient_n: NDArray[np.integer]) -> Floats:
    """Score tiles by how unusual their statistics are within their patient.

    Parameters
    ----------
    images
        (n, h, w, 3) uint8 RGB, h and w at least 3.
    patient_n
        (n,) index of the patient of each tile.

    Returns
    -------
    ndarray
        (n,) mean absolute robust z, high where unusual. Patients are scored apart from each other.

    Raises
    ------
    ValueError
        The shapes do not fit.
    """
    found = features(images)
    if patient_n.shape != (len(found),):
        raise ValueError(f"patient_n must be ({len(found)},), one for each image; got shape {patient_n.shape}")
    return score_features(found, patient_n)


def score_features(features_nf: Floats, patient_n: NDArray[np.integer]) -> Floats:
    """Score tiles as :func:`score` does, by features (n, 16) that were measured before."""
    scores_n = np.empty(len(features_nf))
    for patient in np.unique(patient_n):
        mine = patient_n == patient
        scores_n[mine] = np.abs(robust_z(features_nf[mine])).mean(axis=1)
    return scores_n


def robust_z(values_nf: Floats) -> Floats:
    """Return (x - median) / (1.4826 MAD) of each column of values (n, f).

    Where more than half of a column is one value its MAD is 0 and tells no scale: its mean absolute deviation
    (times 1.2533, the factor of a normal distribution) stands in; a constant column is 0 throughout.

    Raises
    ------
    NonFiniteScoreError
        A value is NaN or infinite.
    """
    if not np.isfinite(values_nf).all():
        bad = int((~np.isfinite(values_nf)).any(axis=1).sum())
        raise NonFiniteScoreError(f"{bad} of {len(values_nf)} tiles have a statistic that is not finite.")
    away = values_nf - np.median(values_nf, axis=0)
    median_away, mean_away = np.median(np.abs(away), axis=0), np.abs(away).mean(axis=0)
    # rounding makes a constant column differ in the last bits; that is no spread
    least = 1e-9 * np.maximum(np.abs(values_nf).max(axis=0), 1.0)
    scale = np.where(median_away > least, MAD_TO_STD * median_away, np.sqrt(np.pi / 2) * mean_away)
    return np.asarray(away / np.where(scale > least, scale, np.inf))


def features(images: NDArray[np.uint8]) -> Floats:
    """Measure images (n, h, w, 3) uint8: (n, 16), in the order of :data:`FEATURES`.

    Raises
    ------
    ValueError
        The images are not (n, h, w, 3) uint8 of at least 3 x 3 pixels.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or min(images.shape[1:3]) < 3:
        raise ValueError(f"images must be (n, h, w, 3) uint8, at least 3 x 3 pixels; got {images.dtype} {images.shape}")
    parts = [_measure(images[i : i + CHUNK]) for i in range(0, len(images), CHUNK)]
    return np.concatenate(parts) if parts else np.empty((0, len(FEATURES)))


def has_enough_of_each(labels: NDArray[np.integer]) -> bool:
    """Tell whether every label that occurs does so often enough for :func:`trivial_scores`."""
    return bool(np.unique(labels, return_counts=True)[1].min(initial=FOLDS) >= FOLDS) and labels.size > 0


def trivial_scores(
    images: NDArray[np.uint8], labels: NDArray[np.integer], group_n: NDArray[np.integer] | None = None
) -> dict[str, Floats]:
    """Score images (n, h, w, 3) uint8 with their labels (n,) by what takes no thought (K4); (n,) by name.

    The logistic regression is trained on nine tenths of the images and asked about the last tenth, so that each image
    is scored by a model that has not seen it: once by the Gini impurity of its probabilities, which knows no label,
    once by 1 - p of its label.

    Parameters
    ----------
    group_n
        Images of one group (n,), such as copies of one original, stay in one tenth; None groups none.

    Raises
    ------
    ValueError
        A label occurs fewer than ten times.
    """
    probs_nk = _logistic(images, labels, group_n)
    given = np.searchsorted(np.unique(labels), labels)
    return {
        "mean brightness": np.asarray((images @ LUMA.astype(np.float64)).mean(axis=(1, 2))),
        "variance of the Laplacian": np.array([sharpness(image) for image in images]),
        "size as PNG": np.array([_png_bytes(image) for image in images], dtype=np.float64),
        "logistic regression, Gini impurity": gini(probs_nk),
        LOGISTIC: 1.0 - probs_nk[np.arange(len(given)), given],
    }


def _logistic(images: NDArray[np.uint8], labels: NDArray[np.integer], group_n: NDArray[np.integer] | None) -> Floats:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not has_enough_of_each(labels):
        raise ValueError(f"every label must occur at least {FOLDS} times for the logistic regression")
    small = [np.asarray(Image.fromarray(image).convert("L").resize((16, 16), Image.Resampling.BOX)) for image in images]
    pixels = np.reshape(small, (len(images), -1)) / 255.0
    # strong enough a penalty to end in a few dozen steps, which is also what predicts best here
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    parts = FOLDS if group_n is None else StratifiedGroupKFold(FOLDS)
    probs = cross_val_predict(model, pixels, labels, groups=group_n, cv=parts, method="predict_proba")
    return np.asarray(probs, dtype=np.float64)


def _png_bytes(image: NDArray[np.uint8]) -> int:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.tell()


def _measure(images: NDArray[np.uint8]) -> Floats:
    from skimage.color import rgb2hed

    rgb = images.astype(np.float64)
    grey = rgb @ LUMA.astype(np.float64)
    high, low = rgb.max(axis=3), rgb.min(axis=3)
    stains = rgb2hed(images)  # Ruifrok and Johnston 2001
    pixels = (1, 2)
    columns = [
        *rgb.mean(axis=pixels).T,
        rgb[..., 0].std(axis=pixels),
        ((high - low) / np.maximum(high, 1.0)).mean(axis=pixels),
        stains[..., 1].mean(axis=pixels),
        stains[..., 0].std(axis=pixels),
        np.log(_gradient_energy(_smooth(stains[..., 0])) + 1e-8),
        *_brightness(grey),
        np.log1p(_gradient_energy(grey)),
        *_laplacian(grey),
    ]
    return np.stack(columns, axis=1)


def _smooth(planes: Floats) -> Floats:
    """Smooth each of planes (n, h, w) with sigma 1: the haematoxylin of a JPEG carries its noise."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(planes, (0, 1, 1)))


def _gradient_energy(planes: Floats) -> Floats:
    """Return the mean squared gradient (n,) by central differences."""
    across = planes[:, 1:-1, 2:] - planes[:, 1:-1, :-2]
    down = planes[:, 2:, 1:-1] - planes[:, :-2, 1:-1]
    return np.asarray(((across**2 + down**2) / 4).mean(axis=(1, 2)))


def _brightness(grey: Floats) -> list[Floats]:
    """Return 5th and 95th percentile, skewness and entropy, (n,) each."""
    flat = grey.reshape(len(grey), -1)
    dark, bright = np.percentile(flat, [5, 95], axis=1)
    away = flat - flat.mean(axis=1, keepdims=True)
    # + 1: an even tile has no skewness, and its rounding must not make one
    skewness = (away**3).mean(axis=1) / (flat.std(axis=1) ** 3 + 1.0)
    return [dark, bright, skewness, _entropy(flat)]


def _entropy(flat: Floats) -> Floats:
    """Return the entropy (n,) in bits of brightness (n, pixels) in :data:`GREY_LEVELS` levels."""
    level = np.minimum((flat * (GREY_LEVELS / 256)).astype(np.int64), GREY_LEVELS - 1)
    bins = level + np.arange(len(flat))[:, None] * GREY_LEVELS
    counts = np.bincount(bins.ravel(), minlength=len(flat) * GREY_LEVELS).reshape(len(flat), -1)
    share = counts / flat.shape[1]
    return np.asarray(-(share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=1))


def _laplacian(grey: Floats) -> list[Floats]:
    """Return logarithms of variance, 99th percentile and maximum of the Laplacian (4 neighbours), (n,) each.

    They span orders of magnitude between sharp tissue and glass: on a line, blur would hide behind sharp tiles.
    """
    laplace = laplacian(grey)
    size = np.abs(laplace).reshape(len(grey), -1)
    found = (laplace.var(axis=(1, 2)), np.percentile(size, 99, axis=1), size.max(axis=1))
    return [np.log1p(value) for value in found]
