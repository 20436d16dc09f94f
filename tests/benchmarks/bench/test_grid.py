"""A grid makes what is missing and nothing else, tells what failed, and reports without training."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.bench.conftest import TOML, lay_out, run
from tests.benchmarks.study.conftest import content
from tests.w2wnet.conftest import Heard
from w2wpath.benchmarks.bench.grid import open_sets
from w2wpath.benchmarks.bench.headline import scores_of
from w2wpath.benchmarks.study import run as run_module
from w2wpath.benchmarks.study.cells import read_about
from w2wpath.config import BenchSettings, CleanSettings, load
from w2wpath.errors import ConfigError, RunError
from w2wpath.progress import Silent

TABLES = ("bench.md", "bench.csv", "bench.json", "cards.jsonl")
PICTURES = ("removal.png", "accuracy.png", "risk-coverage.png", "tagged-MNIST.png")


def cells(folder: Path) -> dict[str, int]:
    """When each cell was written, by set, seed and name."""
    found = sorted((folder / "out").glob("*/cells/*.npz"))
    return {f"{path.parent.parent.name}/{path.stem}": path.stat().st_mtime_ns for path in found}


def figures(folder: Path) -> dict[tuple[str, ...], dict[str, str]]:
    with (folder / "out" / "bench.csv").open(encoding="utf-8", newline="") as file:
        return {(row["set"], row["table"], row["row"], row["figure"]): row for row in csv.DictReader(file)}


def test_every_set_row_and_seed_has_its_cells(finished: Path) -> None:
    always = {"wise-recommended", "net-recommended", "net-all", "net-random", "net-oracle"}
    once = {"net-deterministic", "net-image-statistics"}
    wanted = {
        f"{name}-s{seed}/{cell}-f0-s{seed}"
        for name in ("MNIST", "Sp-MNIST-30")
        for seed in (0, 1)
        for cell in (always | once if seed == 0 else always)
    }
    assert set(cells(finished)) == wanted
    assert {path.name for path in (finished / "out").iterdir() if path.is_file()} == {*TABLES, *PICTURES}


def test_the_report_says_what_is_what(finished: Path) -> None:
    text = (finished / "out" / "bench.md").read_text("utf-8")
    assert "| Sp-MNIST-30 | 60 + 18 (60000 + 18000) | 23.1 % | 40 + 12 (10000 + 3000) | 23.1 % | letter 18 |" in text
    tables = [part for part in text.split("\n## ")[1:] if not part.startswith("The paper's own figures")]
    assert len(tables) >= 7
    assert all("letters of letters_az.npz stands in for EMNIST letters." in part for part in tables)
    assert "Published, other data and size" in text
    found = figures(finished)
    assert found["Sp-MNIST-30", "lists", "oracle", "sensitivity"]["value"] == "1"
    assert found["MNIST", "accuracy", "recommended", "accuracy"]["std"] != ""  # two seeds
    assert found["MNIST", "accuracy", "deterministic", "accuracy"]["std"] == ""  # one
    kinds = {row.split(", ")[0] for _, table, row, _ in found if table == "headline"}
    assert kinds == {"letter"}
    scores = {row.split(", ", 1)[1] for _, table, row, _ in found if table == "headline"}
    assert {"u", "label quality", "with the second reader", "image statistics only"} <= scores
    assert "logistic regression" not in scores  # hardly a letter a label


def test_every_score_of_the_headline_is_what_it_is_called(finished: Path) -> None:
    toml = finished / "toy.toml"
    bench, settings = load(BenchSettings, "bench", toml, {}), load(CleanSettings, "clean", toml, {})
    entries, _ = open_sets(bench, settings, None, finished / "out", workers=1, progress=Silent())
    entry = next(one for one in entries if one.name == "Sp-MNIST-30")
    wise = entry.study.wise("recommended", (0, entry.seed))
    assert wise is not None
    label_n = entry.study.ground.table.label[entry.study.ground.sides(0)[0]]
    scores = scores_of(entry)
    np.testing.assert_allclose(scores["u"], 1.0 - (wise.mean_nk**2).sum(axis=1))
    apart = ((np.eye(wise.mean_nk.shape[1])[label_n] - wise.mean_nk) ** 2).sum(axis=1)
    read = entry.study.judged("recommended", (0, entry.seed)).fit
    np.testing.assert_allclose(scores["label quality"], scores["u"] + apart)
    np.testing.assert_array_equal(scores["with the second reader"], read.score_n)
    assert not np.allclose(scores["with the second reader"], scores["label quality"])


def test_images_that_nobody_voted_on_are_no_part_of_the_vote(finished: Path) -> None:
    found = figures(finished)
    for figure in ("AUROC", "sensitivity", "false removals"):
        voted, trained = (found["Sp-MNIST-30", table, "recommended", figure] for table in ("vote", "training"))
        assert voted["value"] == trained["value"]  # of one split there is one vote


def test_every_cell_has_a_run_card(finished: Path) -> None:
    cards = [json.loads(line) for line in (finished / "out" / "cards.jsonl").read_text("utf-8").splitlines()]
    assert {f"{card['set']}-s{card['seed']}/{card['cell']}" for card in cards} == set(cells(finished))
    wise = next(card for card in cards if card["cell"] == "wise-recommended-f0-s1")
    assert (wise["stop_reason"], wise["epochs"], wise["draws"], wise["device"]) == ("stable", 9, 2, "cpu, fp32")
    assert 0.5 < wise["labels_named"] <= 1.0
    deterministic = next(card for card in cards if card["cell"].startswith("net-deterministic"))
    assert deterministic["settings"]["lr"] == 0.1
    assert deterministic["labels_named"] is None


def test_sets_with_the_same_training_images_train_a_network_once_and_each_asks_it(tmp_path: Path) -> None:
    rows = 'rows = ["recommended", "all", "oracle", "ponzio", "aum"]'
    toml = TOML.replace('rows = ["recommended", "all", "random", "oracle"]', rows).replace(
        "max_epochs = 10", "max_epochs = 4"
    )
    toml = toml.replace('rows_once = ["deterministic", "image statistics"]\nseeds = [0, 1]', "seeds = [0]")
    together, alone = tmp_path / "together", tmp_path / "alone"
    lay_out(together, toml.replace('"Sp-MNIST-30"', '"Mixed-MNIST-30", "Mixed-MNIST-10"'))
    lay_out(alone, toml.replace('"MNIST", "Sp-MNIST-30"', '"Mixed-MNIST-30"'))
    heard = Heard()
    assert run(together, progress=heard).failed == {}
    assert run(alone).failed == {}
    of_set = {
        name: sorted((together / "out" / f"{name}-s0" / "cells").glob("*.npz"))
        for name in ("MNIST", "Mixed-MNIST-30", "Mixed-MNIST-10")
    }
    trained = [line for line in heard.lines if re.match(r"\S+/\S+: \d+ s; ", line)]
    assert trained
    assert all(line.startswith("MNIST-s0/") for line in trained)
    for first, mixed in zip(of_set["MNIST"], of_set["Mixed-MNIST-30"], strict=True):
        about = read_about(mixed)
        assert about is not None
        assert (about["seconds"], about["same_as"].split("/")[-1][:4]) == (0.0, mixed.stem[:4])
        assert content(mixed) == content(alone / "out" / "Mixed-MNIST-30-s0" / "cells" / mixed.name)
        if mixed.stem.startswith(("wise-rec", "net-all", "net-rec")):
            told = [np.load(path)[read_what(path)] for path in (first, mixed)]
            assert len(told[1]) == len(told[0]) + 12  # three of ten are letters
    mixed = of_set["Mixed-MNIST-10"][0]
    before = {path: path.stat().st_mtime_ns for paths in of_set.values() for path in paths}
    mixed.unlink()
    assert run(together).failed == {}
    after = {path: path.stat().st_mtime_ns for paths in of_set.values() for path in paths}
    assert {path for path in after if after[path] != before[path]} == {mixed}


def read_what(cell: Path) -> str:
    """What a cell says of unseen images is called."""
    return "test_u" if cell.stem.startswith("wise") else "test_probs_nk"


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_show_something(finished: Path, name: str) -> None:
    with Image.open(finished / "out" / name) as picture:
        assert min(picture.size) > 60
        assert len(np.unique(np.asarray(picture.convert("L")))) > 5


def test_only_a_missing_cell_is_made_again(finished: Path) -> None:
    before = cells(finished)
    (finished / "out" / "Sp-MNIST-30-s1" / "cells" / "net-random-f0-s1.npz").unlink()
    heard = Heard()
    assert run(finished, progress=heard).failed == {}
    after = cells(finished)
    assert {name for name in after if after[name] != before[name]} == {"Sp-MNIST-30-s1/net-random-f0-s1"}
    assert "seed 1: 1 cells to make now, 9 are there" in heard.lines


def test_rows_of_every_seed_go_before_rows_of_one(finished: Path) -> None:
    for path in (finished / "out").glob("*/cells/net-[dor]*"):
        path.unlink()
    heard = Heard()
    assert run(finished, progress=heard).failed == {}
    ended = re.compile(r"(\S+/net-\S+): (\d+ s; |the same network as )")
    made = [found[1] for line in heard.lines if (found := ended.match(line))]
    seeds = [("deterministic" in name, name[-1]) for name in made]
    assert seeds == sorted(seeds)
    assert len({name for name in made if "deterministic" in name}) == 2
    assert len(made) == 14


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ('"random", "oracle"]', '"randon", "oracle"]', "[bench] rows must be of "),
        (
            'rows_once = ["deterministic"',
            'rows_once = ["pretrained"',
            "row 'pretrained' needs [clean] weights. Name the safetensors file, or leave the row out.",
        ),
        ('backbone = "conv5"', 'backbone = "conf5"', "--backbone 'conf5' is neither a timm model nor conv5."),
        ('"Sp-MNIST-30"]', '"Sp-MNIST-35"]', "data set 'Sp-MNIST-35' is not in the paper's Table 1."),
    ],
)
def test_what_is_wrong_with_a_grid_is_told_before_anything_is_made(
    tmp_path: Path, was: str, now: str, said: str
) -> None:
    assert was in TOML
    lay_out(tmp_path, TOML.replace(was, now))
    with pytest.raises(ConfigError) as caught:
        run(tmp_path)
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_test_side_is_as_small_a_part_as_the_training_side(tmp_path: Path) -> None:
    toml = TOML.replace("test_images = 40\n", "").replace('sets = ["MNIST", "Sp-MNIST-30"]', 'sets = ["MNIST"]')
    lay_out(tmp_path, toml.replace("seeds = [0, 1]", "seeds = [0]").replace("max_epochs = 10", "max_epochs = 2"))
    assert run(tmp_path).failed == {}
    about = json.loads((tmp_path / "out" / "MNIST-s0" / "dataset.json").read_text("utf-8"))
    assert {split: one["originals"] for split, one in about["splits"].items()} == {"train": 60, "test": 30}


def test_a_report_trains_nothing_and_needs_no_sources(finished: Path) -> None:
    shutil.rmtree(finished / "data")
    before, tables = cells(finished), figures(finished)
    for name in (*TABLES, *PICTURES):
        (finished / "out" / name).unlink()
    assert run(finished, report_only=True).failed == {}
    assert cells(finished) == before
    assert figures(finished) == tables
    (finished / "out" / "MNIST-s0" / "cells" / "net-oracle-f0-s0.npz").unlink()
    assert run(finished, report_only=True).missing == {"MNIST, seed 0": ("oracle",)}
    assert "**Not there yet** (MNIST, seed 0): oracle." in (finished / "out" / "bench.md").read_text("utf-8")


def test_no_cell_but_the_oracles_depends_on_the_truth(finished: Path) -> None:
    for folder in (finished / "out").glob("*-s?"):
        truth = folder / "truth" / "truth.csv"
        head, *lines = truth.read_text("utf-8").splitlines()
        faults = [line.rsplit(",", 3)[1:] for line in lines]
        turned = np.roll(np.arange(len(lines)), 7)
        mixed = [",".join([line.rsplit(",", 3)[0], *faults[i]]) for line, i in zip(lines, turned, strict=True)]
        truth.write_text("\n".join([head, *mixed]) + "\n", "utf-8")
    before = cells(finished)
    assert run(finished).failed == {}
    after = cells(finished)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"Sp-MNIST-30-s0/net-oracle-f0-s0", "Sp-MNIST-30-s1/net-oracle-f0-s1"}


def test_a_set_that_cannot_be_made_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    small = TOML.replace("seeds = [0, 1]", "seeds = [0]").replace(
        'rows = ["recommended", "all", "random", "oracle"]\nrows_once = ["deterministic", "image statistics"]',
        'rows = ["all"]',
    )
    lay_out(tmp_path, small)
    (tmp_path / "data" / "mnist" / "letters_az.npz").unlink()
    done = run(tmp_path)
    assert list(done.failed) == ["Sp-MNIST-30, seed 0"]
    assert done.failed["Sp-MNIST-30, seed 0"].startswith(f"{tmp_path / 'data' / 'mnist'}: EMNIST letters is not in ")
    assert set(cells(tmp_path)) == {"MNIST-s0/net-all-f0-s0"}
    why = done.failed["Sp-MNIST-30, seed 0"]
    text = (tmp_path / "out" / "bench.md").read_text("utf-8")
    assert f"**Failed** (Sp-MNIST-30, seed 0): {' '.join(why.split())}\n" in text
    assert json.loads((tmp_path / "out" / "bench.json").read_text("utf-8"))["failed"] == done.failed


def test_a_grid_that_has_not_come_to_our_row_is_reported(finished: Path) -> None:
    for path in (finished / "out").glob("*/cells/*-recommended-*"):
        path.unlink()
    done = run(finished, report_only=True)
    assert all("recommended" in rows for rows in done.missing.values())
    assert len(done.missing) == 4
    text = (finished / "out" / "bench.md").read_text("utf-8")
    assert "| random at most as recommended on every Sp set, within intervals | **not measured** |  |" in text


def test_a_logistic_regression_stands_beside_the_networks_where_labels_are_not_too_rare(tmp_path: Path) -> None:
    lay_out(tmp_path, TOML.replace("images = 60", "images = 200").replace("seeds = [0, 1]", "seeds = [0]"))
    random, y = np.random.default_rng(0), np.arange(200) % 10
    dark = random.integers(0, 60, (200, 28, 28), dtype=np.uint8)
    dark[np.arange(200), 2 * y + 4] = 230
    there = tmp_path / "data" / "mnist" / "mnist.npz"
    np.savez(there, x_train=dark, y_train=y, x_test=dark[::-1] // 2, y_test=y[::-1])
    bench, settings = (
        load(kind, name, tmp_path / "toy.toml", {})
        for kind, name in ((BenchSettings, "bench"), (CleanSettings, "clean"))
    )
    entries, failed = open_sets(bench, settings, tmp_path / "data", tmp_path / "out", workers=1, progress=Silent())
    assert failed == {}
    clean, spurious = entries
    assert set(scores_of(clean)) == {"image statistics only", "logistic regression"}
    train = spurious.study.ground.sides(0)[0]
    assert spurious.study.truth is not None
    is_letter = spurious.study.truth.spurious[train]
    score_n = scores_of(spurious)["logistic regression"]
    assert np.median(score_n[is_letter]) > 0.8 > 0.5 > np.median(score_n[~is_letter])


def test_wrong_settings_are_refused_in_words(tmp_path: Path) -> None:
    def refusal(old: str, new: str) -> str:
        (tmp_path / "toy.toml").write_text(TOML.replace(old, new), "utf-8")
        with pytest.raises(ConfigError) as caught:
            run(tmp_path)
        return str(caught.value)

    lay_out(tmp_path)
    assert refusal('"Sp-MNIST-30"', '"Sp-MNIST-31"') == (
        "data set 'Sp-MNIST-31' is not in the paper's Table 1. Did you mean 'Sp-MNIST-30'?"
    )
    assert refusal("lr = 0.1 }", "learning_rate = 0.1 }") == (
        "toy.toml: [bench]: paper: 'learning_rate' is no setting of a network; got {'learning_rate': 0.1}."
    )
    assert refusal("lr = 0.1 }", "momentun = 0.1 }") == (
        "toy.toml: [bench]: paper: 'momentun' is no setting of a network (Did you mean 'momentum'?); "
        "got {'momentun': 0.1}."
    )
    assert refusal("lr = 0.1 }", "lr = -1.0 }") == (
        "toy.toml: [bench]: paper: lr: Input should be greater than 0; got {'lr': -1.0}."
    )
    assert refusal("images = 60", "image = 60") == (
        "toy.toml: [bench] setting must be one of cifar10, classifier_epochs, exact, images, letters, mnist, mode, "
        "paper, rows, rows_once, seeds, sets, test_images; got 'image'. Did you mean 'images'?"
    )
    assert refusal("seeds = [0, 1]", "seeds = [0, 0]") == "toy.toml: [bench]: seeds must not repeat."
    assert refusal("paper = {", 'exact = ["CIFAR10"]\npaper = {') == (
        "toy.toml: [bench]: exact names 'CIFAR10', which is not among the sets."
    )


def test_a_rival_whose_package_is_missing_is_refused_first_and_left_out_of_a_report(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finished / "toy.toml").write_text(TOML.replace('rows = ["rec', 'rows = ["cleanlab", "rec'), "utf-8")
    before = cells(finished)
    monkeypatch.setattr(run_module, "is_installed", lambda rival: not rival.package)
    with pytest.raises(ConfigError) as caught:
        run(finished)
    assert str(caught.value) == (
        "row 'cleanlab' needs cleanlab. Install it with pip install 'w2wpath[bench]', or leave the row out."
    )
    assert cells(finished) == before
    done = run(finished, report_only=True)
    assert all("cleanlab" in rows for rows in done.missing.values())
    assert len(done.missing) == 4


def test_a_report_of_nothing_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path)
    with pytest.raises(RunError) as caught:
        run(tmp_path, report_only=True)
    about = tmp_path / "out" / "MNIST-s0" / "dataset.json"
    assert str(caught.value) == (
        f"{tmp_path / 'out'}: not one data set is there. {about}: is not there. Run `w2wpath bench run` first."
    )


@pytest.mark.long
def test_expected_figures_are_met_and_a_change_is_told(finished: Path) -> None:
    expected, heard = finished / "expected.json", Heard()
    assert run(finished, report_only=True, expect=expected, check=expected, progress=heard).failed == {}
    values = json.loads(expected.read_text("utf-8"))
    assert heard.lines[-1] == f"{expected}: all of its {len(values)} figures are met"
    assert {one["table"] for one in values} == {"training", "unseen", "accuracy", "headline", "lead"}
    assert all(one["low"] <= one["value"] <= one["high"] for one in values if one["table"] == "accuracy")
    at = next(i for i, one in enumerate(values) if (one["table"], one["row"]) == ("accuracy", "recommended"))
    values[at]["value"] += values[at]["tolerance"] + 0.1
    lost = {**values[at], "row": "recommendet"}
    expected.write_text(json.dumps([*values, lost]), "utf-8")
    with pytest.raises(RunError) as caught:
        run(finished, report_only=True, check=expected)
    wanted = f"{values[at]['value']:.4f} ± {values[at]['tolerance']:.4f} expected"
    place = f"{values[at]['set']}, accuracy"
    assert str(caught.value) == (
        f"{expected}: 2 of {len(values) + 1} figures differ: {place}, recommended, accuracy: {wanted}, got "
        f"{values[at]['value'] - values[at]['tolerance'] - 0.1:.4f}; {place}, recommendet, accuracy: {wanted}, got "
        "nothing. Look at bench.md; if the change is meant, write them anew with --expect."
    )
    for text, why in (("[3]", "TypeError"), ("{", "JSONDecodeError"), ('[{"set": 1}]', "KeyError")):
        expected.write_text(text, "utf-8")
        with pytest.raises(
            ConfigError, match=rf"not a file of expected figures \({why}.*\)\. Write it with --expect\.$"
        ):
            run(finished, report_only=True, check=expected)
    with pytest.raises(ConfigError) as missing:
        run(finished, report_only=True, check=finished / "none.json")
    assert str(missing.value) == f"{finished / 'none.json'}: no such file. Write it with --expect."
