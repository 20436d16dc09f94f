"""``w2wpath clean``: its refusals, before any network is built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.conftest import file_bytes
from tests.w2wnet.conftest import add_slide, new_store


@pytest.fixture
def small_tiles(tmp_path: Path) -> None:
    """``tiles.zarr`` with tiles of 12 px: three classes, three patients."""
    content = np.arange(27) // 3 % 3
    pixels = np.random.default_rng(0).integers(0, 256, (27, 12, 12, 3), dtype=np.uint8)
    add_slide(new_store(tmp_path / "tiles.zarr", 12), "s", content, content, ["a", "b", "c"], pixels)


@pytest.mark.usefixtures("small_tiles")
def test_tiles_too_small_for_image_quality_are_refused_with_the_flag(run: Run, tmp_path: Path) -> None:
    before = file_bytes(tmp_path)
    said = run("clean", "--folds", "3")
    assert (said.code, said.out) == (1, "")
    assert said.last == (
        "error: tiles.zarr: tiles of 12 px are too small for the image-quality score, which needs 16. "
        "Pass --no-quality, or tile larger."
    )
    assert file_bytes(tmp_path) == before


@pytest.mark.usefixtures("small_tiles")
def test_without_image_quality_small_tiles_are_cleaned(run: Run) -> None:
    few = ["--backbone", "conv5", "--max-epochs", "1", "--draws", "2", "--device", "cpu"]
    said = run("clean", "--folds", "3", "--no-quality", *few)
    assert (said.code, said.last.startswith("error")) == (0, False)
    assert "Next: w2wpath train -o model/" in said.out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--preset", "papre"], "preset: input should be 'recommended' or 'paper'; got 'papre'"),
        (["--track-every", "5"], "track_every is for tracker 'exact'; the moving average follows every epoch"),
        (["--micro-batch", "128"], "micro_batch must not exceed batch_size (64)"),
    ],
)
def test_flags_that_cannot_be_are_refused_in_words(run: Run, flags: list[str], words: str) -> None:
    said = run("clean", *flags)
    assert (said.code, said.out, said.err) == (1, "", f"error: clean: {words}.\n")
