"""Every command says what it did on stdout and what went wrong on stderr, in words, with the right exit code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from shapely.geometry import box

from tests.cli.conftest import ROIS, TILE, Run
from tests.conftest import coordinate_image, file_bytes, file_size_limit, save_svs, speck_of_noise, write_geojson

ONE_TILED = re.compile(r"tile: 1/1 in \d+ s \(a: 30 tiles, tiled\)\n")


def test_results_go_to_stdout_and_progress_to_stderr(run: Run, slide: Path) -> None:
    said = run("tile", "a.svs", "a.geojson", *TILE, "--patient", "P1")
    assert said.code == 0
    assert said.out == (
        "slide  status  Stroma  Tumor  border  conflict\n"
        "-----  ------  ------  -----  ------  --------\n"
        "a      tiled       12     18       0         0\n"
        "import reports, alignment checks and previews (look at the pictures): tiles.zarr.imports\n"
        "store: tiles.zarr. Next: w2wpath clean --folds 5\n"
    )
    assert ONE_TILED.fullmatch(said.err)


def test_a_slide_without_a_patient_is_warned_of(run: Run, slide: Path) -> None:
    said = run("tile", "a.svs", "a.geojson", *TILE)
    assert (said.code, said.last) == (
        0,
        "warning: 1 slide(s) without a patient: each counts as a patient of its own. Say --patient if that is wrong.",
    )


def test_json_is_all_that_is_on_stdout(run: Run, slide: Path) -> None:
    said = run("tile", "a.svs", "a.geojson", *TILE, "--json")
    assert json.loads(said.out) == {
        "store": "tiles.zarr",
        "slides": [
            {
                "slide": "a",
                "status": "tiled",
                "tiles": 30,
                "by_class": {"Stroma": 12, "Tumor": 18},
                "border": 0,
                "conflict": 0,
                "skipped_objects": {},
                "repaired_objects": 0,
                "warnings": [],
                "damaged": [],
                "error": None,
            }
        ],
    }
    assert ONE_TILED.fullmatch(said.err)


def test_a_cohort_with_one_bad_slide_does_the_others_and_exits_3(run: Run, slide: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.svs").write_text("not a slide")
    lines = ["slide,rois,patient", "bad.svs,a.geojson,P2", "a.svs,a.geojson,P1"]
    (tmp_path / "cohort.csv").write_text("\n".join(lines))
    said = run("tile", "--cohort", "cohort.csv", *TILE, "--json")
    error = "bad.svs: not a readable slide (Unsupported or missing image file). Check that the file is whole."
    assert (said.code, said.last) == (3, f"warning: skipped: {error}")
    bad, good = json.loads(said.out)["slides"]
    assert (bad["slide"], bad["status"], bad["error"]) == ("bad", "failed", error)
    assert (good["slide"], good["status"], good["tiles"]) == ("a", "tiled", 30)
    assert (tmp_path / "tiles.zarr" / "slides" / "a").is_dir()


def test_a_cohort_of_bad_slides_only_exits_1(run: Run, slide: Path, tmp_path: Path) -> None:
    (tmp_path / "cohort.csv").write_text("slide,rois\nb.svs,a.geojson\nc.svs,a.geojson\n")
    said = run("tile", "--cohort", "cohort.csv", *TILE)
    assert (said.code, said.out) == (1, "")
    assert said.err.splitlines()[-2:] == [
        "warning: skipped: b.svs: no such slide. Check the path.",
        "warning: skipped: c.svs: no such slide. Check the path.",
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["none.svs", "a.geojson"], "none.svs: no such slide. Check the path."),
        (
            ["a.geojson", "a.geojson"],
            "a.geojson: not a readable slide (Unsupported or missing image file). Check that the file is whole.",
        ),
        (
            ["a.svs", "text.geojson"],
            "text.geojson: not GeoJSON (expecting value, line 1 column 1). "
            "Export it from QuPath: File > Export objects as GeoJSON.",
        ),
        (
            ["a.svs", "none.geojson"],
            "none.geojson: no usable ROI (the file holds no object). "
            "Draw areas in QuPath, give each a class, and export them as GeoJSON.",
        ),
        (
            ["a.svs", "far.geojson"],
            "a.svs: no region lies on the slide, so they may be another slide's. The file does not record its frame: "
            "qupath (inside 0 %, no region on the slide). If the slide is the right one, look at the picture and pass "
            "--origin NAME. Picture: tiles.zarr.imports/a.alignment.png",
        ),
        (
            ["plain.svs", "a.geojson"],
            "plain.svs: no um/px in the header. Pass --slide-mpp (20x is about 0.5, 40x about 0.25).",
        ),
        (
            ["a.svs", "a.geojson", "--classes", "Tumour,Stroma"],
            "a.geojson: class 'Tumor' is not one of --classes Tumour, Stroma. Did you mean 'Tumour'? "
            "Add it, or mend the annotation.",
        ),
        (
            ["a.svs", "a.geojson", "--mpp", "0.25"],
            "a.svs: the slide has 0.5 um/px, coarser than the 0.25 um/px asked for. "
            "Choose a larger --mpp, or pass --allow-upsample to enlarge its pixels.",
        ),
    ],
)
def test_one_slide_that_cannot_be_tiled_is_an_error_in_words(
    run: Run, slide: Path, tmp_path: Path, words: list[str], error: str
) -> None:
    (tmp_path / "text.geojson").write_text("this is not JSON")
    (tmp_path / "none.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    write_geojson(tmp_path / "far.geojson", [("Tumor", box(5000, 5000, 6000, 6000))])
    save_svs(tmp_path / "plain.svs", coordinate_image(256, 256), mpp=None)
    said = run("tile", *words, *TILE)
    assert (said.code, said.out, said.last) == (1, "", f"error: {error}")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["tile"], "Invalid value: give SLIDE and ROIS, or --cohort"),
        (["tile", "a.svs"], "Invalid value: give SLIDE and ROIS, or --cohort"),
        (
            ["tile", "a.svs", "a.geojson", "--cohort", "c.csv"],
            "Invalid value: --cohort takes slides and patients from the table; leave SLIDE, ROIS, --patient out",
        ),
        (["evaluate"], "Invalid value: give --truth TABLE, --accuracy, or both"),
        # these are typer's own words, which differ from version to version
        (["tile", "a.svs", "a.geojson", "--tilepx", "3"], "No such option: --tilepx"),
        (["clean", "--folds", "many"], "Invalid value for '--folds'"),
        (["heatmap"], "Invalid value: give SLIDE or --cohort"),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
)
def test_wrong_usage_exits_2_and_does_nothing(run: Run, tmp_path: Path, words: list[str], error: str) -> None:
    said = run(*words)
    assert (said.code, said.out) == (2, "")
    assert error in " ".join(re.sub(r"[│╭╮╰╯─]", " ", said.err).split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("toml", "error"),
    [
        (
            "[tile]\ntilepx = 64\n",
            "s.toml: [tile] setting must be one of allow_upsample, anchor, class_map, classes, codec, "
            "conflict_share, edge, extra, include, label_share, max_mb, min_share, mpp, origin, plane, "
            "point_radius_um, policy, priority, strict, stride_px, tile_px; "
            "got 'tilepx'. Did you mean 'tile_px'?",
        ),
        (
            "[tiles]\n",
            "s.toml: table must be one of bench, clean, heatmap, study, tile; got 'tiles'. Did you mean 'tile'?",
        ),
        ("[tile]\nmpp = -1\n", "s.toml: [tile]: mpp: input should be greater than 0; got -1."),
    ],
)
def test_a_wrong_settings_file_is_refused_before_any_work(
    run: Run, slide: Path, tmp_path: Path, toml: str, error: str
) -> None:
    (tmp_path / "s.toml").write_text(toml)
    said = run("tile", "a.svs", "a.geojson", "--config", "s.toml")
    assert (said.code, said.out, said.err) == (1, "", f"error: {error}\n")
    assert not (tmp_path / "tiles.zarr").exists()


def test_flags_win_over_the_settings_file(run: Run, slide: Path, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("[tile]\ntile_px = 32\nmin_share = 0.2\n")
    assert run("tile", "a.svs", "a.geojson", "--config", "s.toml", *TILE).code == 0
    attributes = json.loads((tmp_path / "tiles.zarr" / "slides" / "a" / "zarr.json").read_text())["attributes"]
    assert (attributes["settings"]["tile_px"], attributes["settings"]["min_share"]) == (64, 0.2)


def test_clean_before_tile_says_what_comes_first(run: Run, tmp_path: Path) -> None:
    said = run("clean")
    assert (said.code, said.out, said.err) == (
        1,
        "",
        "error: tiles.zarr: no such tile store. Make one with `w2wpath tile slide.svs rois.geojson`.\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_store_is_left_alone(run: Run, slide: Path, tmp_path: Path) -> None:
    (tmp_path / "tiles.zarr").mkdir()
    (tmp_path / "tiles.zarr" / "mine.txt").write_text("mine")
    error = "error: tiles.zarr: not a w2wpath tile store. Give another path, or move it away.\n"
    for words in (["tile", "a.svs", "a.geojson"], ["train"]):
        said = run(*words)
        assert (said.code, said.out, said.err) == (1, "", error)
    assert file_bytes(tmp_path / "tiles.zarr") == {"mine.txt": b"mine"}


def test_train_before_clean_and_a_newer_store_are_refused(run: Run, slide: Path, tmp_path: Path) -> None:
    assert run("tile", "a.svs", "a.geojson", *TILE).code == 0
    said = run("train")
    assert (said.code, said.out, said.err) == (
        1,
        "",
        "error: tiles.zarr: has no decisions yet. Run `w2wpath clean`; "
        "if one waits for you, `w2wpath status` says so.\n",
    )
    root = tmp_path / "tiles.zarr" / "zarr.json"
    root.write_text(re.sub(r'("schema": *)1\b', r"\g<1>7", root.read_text()))
    said = run("train")
    assert (said.code, said.out, said.err) == (
        1,
        "",
        "error: tiles.zarr: has schema 7, but this w2wpath reads schema 1. "
        "Update w2wpath if the store is newer, or tile again into another store.\n",
    )
    assert not (tmp_path / "model").exists()


def test_too_few_patients_are_refused_before_any_training(run: Run, slide: Path, tmp_path: Path) -> None:
    run("tile", "a.svs", "a.geojson", *TILE)
    said = run("clean")
    assert (said.code, said.out, said.err) == (
        1,
        "",
        "error: 1 patient cannot fill 5 folds: every fold needs patients of its own. "
        "Tile slides of more patients (say whose they are with --patient).\n",
    )
    save_svs(tmp_path / "b.svs", coordinate_image(640, 512)[::-1].copy())
    run("tile", "b.svs", "a.geojson", *TILE)
    said = run("clean")
    assert (said.code, said.out, said.err) == (
        1,
        "",
        "error: 2 patients cannot fill 5 folds. Use --folds 2 or fewer, or tile slides of more patients.\n",
    )
    assert not (tmp_path / "clean").exists()


def test_a_single_class_is_refused_before_any_training(run: Run, slide: Path, tmp_path: Path) -> None:
    write_geojson(tmp_path / "a.geojson", ROIS[1:])
    run("tile", "a.svs", "a.geojson", *TILE)
    said = run("clean", "--folds", "2")
    assert (said.code, said.out, said.err) == (
        1,
        "",
        "error: labelled tiles of one class only (Tumor): nothing can be learned. "
        "Annotate a second class, and tile again.\n",
    )


def test_a_missing_model_is_an_error_in_words_and_a_traceback_on_demand(run: Run, slide: Path, tmp_path: Path) -> None:
    said = run("heatmap", "a.svs", "--model", "none/", "--debug")
    error = "none: no model there (model.json is missing). Make one with `w2wpath train -o none`."
    assert (said.code, said.out, said.last) == (1, "", f"error: {error}")
    assert said.err.startswith("Traceback (most recent call last):\n")
    assert f"w2wpath.errors.ModelError: {error}" in said.err
    assert not (tmp_path / "out").exists()


def test_without_debug_there_is_no_traceback(run: Run, slide: Path) -> None:
    said = run("clean", "--lr", "0")
    assert (said.code, said.out, said.err) == (1, "", "error: clean: lr: input should be greater than 0; got 0.0.\n")


def test_debug_may_stand_before_the_command(run: Run) -> None:
    said = run("--debug", "clean")
    assert said.code == 1
    assert said.err.startswith("Traceback (most recent call last):\n")


def test_a_full_disk_is_an_error_in_words_and_the_store_can_be_used_on(run: Run, slide: Path, tmp_path: Path) -> None:
    words = ("tile", "a.svs", "a.geojson", *TILE)
    save_svs(slide, speck_of_noise())
    with file_size_limit(200_000):
        said = run(*words)
    error = (
        "tiles.zarr: could not be written, the file-size limit is met. Nothing that was there before has changed; "
        "make room (or choose another place with -o) and run the same command again."
    )
    assert (said.code, said.out, said.last) == (1, "", f"error: {error}")
    assert not (tmp_path / ".tiles.zarr.scratch").exists()
    assert run(*words).code == 0


def test_an_output_place_that_cannot_be_used_is_an_error_in_words(run: Run, slide: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    said = run("tile", "a.svs", "a.geojson", *TILE, "-o", "file/tiles.zarr")
    assert (said.code, said.out, said.err) == (
        1,
        "",
        "error: file: file exists. Check the path and its permissions, or choose another place with -o.\n",
    )
    assert (tmp_path / "file").read_text() == "mine"


def test_help_names_every_command(run: Run) -> None:
    said = run("--help")
    assert (said.code, said.err) == (0, "")
    for command in ("demo", "tile", "clean", "train", "heatmap", "view", "share", "evaluate", "check-geojson"):
        assert re.search(rf"\b{command}\b", said.out)
