"""A model on disk: whole, checked, without code, and the same after loading."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.conftest import file_bytes
from tests.w2wnet.conftest import pixels_of
from w2wpath.errors import ModelError
from w2wpath.w2wnet.nets.backbones import build
from w2wpath.w2wnet.nets.bundle import Model, save_model

FACTS: dict[str, Any] = {
    "schema": 1,
    "classes": ("AC", "AD", "H"),
    "tile_px": 32,
    "mpp": 0.5,
    "resample": "lanczos",
    "backbone": "resnet10t",
    "mean": {"wise": (0.5, 0.4, 0.3), "wiped": (0.6, 0.5, 0.4)},
    "std": {"wise": (0.2, 0.2, 0.2), "wiped": (0.3, 0.3, 0.3)},
    "threshold": 0.25,
    "metrics": {"kept": 10},
    "provenance": {"command": "train"},
}
RECIPE = {"draws": 5, "dropout_rate": 0.3, "dropout_kind": "element", "mask_batch": 4, "bf16": False}
IMAGES = pixels_of(np.array([0, 1, 2, 0, -1, 2]), seed=0)


def nets(seed: int = 0) -> dict[str, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {name: build("resnet10t", 3, 32).eval() for name in ("wise", "wiped")}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", nets(), FACTS, RECIPE)
    return tmp_path / "model"


def load(path: Path) -> Model:
    return Model.load(path, device="cpu", precision="fp32")


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(path)
    return str(caught.value)


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change ``model.json``."""
    card = json.loads((path / "model.json").read_text())
    change(card)
    (path / "model.json").write_text(json.dumps(card))
    return path


def test_wiped_says_after_loading_what_the_network_said_before(saved: Path) -> None:
    mean = torch.tensor(FACTS["mean"]["wiped"]).view(1, 3, 1, 1)
    batch = (torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255 - mean) / 0.3
    with torch.inference_mode():
        expected = nets()["wiped"](batch).softmax(dim=1).numpy()
    said, _ = load(saved).predict(IMAGES, draws=1, seed=0)
    assert np.allclose(said, expected, atol=1e-5)


def test_a_seed_fixes_every_draw(saved: Path) -> None:
    model = load(saved)
    probs, first = model.predict(IMAGES, draws=5, seed=1)
    again, second = load(saved).predict(IMAGES, draws=5, seed=1)
    assert np.array_equal(probs, again)
    assert np.array_equal(first.mean_nk, second.mean_nk)
    assert np.array_equal(model.predict(IMAGES, draws=5, seed=1)[1].u_n, first.u_n)
    assert not np.array_equal(model.predict(IMAGES, draws=5, seed=2)[1].mean_nk, first.mean_nk)
    assert first.draws == 5
    assert first.epistemic_n.min() > 0


def test_the_card_is_read_as_it_was_written(saved: Path) -> None:
    model = load(saved)
    assert (model.classes, model.tile_px, model.mpp, model.threshold) == (("AC", "AD", "H"), 32, 0.5, 0.25)
    assert model.card.metrics == {"kept": 10}
    assert model.card.recipe.wise_sha256 == model.card.sha256["wise"]
    assert model.card == save_model(saved, nets(), FACTS, RECIPE)


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


# replacing ----------------------------------------------------------------------------------------------------------


def test_a_model_is_replaced_whole(saved: Path) -> None:
    before = file_bytes(saved)
    save_model(saved, nets(seed=5), {**FACTS, "threshold": 0.5}, RECIPE)
    after = file_bytes(saved)
    assert all(before[name] != after[name] for name in before)
    assert load(saved).threshold == 0.5
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
        save_model(saved, nets(seed=5), FACTS, RECIPE)
    assert file_bytes(saved) == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_model_that_a_killed_run_had_moved_aside_comes_back(saved: Path) -> None:
    card = Model.load(saved).card
    saved.rename(saved.with_name(f".{saved.name}.{'0' * 32}.replaced"))
    assert Model.load(saved).card == card


def test_facts_that_make_no_card_leave_the_old_model(saved: Path) -> None:
    before = file_bytes(saved)
    with pytest.raises(ValueError, match="threshold"):
        save_model(saved, nets(), {**FACTS, "threshold": float("nan")}, RECIPE)
    assert file_bytes(saved) == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_folder_that_is_no_model_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(ModelError) as caught:
        save_model(tmp_path / "thesis", nets(), FACTS, RECIPE)
    assert str(caught.value) == (
        f"{tmp_path / 'thesis'}: is not a model and not empty; it is left as it is. Choose another folder with -o."
    )
    assert file_bytes(tmp_path) == {"thesis/chapter1.tex": b"years of work"}


def test_an_empty_folder_may_become_a_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model", nets(), FACTS, RECIPE)
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
        f"{file}: is not the file that the model was saved with. Copy the model again, or train again."
    )


def test_a_threshold_of_another_wise_is_refused(saved: Path) -> None:
    edit(saved, lambda card: card["recipe"].update(wise_sha256="0" * 64))
    assert refusal(saved) == (
        f"{saved}: its threshold was taken with another Wise. Train it again with `w2wpath train`."
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(lambda card: card.update(schema=2), "schema: input should be 1", id="newer schema"),
        pytest.param(lambda card: card.pop("mpp"), "mpp: field required", id="missing"),
        pytest.param(
            lambda card: card.update(surprise=1), "surprise: extra inputs are not permitted", id="unknown field"
        ),
        pytest.param(
            lambda card: card["recipe"].update(dropout_kind="all"),
            "recipe.dropout_kind: input should be 'element' or 'channel'",
            id="unknown dropout",
        ),
        pytest.param(
            lambda card: card.update(threshold=1.5), "threshold: input should be less than or equal to 1", id="range"
        ),
        pytest.param(
            lambda card: card.update(tile_px=10**6),
            "tile_px: input should be less than or equal to 4096",
            id="tiles that no memory holds",
        ),
        pytest.param(
            lambda card: card.update(classes=["AC"]),
            "classes: tuple should have at least 2 items after validation, not 1",
            id="one class",
        ),
    ],
)
def test_a_card_that_is_not_ours_is_refused(saved: Path, change: Callable[[dict[str, Any]], None], why: str) -> None:
    edit(saved, change)
    assert refusal(saved) == (
        f"{saved / 'model.json'}: not a model that this w2wpath reads ({why}). "
        "Update w2wpath if the model is newer, or train it again."
    )


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\x00", "[" * 100_000], ids=["empty", "cut", "list", "0", "deep"])
def test_a_card_that_cannot_be_read_is_damaged(saved: Path, text: str) -> None:
    (saved / "model.json").write_text(text)
    with pytest.raises(ModelError) as caught:
        load(saved)
    assert str(caught.value) == (
        f"{saved / 'model.json'}: damaged ({caught.value.__cause__}). Copy the model again, or train it again."
    )


def test_weights_of_another_network_are_refused(saved: Path) -> None:
    save_file({"x": torch.zeros(3)}, saved / "wise.safetensors")
    from w2wpath.w2wnet.nets.bundle import _sha256

    digest = _sha256(saved / "wise.safetensors")
    edit(saved, lambda card: (card["sha256"].update(wise=digest), card["recipe"].update(wise_sha256=digest)))
    assert refusal(saved) == (
        f"{saved / 'wise.safetensors'}: does not fit resnet10t with 3 classes. Train the model again."
    )
