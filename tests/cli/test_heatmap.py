"""``w2wpath heatmap``: whose threshold masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer

from tests.heatmaps.made import GLASS, save_slide
from tests.w2wnet.nets.made import THRESHOLDS, write
from w2wpath.cli import heatmap
from w2wpath.errors import ConfigError, ModelError
from w2wpath.w2wnet.nets.bundle import Model


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
    (said,) = json.loads(capsys.readouterr().out)["slides"]
    assert (said["slide"], said["status"], said["threshold"]) == ("slide", "read", value)


def test_a_threshold_that_the_model_has_not_is_refused(home: Path) -> None:
    with pytest.raises(ModelError) as caught:
        heatmap.run(home / "slide.svs", home / "model", home / "out", threshold="centre", device="cpu")
    assert str(caught.value).startswith(
        f"{home / 'model'}: has no threshold 'centre', but boundary, centroid, quantile."
    )
    with pytest.raises(ConfigError):
        heatmap.run(home / "slide.svs", home / "model", home / "out", threshold="1.5", device="cpu")
    assert not (home / "out").exists()


def cohort(home: Path, *names: str) -> Path:
    path = home / "slides.csv"
    path.write_text("slide\n" + "".join(f"{name}\n" for name in names))
    return path


def test_a_cohort_lists_what_failed_and_exits_3(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "bad.svs").write_text("no slide")
    with pytest.raises(typer.Exit) as caught:
        heatmap.run(model=home / "model", out=home / "out", cohort=cohort(home, "slide.svs", "bad.svs"), device="cpu")
    assert caught.value.exit_code == 3
    said = capsys.readouterr()
    assert (
        f"all slides in one table: {home / 'out' / 'slides.csv'}. Look at them: w2wpath view {home / 'out'}\n"
        in said.out
    )
    assert (
        f"warning: skipped: {home / 'bad.svs'}: not a readable slide (Unsupported or missing image file). "
        "Check that the file is whole.\n"
    ) in said.err
    rows = (home / "out" / "slides.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows] == [["slide", "status"], ["slide", "read"], ["bad", "failed"]]


def test_one_slide_that_fails_exits_1(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "bad.svs").write_text("no slide")
    with pytest.raises(typer.Exit) as caught:
        heatmap.run(home / "bad.svs", home / "model", home / "out", device="cpu")
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err.endswith(
        f"error: {home / 'bad.svs'}: not a readable slide (Unsupported or missing image file). "
        "Check that the file is whole.\n"
    )


def test_a_shard_of_a_cohort_is_read_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_slide(home / "two.svs")
    table = cohort(home, "slide.svs", "two.svs")
    heatmap.run(model=home / "model", out=home / "out", cohort=table, shard="2/2", device="cpu", as_json=True)
    assert [one["slide"] for one in json.loads(capsys.readouterr().out)["slides"]] == ["two"]
    assert [path.name for path in (home / "out").glob("slides*")] == ["slides-2of2.csv"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "give SLIDE or --cohort"),
        (
            {"slide": Path("a.svs"), "cohort": Path("c.csv")},
            "--cohort takes slides, rois, slide_mpp and origin from the table; leave these options out",
        ),
    ],
)
def test_wrong_usage_is_said(options: dict[str, Path], words: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        heatmap.run(**options)  # type: ignore[arg-type] # paths, as the options take them
    assert caught.value.message == words


def test_a_slide_without_tissue_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_slide(home / "empty.svs", seen=np.full((3, 3), GLASS))
    heatmap.run(home / "empty.svs", home / "model", home / "out", device="cpu")
    assert "warning: empty: no tissue was found, so no tile was analysed.\n" in capsys.readouterr().err


def test_the_stain_check_can_be_left_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Model, "hinges_on_stain", lambda self, images, classes_n: asked.append(1) or classes_n < 0)
    heatmap.run(home / "slide.svs", home / "model", home / "out", threshold="1", device="cpu", no_stain_check=True)
    assert asked == []
    heatmap.run(home / "slide.svs", home / "model", home / "out", threshold="1", device="cpu")
    assert asked
