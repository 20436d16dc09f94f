"""The page for people: names from elsewhere cannot become Markdown or HTML, and what is not known is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.w2wnet.nets.made import write
from w2wpath.w2wnet.nets.readme import model_readme

METRICS: dict[str, Any] = {
    "run": "20260101T000000Z-aaaaaa",
    "tiles": 90,
    "kept": 80,
    "slides": 3,
    "patients": 4,
    "by_class": {"a": {"kept": 40, "excluded": 10, "undecided": 0}, "b": {"kept": 38, "excluded": 0, "undecided": 2}},
    "stop_reason": "stable",
    "stop_epoch": 61,
    "wiped_epochs": 100,
    "out_of_fold_above_threshold": 0.125,
    "out_of_fold": {"tiles": 78, "accuracy": 0.9, "balanced_accuracy": None},
    "calibration": {
        "source": "oof",
        "fold": None,
        "temperature": 2.0,
        "tiles": 78,
        "accuracy": 0.9,
        **dict.fromkeys(("nll_before", "nll_after", "ece_before", "ece_after"), 0.25),
    },
    "transfer": {
        "distance": 0.25,
        "flagged_out_of_fold": dict.fromkeys(("boundary", "centroid", "quantile"), 0.05),
        "flagged_final": dict.fromkeys(("boundary", "centroid", "quantile"), 0.01),
    },
    "controls": {},
    "warnings": [],
}


def page(tmp_path: Path, classes: tuple[str, ...] = ("AC", "AD", "H"), **metrics: Any) -> str:
    return model_readme(write(tmp_path / "model", classes=classes, metrics={**METRICS, **metrics}))


def test_the_page_says_data_figures_thresholds_and_limits(tmp_path: Path) -> None:
    text = page(tmp_path)
    for told in (
        "90 labelled tiles of 3 slides and 4 patients",
        "| class | kept | excluded | undecided |\n| --- | --- | --- | --- |\n| a | 40 | 10 | 0 |\n| b | 38 | 0 | 2 |\n",
        "the stop rule fired",
        "| balanced accuracy, Wises of the folds | unknown |",
        "| **centroid** (used) | 0.2500 | the centroid of the high cluster of u on the training tiles (R18) | 5.0% |",
        "would mask 12.5%",
        "distance of 0.25",
        "It reads tiles of 32 x 32 px at 0.5 um/px",
        "It knows 3 classes: AC, AD, H.",
        "its 4 patients and 3 slides",
    ):
        assert told in text
    assert "Warning" not in text
    assert "Planted controls" not in text


def test_planted_controls_are_told_with_their_interval(tmp_path: Path) -> None:
    controls = {
        "flip": {"planted": 20, "found": 15, "low": 0.53, "high": 0.89},
        "blur": {"planted": 0, "found": 0, "low": None, "high": None},
    }
    text = page(tmp_path, controls=controls)
    assert "| flip | 15 of 20 | 53% to 89% |\n| blur | 0 of 0 |  |\n" in text
    assert "They speak of these kinds of fault only." in text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a|b", "a\\|b"),
        ("a\n# b", "a \\# b"),
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("[x](javascript:y)", "\\[x\\]\\(javascript:y\\)"),
        ("`*_`", "\\`\\*\\_\\`"),
    ],
)
def test_a_class_name_is_text(tmp_path: Path, name: str, told: str) -> None:
    text = page(tmp_path, classes=(name, "AD", "H"), by_class={name: {"kept": 1, "excluded": 0, "undecided": 0}})
    assert f"\n| {told} | 1 | 0 | 0 |\n" in text
    assert f"It knows 3 classes: {told}, AD, H." in text
