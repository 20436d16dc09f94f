"""``w2wpath heatmap``: whose threshold masks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.heatmaps.made import save_slide
from tests.w2wnet.nets.made import THRESHOLDS, write
from w2wpath.cli import heatmap
from w2wpath.errors import ConfigError, ModelError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A model, a slide that it can read, and settings with a threshold."""
    write(tmp_path / "model", quality=None)
    save_slide(tmp_path / "slide.svs")
    (tmp_path / "w2w.toml").write_text("[heatmap]\nthreshold = 0.7\n")
    return tmp_path


@pytest.mark.parametrize(
    ("threshold", "config", "value"),
    [
        (None, False, THRESHOLDS["centroid"]),
        (None, True, 0.7),
        ("quantile", False, THRESHOLDS["quantile"]),
        ("boundary", True, THRESHOLDS["boundary"]),
        ("0.4", True, 0.4),
        ("0", False, 0.0),
    ],
)
def test_the_threshold_is_the_models_or_a_named_one_or_a_number(
    home: Path, capsys: pytest.CaptureFixture[str], threshold: str | None, config: bool, value: float
) -> None:
    heatmap.run(
        home / "slide.svs",
        home / "model",
        home / "out",
        threshold=threshold,
        config=home / "w2w.toml" if config else None,
        device="cpu",
        as_json=True,
    )
    assert json.loads(capsys.readouterr().out)["threshold"] == value


def test_a_threshold_that_the_model_has_not_is_refused(home: Path) -> None:
    with pytest.raises(ModelError) as caught:
        heatmap.run(home / "slide.svs", home / "model", home / "out", threshold="centre", device="cpu")
    assert str(caught.value).startswith(
        f"{home / 'model'}: has no threshold 'centre', but boundary, centroid, quantile."
    )
    with pytest.raises(ConfigError):
        heatmap.run(home / "slide.svs", home / "model", home / "out", threshold="1.5", device="cpu")
    assert not (home / "out").exists()
