"""``relabel``, ``patients`` and ``tile --dry-run`` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shapely.geometry import box

from tests.cli.conftest import Run
from tests.conftest import coordinate_image, save_svs, write_geojson

TILE = ("--tile-px", "64")


@pytest.fixture
def tiled(run: Run, tmp_path: Path) -> Path:
    """A store of slide ``a``: 4 tiles of Tumor, one of them under a third of Stroma."""
    save_svs(tmp_path / "a.svs", coordinate_image(256, 128))
    write_geojson(tmp_path / "a.geojson", [("Tumor", box(0, 0, 256, 64)), ("Stroma", box(192, 0, 214, 64))])
    assert run("tile", "a.svs", "a.geojson", *TILE, "--patient", "P1").code == 0
    return tmp_path / "tiles.zarr"


def test_another_policy_gives_other_labels(run: Run, tiled: Path) -> None:
    said = run("relabel", "--policy", "majority")
    assert (said.code, said.out.splitlines()[2].split()) == (0, ["a", "relabelled", "0", "4", "0", "0"])
    assert run("relabel", "--policy", "majority").out.splitlines()[2].split()[1] == "unchanged"


def test_edited_annotations_are_found_by_their_name(run: Run, tiled: Path, tmp_path: Path) -> None:
    write_geojson(tmp_path / "a.geojson", [("Necrosis", box(0, 0, 256, 64))])
    said = run("relabel", "--rois", "a.geojson", "--json")
    (slide,) = json.loads(said.out)["slides"]
    assert (slide["status"], slide["by_class"]) == ("relabelled", {"Necrosis": 4})


def test_a_slide_that_is_not_there_is_an_error_in_words(run: Run, tiled: Path, tmp_path: Path) -> None:
    write_geojson(tmp_path / "b.geojson", [("Necrosis", box(0, 0, 256, 64))])
    said = run("relabel", "--rois", "b.geojson")
    assert (said.code, said.last) == (
        1,
        "error: tiles.zarr: slide 'b' is not one of the 1 slide(s) there are. Slides are named by their file stem.",
    )


def test_a_misspelt_policy_is_an_error_in_words(run: Run, tiled: Path) -> None:
    said = run("relabel", "--policy", "majorty")
    assert (said.code, said.last) == (
        1,
        "error: tile: policy: input should be 'drop-conflict', 'majority', 'priority' or 'multi'; got 'majorty'.",
    )


def test_patients_come_from_a_table(run: Run, tiled: Path, tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("slide,patient\na,P9\n")
    said = run("patients", "map.csv")
    assert (said.code, said.out.splitlines()[2].split()[:2]) == (0, ["a", "relabelled"])
    assert "P9" in run("info", "tiles.zarr").out


def test_a_dry_run_writes_nothing(run: Run, tiled: Path, tmp_path: Path) -> None:
    said = run("tile", "a.svs", "a.geojson", *TILE, "--dry-run", "-o", "new.zarr")
    assert said.code == 0
    header, _, line, *rest = said.out.splitlines()
    assert header.split() == [
        "slide",
        "tiles",
        "Stroma",
        "Tumor",
        "border",
        "conflict",
        "s",
        "MB",
        "zstd",
        "MB",
        "jpeg",
    ]
    assert line.split()[:6] == ["a", "4", "0", "3", "0", "1"]
    assert rest[-1].endswith("MB are free for new.zarr")
    assert not (tmp_path / "new.zarr").exists()
    assert not (tmp_path / "new.zarr.imports").exists()


def test_a_dry_run_of_a_bad_slide_says_what_would_be_skipped(run: Run, tiled: Path, tmp_path: Path) -> None:
    (tmp_path / "cohort.csv").write_text("slide,rois\na.svs,a.geojson\nnone.svs,a.geojson\n")
    said = run("tile", "--cohort", "cohort.csv", *TILE, "--dry-run")
    assert (said.code, said.last) == (3, "warning: would be skipped: none.svs: no such slide. Check the path.")
