"""Agreement with annotations: known answers, every analysed tile counted once, annotations found in any frame."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import box
from shapely.geometry.base import BaseGeometry

from tests.heatmaps.made import made_maps
from w2wpath.heatmaps.agreement import CONFLICT_SHARE, LABEL_SHARE, agreement, in_words
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, UNCERTAIN

# 4 columns of 100 px; Stroma is class 0, Tumor class 1
STATES = [CONFIDENT, CONFIDENT, UNCERTAIN, NOT_ANALYSED, CONFIDENT, CONFIDENT, UNCERTAIN, CONFIDENT]
PREDICTED = [0, 1, 1, 0, 1, 1, 0, 0]


def test_a_known_case_is_counted_by_hand() -> None:
    maps = made_maps(STATES, PREDICTED, columns=4)
    regions = [("Stroma", box(0, 0, 400, 100)), ("Tumor", box(0, 100, 100, 200)), ("Mucus", box(100, 100, 200, 200))]
    found = agreement(maps, regions)
    assert found.confusion.tolist() == [[1, 1, 1], [0, 1, 0]]
    assert (found.unknown_classes, found.unknown.tolist()) == (("Mucus",), [[0, 1, 0]])
    assert found.agreement == 2 / 3
    assert found.by_class == {"Stroma": 0.5, "Tumor": 1.0}
    assert (found.inside, found.outside) == ((1, 5), (1, 2))
    assert (found.border, found.conflict, found.missed) == (0, 0, 1)
    assert found.rows() == [
        {
            "class": "Stroma",
            "known": True,
            "tiles": 3,
            "agreement": 0.5,
            "uncertain": 1,
            "predicted": {"Stroma": 1, "Tumor": 1},
        },
        {
            "class": "Tumor",
            "known": True,
            "tiles": 1,
            "agreement": 1.0,
            "uncertain": 0,
            "predicted": {"Stroma": 0, "Tumor": 1},
        },
        {
            "class": "Mucus",
            "known": False,
            "tiles": 1,
            "agreement": None,
            "uncertain": 0,
            "predicted": {"Stroma": 0, "Tumor": 1},
        },
    ]
    assert json.loads(json.dumps(found.as_json())) == {
        "agreement": 2 / 3,
        "classes": found.rows(),
        "uncertain_share_inside": 0.2,
        "uncertain_share_outside": 0.5,
        "tiles_inside": 5,
        "tiles_outside": 2,
        "border": 0,
        "conflict": 0,
        "not_analysed": 1,
    }


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([("Stroma", box(0, 0, 50, 100))], ("label", 1)),
        ([("Stroma", box(0, 0, 49, 100))], ("border", 1)),
        ([("Stroma", box(0, 0, 75, 100)), ("Tumor", box(75, 0, 100, 100))], ("conflict", 1)),
        ([("Stroma", box(0, 0, 76, 100)), ("Tumor", box(76, 0, 100, 100))], ("label", 1)),
        ([("Stroma", box(0, 0, 30, 100)), ("Tumor", box(70, 0, 100, 100))], ("conflict", 1)),
        ([("Stroma", box(100, 0, 200, 100))], ("outside", 1)),
        ([], ("outside", 1)),
    ],
)
def test_a_tile_is_labelled_by_the_rule_of_tile(
    regions: list[tuple[str, BaseGeometry]], expected: tuple[str, int]
) -> None:
    found = agreement(made_maps([CONFIDENT], [0], columns=1), regions)
    counts = {
        "label": found.inside[1],
        "border": found.border,
        "conflict": found.conflict,
        "outside": found.outside[1],
    }
    assert counts == {**dict.fromkeys(counts, 0), expected[0]: expected[1]}


def test_what_is_ignored_is_cut_out_of_every_class() -> None:
    maps = made_maps([CONFIDENT], [0], columns=1)
    found = agreement(maps, [("Stroma", box(0, 0, 100, 100))], ignored=[box(0, 0, 51, 100)])
    assert (found.border, found.inside) == (1, (0, 0))


def test_without_a_confident_tile_there_is_no_share() -> None:
    found = agreement(made_maps([UNCERTAIN], [0], columns=1), [("Stroma", box(0, 0, 100, 100))])
    assert found.agreement is None
    assert found.by_class == {"Stroma": None, "Tumor": None}
    assert found.as_json()["uncertain_share_outside"] is None


def test_an_empty_grid_agrees_with_nothing() -> None:
    found = agreement(made_maps([], [], columns=2), [("Stroma", box(0, 0, 100, 100))])
    assert (found.agreement, found.inside, found.rows()) == (None, (0, 0), [])


def test_the_rule_is_the_default_of_tile() -> None:
    assert (LABEL_SHARE, CONFLICT_SHARE) == (0.5, 0.25)


boxes = st.builds(
    lambda name, x, y, w, h: (name, box(x, y, x + w, y + h)),
    st.sampled_from(["Stroma", "Tumor", "Mucus"]),
    *[st.integers(-50, 350)] * 2,
    *[st.integers(1, 300)] * 2,
)


@given(regions=st.lists(boxes, max_size=6), seed=st.integers(0, 99))
def test_every_analysed_tile_is_counted_once_and_order_does_not_matter(
    regions: list[tuple[str, BaseGeometry]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    maps = made_maps(rng.integers(0, 3, 12).tolist(), rng.integers(0, 2, 12).tolist(), columns=4)
    found = agreement(maps, regions)
    analysed = int((maps.state != NOT_ANALYSED).sum())
    assert int(found.confusion.sum() + found.unknown.sum()) == found.inside[1]
    assert found.inside[1] + found.outside[1] + found.border + found.conflict == analysed
    assert agreement(maps, regions[::-1]).as_json() == found.as_json()


# annotation files ---------------------------------------------------------------------------------------------------


def test_the_counts_are_told_in_words() -> None:
    maps = made_maps(STATES, PREDICTED, columns=4)
    regions = [("Stroma", box(0, 0, 400, 100)), ("Tumor", box(0, 100, 100, 200)), ("Mucus", box(100, 100, 200, 200))]
    assert in_words(agreement(maps, regions)) == {
        "annotated Stroma: 3 tiles": "1 Stroma, 1 Tumor, 1 uncertain; 50% of the confident ones agree",
        "annotated Tumor: 1 tiles": "1 Tumor; 100% of the confident ones agree",
        "annotated Mucus (no class of the model): 1 tiles": "1 Tumor",
        "uncertain inside the annotations": "1 of 5 tiles, 20%",
        "uncertain outside the annotations": "1 of 2 tiles, 50%",
    }
    half = in_words(agreement(maps, [("Stroma", box(0, 0, 130, 100))]))
    assert half["not compared"] == "1 tiles at a border, 0 covered by two classes"
