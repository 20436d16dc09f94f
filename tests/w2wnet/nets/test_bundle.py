"""A model on disk: whole, checked, without code, and the same after loading."""

from __future__ import annotations

import ast
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import save

import w2wpath
from tests.conftest import file_bytes
from tests.w2wnet.conftest import pixels_of
from tests.w2wnet.nets.made import (
    FACTS,
    NET,
    RECIPE,
    THRESHOLDS,
    edit,
    load,
    nets,
    refusal,
    replace_wise,
    sha256,
    write,
)
from w2wpath.errors import ModelError
from w2wpath.w2wnet import calibration
from w2wpath.w2wnet.nets.bundle import MAX_HEADER_BYTES, Model, save_model, tensors_of
from w2wpath.w2wnet.nets.card import KERNEL, MAX_CARD_BYTES, Card

IMAGES = pixels_of(np.array([0, 1, 2, 0, -1, 2]), seed=0)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    write(tmp_path / "model")
    return tmp_path / "model"


def test_wiped_says_after_loading_what_the_network_said_before(saved: Path) -> None:
    mean = torch.tensor(FACTS["mean"]["wiped"]).view(1, 3, 1, 1)
    batch = (torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255 - mean) / 0.3
    with torch.inference_mode():
        expected = (nets()["wiped"](batch) / FACTS["temperature"]).softmax(dim=1).numpy()
    said, _ = load(saved).predict(IMAGES, draws=1, seed=0)
    assert np.allclose(said, expected, atol=1e-5)


def test_the_temperature_is_of_wiped_alone_and_names_no_other_class(tmp_path: Path) -> None:
    write(tmp_path / "as it is", temperature=1.0)
    write(tmp_path / "hot", temperature=4.0)
    raw, draws = load(tmp_path / "as it is").predict(IMAGES, draws=3, seed=0)
    said, again = load(tmp_path / "hot").predict(IMAGES, draws=3, seed=0)
    assert np.allclose(said, calibration.apply(raw, 4.0), atol=1e-6)
    assert np.array_equal(said.argmax(axis=1), raw.argmax(axis=1))
    assert (said.max(axis=1) < raw.max(axis=1)).all()
    assert np.array_equal(again.mean_nk, draws.mean_nk)


def test_a_seed_fixes_every_draw(saved: Path) -> None:
    model = load(saved)
    probs, first = model.predict(IMAGES, draws=5, seed=1)
    again, second = load(saved).predict(IMAGES, draws=5, seed=1)
    assert np.array_equal(probs, again)
    assert np.array_equal(first.mean_nk, second.mean_nk)
    assert np.array_equal(model.predict(IMAGES, draws=5, seed=1)[1].u_n, first.u_n)
    assert not np.array_equal(model.predict(IMAGES, draws=5, seed=2)[1].mean_nk, first.mean_nk)
    assert first.draws_n.tolist() == [5] * 6
    assert first.epistemic_n.min() > 0


def test_a_pass_has_the_same_masks_however_many_follow(saved: Path) -> None:
    model = load(saved)
    first, both, three = (model.predict(IMAGES, draws=draws, seed=0)[1].mean_nk * draws for draws in (1, 2, 3))
    second, third = both - first, three - both
    assert np.allclose(second.sum(axis=1), 1)
    assert np.allclose(third.sum(axis=1), 1)
    assert min(second.min(), third.min()) > -1e-6
    assert not np.allclose(first, second)
    # or neighbouring batches of a slide would share masks
    assert not np.allclose(second, model.predict(IMAGES, draws=1, seed=1)[1].mean_nk)


def test_around_a_threshold_clear_tiles_are_drawn_less_and_a_run_can_be_repeated(saved: Path) -> None:
    model = load(saved)
    whole = model.predict(IMAGES, draws=25, seed=1)[1]
    middle = float(np.median(whole.u_n))
    probs, said = model.predict(IMAGES, draws=25, seed=1, around=middle)
    assert said.draws_n.min() >= 4
    assert said.draws_n.sum() < 25 * len(IMAGES)
    again_probs, again = load(saved).predict(IMAGES, draws=25, seed=1, around=middle)
    for name in ("mean_nk", "u_n", "epistemic_n", "draws_n"):
        assert np.array_equal(getattr(said, name), getattr(again, name))
    assert np.array_equal(probs, again_probs)
    assert model.predict(IMAGES, draws=25, seed=1, around=1.0)[1].draws_n.tolist() == [4] * 6


def test_the_recipes_of_dropout_reach_the_network(tmp_path: Path) -> None:
    placed = {}
    for scope in ("all", "head"):
        save_model(tmp_path / scope, nets(), FACTS, {**RECIPE, "dropout_scope": scope}, THRESHOLDS)
        placed[scope] = load(tmp_path / scope)._dropout.where
    assert 0 < len(placed["head"]) < len(placed["all"])


def test_the_card_is_read_as_it_was_written(saved: Path) -> None:
    model = load(saved)
    assert (model.classes, model.tile_px, model.mpp, model.threshold) == (("AC", "AD", "H"), 32, 0.5, 0.25)
    assert model.card.metrics == {"kept": 10}
    weights = sha256((saved / "wise.safetensors").read_bytes())
    assert model.card.recipe.wise_sha256 == model.card.sha256["wise"] == weights
    assert model.card.recipe.kernel == KERNEL
    assert (model.draws, model.quality, model.card.preset, model.card.stem) == (
        5,
        FACTS["quality"],
        "recommended",
        "imagenet",
    )
    assert {name: one.value for name, one in model.card.thresholds.items()} == THRESHOLDS
    assert {one.recipe for one in model.card.thresholds.values()} == {model.card.recipe}
    assert model.card == write(saved)


def test_the_threshold_that_is_used_is_the_one_that_is_named(tmp_path: Path) -> None:
    write(tmp_path / "model", threshold="boundary")
    assert load(tmp_path / "model").threshold == 0.125


def test_another_threshold_of_the_model_is_used_by_its_name(saved: Path) -> None:
    assert [Model.load(saved, device="cpu", threshold=name).threshold for name in (None, *THRESHOLDS)] == [
        0.25,
        *THRESHOLDS.values(),
    ]
    with pytest.raises(ModelError) as caught:
        Model.load(saved, device="cpu", threshold="quantil")
    assert str(caught.value) == (
        f"{saved}: has no threshold 'quantil', but boundary, centroid, quantile. Did you mean 'quantile'?"
    )


def test_the_page_for_people_appears_with_the_model_and_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "model"
    save_model(path, nets(), FACTS, RECIPE, THRESHOLDS, lambda card: f"{card.backbone} of {len(card.classes)} classes")
    assert (path / "README.md").read_text("utf-8") == "conv5 of 3 classes"
    card = load(path).card
    (path / "README.md").write_bytes(b"\xff\x00")
    assert load(path).card == card
    (path / "README.md").unlink()
    assert load(path).card == card


def test_a_page_that_cannot_be_made_leaves_the_old_model(saved: Path) -> None:
    def fails(_: Card) -> str:
        raise KeyError("metrics")

    before = file_bytes(saved)
    with pytest.raises(KeyError):
        save_model(saved, nets(), FACTS, RECIPE, THRESHOLDS, fails)
    assert file_bytes(saved) == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_model_without_a_quality_reference_says_none(tmp_path: Path) -> None:
    write(tmp_path / "model", quality=None)
    assert load(tmp_path / "model").quality is None


def test_numbers_of_the_record_that_are_not_finite_become_null(tmp_path: Path) -> None:
    card = write(tmp_path / "model", metrics={"share": float("nan")}, provenance={"stds": [float("inf"), 0.5]})
    assert (card.metrics, card.provenance) == ({"share": None}, {"stds": [None, 0.5]})
    assert load(tmp_path / "model").card == card


def test_nothing_on_disk_can_run(saved: Path) -> None:
    files = file_bytes(saved)
    assert sorted(files) == ["model.json", "wiped.safetensors", "wise.safetensors"]
    json.loads(files["model.json"])
    for name in ("wise.safetensors", "wiped.safetensors"):
        length = int.from_bytes(files[name][:8], "little")
        assert json.loads(files[name][8 : 8 + length])  # the header of safetensors; then plain numbers


def test_loading_unpickles_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    for name in ("torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler"):
        monkeypatch.setattr(name, refuse)
    load(saved).predict(IMAGES, draws=1, seed=0)


EXECUTING = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
"""Modules whose files run code when they are read."""


def executes(source: str) -> list[str]:
    """Say what in `source` could run code from a file, or write a file that does."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names if one.name.split(".")[0] in EXECUTING]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in EXECUTING:
            found.append(str(node.module))
        elif isinstance(node, ast.ImportFrom) and node.module == "torch":
            found += [f"torch.{one.name}" for one in node.names if one.name in ("load", "save")]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            found += [name] if name in ("torch.load", "torch.save") else []
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            never = isinstance(node.value, ast.Constant) and node.value.value is False
            found += [] if never else ["allow_pickle"]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            found.append(node.func.id)
    return found


def test_no_module_of_the_package_reads_or_writes_a_file_that_runs_code() -> None:
    root = Path(w2wpath.__file__).parent
    found = {str(path.relative_to(root)): executes(path.read_text("utf-8")) for path in root.rglob("*.py")}
    assert len(found) > 50
    # CIFAR's batches are pickles; tests/benchmarks/sources shows that reading them runs nothing
    assert {name: what for name, what in found.items() if what} == {"benchmarks/sources/batches.py": ["pickle"]}


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("import torch\ntorch.load('x')", "torch.load"),
        ("import torch\ntorch.save({}, 'x')", "torch.save"),
        ("from torch import load", "torch.load"),
        ("np.load('x', allow_pickle=True)", "allow_pickle"),
        ("exec('x')", "exec"),
    ],
)
def test_the_search_for_code_in_files_would_find_it(source: str, what: str) -> None:
    assert executes(source) == [what]


# replacing ----------------------------------------------------------------------------------------------------------


def test_a_model_is_replaced_whole(saved: Path) -> None:
    before = file_bytes(saved)
    write(saved, seed=5, threshold="boundary")
    after = file_bytes(saved)
    assert all(before[name] != after[name] for name in before)
    assert load(saved).threshold == 0.125
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_model_that_cannot_be_put_in_place_leaves_the_old_one(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file_bytes(saved)
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise PermissionError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(PermissionError):
        write(saved, seed=5)
    assert file_bytes(saved) == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_model_that_a_killed_run_had_moved_aside_comes_back(saved: Path) -> None:
    card = load(saved).card
    saved.rename(saved.with_name(f".{saved.name}.{'0' * 32}.replaced"))
    assert load(saved).card == card


@pytest.mark.parametrize(
    ("facts", "thresholds", "why"),
    [
        ({}, {"centroid": float("nan")}, "thresholds.centroid.value"),
        ({}, {"boundary": 0.5}, "threshold 'centroid' is not among those given \\(boundary\\)"),
        ({}, {"centroid": 0.5, "guess": 0.1}, "Input should be 'boundary', 'centroid' or 'quantile'"),
        ({"temperature": float("nan")}, THRESHOLDS, "temperature"),
        ({"quality": {"centre": [float("nan")] * 4}}, THRESHOLDS, "Input should be a finite number"),
        ({"quality": {"scale": [1.0]}}, THRESHOLDS, "Extra inputs are not permitted"),
        ({"provenance": {"x": "x" * MAX_CARD_BYTES}}, THRESHOLDS, "bytes are read at most|are read at most"),
        ({"std": {"wise": (0.0, 1.0, 1.0), "wiped": (1.0, 1.0, 1.0)}}, THRESHOLDS, "std.wise.0"),
    ],
)
def test_facts_that_make_no_card_leave_the_old_model(
    saved: Path, facts: dict[str, Any], thresholds: dict[str, float], why: str
) -> None:
    before = file_bytes(saved)
    with pytest.raises(ValueError, match=why):
        save_model(saved, nets(), {**FACTS, **facts}, RECIPE, thresholds)
    assert file_bytes(saved) == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_folder_that_is_no_model_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(ModelError) as caught:
        write(tmp_path / "thesis")
    assert str(caught.value) == (
        f"{tmp_path / 'thesis'}: is not a model and not empty; it is left as it is. Choose another folder with -o."
    )
    assert file_bytes(tmp_path) == {"thesis/chapter1.tex": b"years of work"}


def test_an_empty_folder_may_become_a_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    write(tmp_path / "model")
    assert load(tmp_path / "model").tile_px == 32


# refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["nothing", "foreign"])
def test_where_no_model_is_the_command_that_makes_one_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("no model")
    path = tmp_path / folder
    assert refusal(path) == (
        f"{path}: no model there (model.json is missing). Make one with `w2wpath train -o {path}`."
    )


@pytest.mark.parametrize("name", ["wise", "wiped"])
def test_a_missing_network_is_named(saved: Path, name: str) -> None:
    (saved / f"{name}.safetensors").unlink()
    assert refusal(saved) == (f"{saved / name}.safetensors: is missing. Copy the model again, or train it again.")


@pytest.mark.parametrize("name", ["wise", "wiped"])
def test_one_flipped_bit_of_the_weights_is_refused(saved: Path, name: str) -> None:
    file = saved / f"{name}.safetensors"
    weights = bytearray(file.read_bytes())
    weights[-1] ^= 1
    file.write_bytes(weights)
    assert refusal(saved) == (
        f"{file}: is not the file that the model was saved with. Copy the model again, or train it again."
    )


@pytest.mark.parametrize("name", ["hf-hub:someone/something", "local-dir:/tmp", "../../evil", "no_such_net"])
def test_a_network_that_timm_does_not_have_is_never_looked_for_elsewhere(saved: Path, name: str) -> None:
    edit(saved, lambda card: card.update(backbone=name))
    told = refusal(saved)
    assert told.startswith(f"{saved}: its network cannot be made here (--backbone {name!r} ")
    assert told.endswith(
        "). Install the timm that it was trained with (`provenance` in model.json), or train it again."
    )


def test_gigantic_weights_are_read_no_further_than_the_network_is_large(saved: Path) -> None:
    with (saved / "wise.safetensors").open("r+b") as file:
        file.truncate(1 << 40)
    assert refusal(saved) == (
        f"{saved / 'wise.safetensors'}: is not the file that the model was saved with. "
        "Copy the model again, or train it again."
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["model.json", "wise.safetensors"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(saved: Path, name: str) -> None:
    (saved / name).unlink()
    os.mkfifo(saved / name)
    assert "is missing" in refusal(saved)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(save({"x": torch.zeros(3)}), id="another network"),
        pytest.param(b"", id="empty"),
        pytest.param(b"PK\x03\x04" + bytes(60), id="a zip, as torch.save writes"),
        pytest.param((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}", id="huge header"),
        pytest.param((2**64 - 1).to_bytes(8, "little") + b"{}", id="largest header"),
        pytest.param(save({"x": torch.zeros(3)})[:-4], id="cut"),
    ],
)
def test_weights_that_are_not_those_of_the_network_are_refused(saved: Path, data: bytes) -> None:
    replace_wise(saved, data)
    assert refusal(saved) == f"{saved / 'wise.safetensors'}: does not fit {NET} with 3 classes. Train the model again."


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_weights_of_which_any_bytes_changed_give_tensors_or_a_known_error(data: st.DataObject) -> None:
    whole = save({"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.int64)})
    begin = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(begin, len(whole)))
    changed = whole[:begin] + data.draw(st.binary(max_size=40)) + whole[end:]
    with suppress(ValueError, SafetensorError):
        assert all(isinstance(value, torch.Tensor) for value in tensors_of(changed).values())
