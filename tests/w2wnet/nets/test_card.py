"""The card of a model: what it holds for sure, and what is refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.w2wnet.nets.made import edit, load, refusal, sha256, write
from w2wpath.errors import ModelError
from w2wpath.w2wnet.nets import card as cards
from w2wpath.w2wnet.nets.card import KERNEL, MAX_CARD_BYTES, RECIPE_WORDS, Card, Recipe, read_card, seal


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    write(tmp_path / "model")
    return tmp_path / "model"


def of_another_wise(card: dict[str, Any]) -> None:
    card["recipe"]["wise_sha256"] = "0" * 64
    for one in card["thresholds"].values():
        one["recipe"]["wise_sha256"] = "0" * 64


def test_k21_a_recipe_of_another_wise_is_refused(saved: Path) -> None:
    own = sha256((saved / "wise.safetensors").read_bytes())
    edit(saved, of_another_wise)
    assert refusal(saved) == (
        f"{saved}: the recipe is that of another Wise (weights {'0' * 12}, but the model has {own[:12]}). "
        "Train it again with `w2wpath train`."
    )


OTHERS: dict[str, Any] = {
    "wise_sha256": "0" * 64,
    "store_hash": "f" * 64,
    "draws": 25,
    "dropout_rate": 0.5,
    "dropout_kind": "channel",
    "dropout_scope": "head",
    "dropout_logits": True,
    "mask_batch": 1,
    "precision": "bf16",
    "kernel": "mask-0",
}


@pytest.mark.parametrize("field", list(Recipe.model_fields))
def test_k21_a_threshold_of_another_recipe_is_refused_by_name(saved: Path, field: str) -> None:
    own = getattr(read_card(saved).recipe, field)
    edit(saved, lambda card: card["thresholds"]["boundary"]["recipe"].update({field: OTHERS[field]}))
    assert refusal(saved) == (
        f"{saved}: threshold 'boundary' was not taken with this model ({RECIPE_WORDS[field]}: the model says {own}, "
        f"the threshold was taken with {OTHERS[field]}). Train it again with `w2wpath train`."
    )


def test_k21_all_fields_that_differ_are_said(saved: Path) -> None:
    edit(saved, lambda card: card["thresholds"]["centroid"]["recipe"].update(draws=100, dropout_kind="channel"))
    assert refusal(saved) == (
        f"{saved}: threshold 'centroid' was not taken with this model "
        "(draws: the model says 5, the threshold was taken with 100; "
        "dropout kind: the model says element, the threshold was taken with channel). "
        "Train it again with `w2wpath train`."
    )


def test_k21_thresholds_of_another_mask_kernel_are_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "KERNEL", "mask-999")
    assert refusal(saved) == (
        f"{saved}: mask kernel: the thresholds were taken with {KERNEL}, but this w2wpath draws with mask-999. "
        "Use the w2wpath that trained the model, or train it again with `w2wpath train`."
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda card: card["thresholds"]["centroid"].update(value=0.9), id="threshold"),
        pytest.param(lambda card: card.update(threshold="boundary"), id="which threshold"),
        pytest.param(lambda card: card.update(temperature=1.0), id="temperature"),
        pytest.param(lambda card: card["quality"]["centre"].reverse(), id="quality reference"),
        pytest.param(lambda card: card["classes"].reverse(), id="classes"),
        pytest.param(lambda card: card["mean"]["wise"].reverse(), id="standardisation"),
        pytest.param(lambda card: card["metrics"].update(kept=11), id="metrics"),
        pytest.param(lambda card: card.update(surprise=1), id="something more"),
        pytest.param(lambda card: card.pop("mpp"), id="something less"),
        pytest.param(lambda card: card.pop("card_sha256"), id="no checksum"),
        pytest.param(lambda card: card.update(card_sha256=None), id="checksum null"),
    ],
)
def test_an_edited_card_is_refused(saved: Path, change: Callable[[dict[str, Any]], object]) -> None:
    edit(saved, change, sealed=False)
    assert refusal(saved) == (
        f"{saved / 'model.json'}: was changed after the model was saved: its checksum does not fit its contents. "
        "A threshold holds for what it was taken with, so nothing in it may be edited. "
        "Copy the model again, or train it again."
    )


def test_a_card_whose_lines_were_only_broken_otherwise_is_the_same_card(saved: Path) -> None:
    card = load(saved).card
    edit(saved, lambda _: None, sealed=False)
    assert load(saved).card == card


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (
            3,
            "schema 3, but this w2wpath reads 4: the model was trained by an older w2wpath. "
            "Train it again with `w2wpath train`.",
        ),
        (5, "schema 5, but this w2wpath reads 4: the model is newer. Update w2wpath, or train the model again."),
        *[
            (
                strange,
                "is not the card of a w2wpath model (it has no schema number). "
                "Give the folder that `w2wpath train` made.",
            )
            for strange in (None, "3", True, 3.0, 0, [3])
        ],
    ],
)
def test_a_card_of_another_schema_is_refused(saved: Path, schema: object, told: str) -> None:
    edit(saved, lambda card: card.update(schema=schema))
    assert refusal(saved) == f"{saved / 'model.json'}: {told}"


def test_a_foreign_model_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"format": "layers-model", "weightsManifest": []}))
    assert refusal(tmp_path) == (
        f"{tmp_path / 'model.json'}: is not the card of a w2wpath model (it has no schema number). "
        "Give the folder that `w2wpath train` made."
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
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
            lambda card: card["thresholds"]["centroid"].update(value=1.5),
            "thresholds.centroid.value: input should be less than or equal to 1",
            id="range",
        ),
        pytest.param(
            lambda card: card.update(temperature=0.0),
            "temperature: input should be greater than or equal to 0.05",
            id="division of logits by zero",
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
        pytest.param(
            lambda card: card["sha256"].update({"../../etc/passwd": "0" * 64}),
            "sha256.../../etc/passwd.[key]: input should be 'wise' or 'wiped'",
            id="a path out of the folder",
        ),
        pytest.param(
            lambda card: card["sha256"].update(wise="../wise"),
            "sha256.wise: string should match pattern '^[0-9a-f]{64}$'",
            id="a path for a hash",
        ),
        pytest.param(
            lambda card: card["std"].update(wise=[0.0, 1.0, 1.0]),
            "std.wise.0: input should be greater than 0",
            id="division by zero",
        ),
        pytest.param(
            lambda card: card["thresholds"].pop("centroid"),
            "the whole: value error, threshold 'centroid' is not among those given (boundary, quantile)",
            id="no such threshold",
        ),
    ],
)
def test_a_card_that_is_not_ours_is_refused(saved: Path, change: Callable[[dict[str, Any]], None], why: str) -> None:
    edit(saved, change)
    assert refusal(saved) == (
        f"{saved / 'model.json'}: not a model that this w2wpath reads ({why}). "
        "Update w2wpath if the model is newer, or train it again."
    )


DAMAGED = {
    "empty": "",
    "cut": "{",
    "list": "[1, 2]",
    "zero": "\x00",
    "deep": "[" * 100_000,
    "deep object": '{"a":' * 100_000,
    "twice": '{"schema": 4, "schema": 4}',
    "nan": '{"schema": 4, "x": NaN}',
    "infinite": '{"schema": 4, "x": 1e999}',
    "long number": '{"schema": 4, "x": ' + "9" * 10_000 + "}",
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_card_that_cannot_be_read_is_damaged(saved: Path, text: str) -> None:
    (saved / "model.json").write_text(text)
    with pytest.raises(ModelError) as caught:
        load(saved)
    assert str(caught.value) == (
        f"{saved / 'model.json'}: damaged ({caught.value.__cause__}). Copy the model again, or train it again."
    )


def test_a_gigantic_card_is_read_no_further_than_it_may_be_long(saved: Path) -> None:
    with (saved / "model.json").open("r+b") as file:
        file.truncate(1 << 40)  # sparse: a terabyte that is not there
    assert refusal(saved) == (
        f"{saved / 'model.json'}: damaged (it has more than {MAX_CARD_BYTES} bytes). "
        "Copy the model again, or train it again."
    )


# damage of any kind --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "model"
    write(path)
    return path


def card_or_refusal(path: Path) -> Card | str:
    try:
        return read_card(path)
    except ModelError as error:
        return str(error)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_card_of_which_any_bytes_changed_is_refused_or_says_the_same(
    model_once: Path, tmp_path: Path, data: st.DataObject
) -> None:
    whole = (model_once / "model.json").read_bytes()
    card = read_card(model_once)
    begin = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(begin, min(len(whole), begin + 20)))
    changed = whole[:begin] + data.draw(st.binary(max_size=20)) + whole[end:]
    (tmp_path / "model.json").write_bytes(changed)
    said = card_or_refusal(tmp_path)
    assert said == card or str(said).startswith(f"{tmp_path / 'model.json'}: ")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 5000), tail=st.binary(max_size=200))
def test_a_truncated_card_is_refused(model_once: Path, tmp_path: Path, cut: int, tail: bytes) -> None:
    whole = (model_once / "model.json").read_bytes()
    (tmp_path / "model.json").write_bytes(whole[: min(cut, len(whole) - 3)] + tail)
    with pytest.raises(ModelError):
        read_card(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.sampled_from([*Card.model_json_schema(by_alias=True)["properties"], "new"]),
    value=JSON,
)
def test_a_forged_card_with_a_fitting_checksum_is_read_or_refused_in_words(
    model_once: Path, tmp_path: Path, place: str, value: object
) -> None:
    plain = {**json.loads((model_once / "model.json").read_bytes()), place: value}
    try:
        (tmp_path / "model.json").write_text(json.dumps(seal(plain)))
    except ValueError:  # numbers that JSON has not
        (tmp_path / "model.json").write_text(json.dumps(plain))
    said = card_or_refusal(tmp_path)
    assert isinstance(said, Card) or said.startswith(str(tmp_path))


@settings(deadline=None, max_examples=50)
@given(text=st.dictionaries(st.text(max_size=5), JSON.filter(lambda value: "nan" not in str(value)), max_size=5))
def test_a_checksum_is_that_of_the_contents_whatever_their_order(text: dict[str, Any]) -> None:
    try:
        once = seal(text)
    except ValueError:
        return
    again = seal(dict(reversed(list(json.loads(json.dumps(once)).items()))))
    assert again["card_sha256"] == once["card_sha256"]
    assert seal({**text, "one more": 1})["card_sha256"] != once["card_sha256"]
