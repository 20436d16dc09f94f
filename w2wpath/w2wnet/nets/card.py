"""``model.json``: what a model is, what its thresholds were taken with, and a checksum over all of it.

The checksum shows a copy that was damaged or edited by hand. It is integrity, not authenticity: who edits the file and
computes the checksum anew is not found out, so take models from people you trust. Nothing in a model is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from w2wpath.errors import ModelError
from w2wpath.w2wnet.calibration import COOLEST, HOTTEST
from w2wpath.w2wnet.domain import DomainReference
from w2wpath.w2wnet.quality import Reference

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Net = Literal["wise", "wiped"]
Name = Literal["boundary", "centroid", "quantile"]

SCHEMA: Literal[4] = 4
KERNEL = "mask-1"
"""Version of what draws the masks. Raise it whenever their law or the order of their random numbers changes."""
MAX_CARD_BYTES = 8 << 20
THRESHOLDS: Mapping[Name, str] = {
    "boundary": "the midpoint of the two clusters of u on the training tiles (R17)",
    "centroid": "the centroid of the high cluster of u on the training tiles (R18)",
    "quantile": "the u that a stated share of the kept tiles exceeds, each judged by a Wise that never saw its patient",
}
"""The ways in which a threshold is chosen."""
RECIPE_WORDS: Mapping[str, str] = {
    "wise_sha256": "weights of Wise",
    "store_hash": "training data",
    "draws": "draws",
    "dropout_rate": "dropout rate",
    "dropout_kind": "dropout kind",
    "dropout_scope": "dropout scope",
    "dropout_logits": "dropout of logits",
    "mask_batch": "tiles that share a mask",
    "precision": "precision",
    "kernel": "mask kernel",
}


class Recipe(BaseModel):
    """All that an uncertainty depends on beside the tile; a threshold holds for its own recipe only (K21).

    Attributes
    ----------
    wise_sha256, store_hash
        The weights that drew, and the tiles that they were trained on.
    draws
        MC passes T: u is biased low by epistemic / T (R7).
    dropout_rate, dropout_kind, dropout_scope, dropout_logits, mask_batch
        As in :class:`~w2wpath.config.NetSettings`.
    precision
        What the passes were computed in.
    kernel
        :data:`KERNEL` at that time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    wise_sha256: Sha256
    store_hash: Sha256
    draws: int = Field(ge=1)
    dropout_rate: float = Field(ge=0, lt=1)
    dropout_kind: Literal["element", "channel"]
    dropout_scope: Literal["all", "no-conv", "head"]
    dropout_logits: bool
    mask_batch: int = Field(ge=1)
    precision: Literal["fp32", "bf16"]
    kernel: str

    def differences(self, other: Recipe) -> list[str]:
        """Say each field in which `other`, a threshold's recipe, differs from this one, the model's."""
        return [
            f"{words}: the model says {getattr(self, name)}, the threshold was taken with {getattr(other, name)}"
            for name, words in RECIPE_WORDS.items()
            if getattr(self, name) != getattr(other, name)
        ]


class Threshold(BaseModel):
    """An uncertainty above which a tile is uncertain, and what it was taken with. Its name says how it was chosen.

    The threshold ``quantile`` was taken with Wises of this recipe but for their weights, those of the folds;
    ``transfer`` among the metrics says how far their u lies from that of the model's Wise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    value: float = Field(ge=0, le=1, allow_inf_nan=False)
    recipe: Recipe


class Card(BaseModel):
    """Contents of ``model.json`` but its checksum.

    Attributes
    ----------
    mean, std
        Standardisation of each network: (R, G, B) of pixels scaled to 0..1.
    thresholds, threshold
        The thresholds by name, one of :data:`THRESHOLDS`, and the name of the one that is used.
    recipe
        How this model draws.
    temperature
        Wiped's logits are divided by it.
    quality
        Reference of the image-quality score; None when quality is not judged.
    domain
        What training slides look like; None with too few of them, and in models of before.
    sha256
        Of the two files of weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[4] = Field(SCHEMA, alias="schema")
    preset: Literal["recommended", "paper"]
    classes: tuple[str, ...] = Field(min_length=2, max_length=10_000)
    tile_px: int = Field(ge=1, le=4096)
    mpp: Positive
    resample: str
    backbone: str
    stem: Literal["imagenet", "small"]
    mean: Mapping[Net, tuple[Finite, Finite, Finite]] = Field(min_length=2)
    std: Mapping[Net, tuple[Positive, Positive, Positive]] = Field(min_length=2)
    thresholds: Mapping[Name, Threshold] = Field(min_length=1)
    threshold: Name
    recipe: Recipe
    temperature: float = Field(ge=COOLEST, le=HOTTEST, allow_inf_nan=False)
    quality: Reference | None = None
    domain: DomainReference | None = None
    sha256: Mapping[Net, Sha256] = Field(min_length=2)
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @model_validator(mode="after")
    def _the_chosen_threshold_is_there(self) -> Card:
        if self.threshold not in self.thresholds:
            raise ValueError(f"threshold {self.threshold!r} is not among those given ({', '.join(self.thresholds)})")
        return self

    @property
    def chosen(self) -> Threshold:
        """The threshold that is used."""
        return self.thresholds[self.threshold]


def seal(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return `plain` with ``card_sha256``: the sha256 of the canonical JSON of everything else in it.

    Raises
    ------
    ValueError
        A number in it is not finite.
    """
    rest = {key: value for key, value in plain.items() if key != "card_sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return {**rest, "card_sha256": hashlib.sha256(text.encode()).hexdigest()}


def card_text(card: Card) -> str:
    """Return the text of ``model.json``. Numbers of metrics and provenance that are not finite become null.

    Raises
    ------
    ValueError
        It would be too large to be read again.
    """
    text = json.dumps(seal(json.loads(card.model_dump_json(by_alias=True))), indent=1) + "\n"
    if len(text) > MAX_CARD_BYTES:
        raise ValueError(f"model.json would have {len(text)} bytes, and {MAX_CARD_BYTES} are read at most")
    return text


def read_card(path: Path) -> Card:
    """Read and check ``model.json`` of the model at `path`.

    Raises
    ------
    ModelError
        It is missing, damaged, edited, of another schema, or a threshold was taken with another recipe.
    """
    file = path / "model.json"
    if not file.is_file():
        raise ModelError(f"{path}: no model there (model.json is missing). Make one with `w2wpath train -o {path}`.")
    try:
        found = _parse(file)
        _check_schema(file, found)
        sealed = seal(found)
    except ModelError:
        raise
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise ModelError(f"{file}: damaged ({error}). Copy the model again, or train it again.") from error
    if found.get("card_sha256") != sealed["card_sha256"]:
        raise ModelError(
            f"{file}: was changed after the model was saved: its checksum does not fit its contents. "
            "A threshold holds for what it was taken with, so nothing in it may be edited. "
            "Copy the model again, or train it again."
        )
    card = _card(file, {key: value for key, value in found.items() if key != "card_sha256"})
    check_recipes(path, card)
    return card


def check_recipes(path: Path, card: Card) -> None:
    """Check that every threshold of `card` was taken with the recipe of the model, and by today's masks (K21).

    Raises
    ------
    ModelError
        One was not; it says each field.
    """
    if card.recipe.wise_sha256 != card.sha256["wise"]:
        raise ModelError(
            f"{path}: the recipe is that of another Wise (weights {card.recipe.wise_sha256[:12]}, but the model has "
            f"{card.sha256['wise'][:12]}). Train it again with `w2wpath train`."
        )
    for name, threshold in card.thresholds.items():
        if differences := card.recipe.differences(threshold.recipe):
            raise ModelError(
                f"{path}: threshold {name!r} was not taken with this model ({'; '.join(differences)}). "
                "Train it again with `w2wpath train`."
            )
    if card.recipe.kernel != KERNEL:
        raise ModelError(
            f"{path}: mask kernel: the thresholds were taken with {card.recipe.kernel}, but this w2wpath draws with "
            f"{KERNEL}. Use the w2wpath that trained the model, or train it again with `w2wpath train`."
        )


def _parse(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        data = opened.read(MAX_CARD_BYTES + 1)
    if len(data) > MAX_CARD_BYTES:
        raise ValueError(f"it has more than {MAX_CARD_BYTES} bytes")
    found = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    if not isinstance(found, dict):
        raise TypeError(f"it holds a {type(found).__name__}, not an object")
    return found


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _check_schema(file: Path, found: Mapping[str, Any]) -> None:
    schema = found.get("schema")
    if schema == SCHEMA and not isinstance(schema, bool | float):
        return
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise ModelError(
            f"{file}: is not the card of a w2wpath model (it has no schema number). "
            "Give the folder that `w2wpath train` made."
        )
    if schema < SCHEMA:
        raise ModelError(
            f"{file}: schema {schema}, but this w2wpath reads {SCHEMA}: the model was trained by an older w2wpath. "
            "Train it again with `w2wpath train`."
        )
    raise ModelError(
        f"{file}: schema {schema}, but this w2wpath reads {SCHEMA}: the model is newer. "
        "Update w2wpath, or train the model again."
    )


def _card(file: Path, plain: Mapping[str, Any]) -> Card:
    try:
        return Card.model_validate_json(json.dumps(plain))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ModelError(
            f"{file}: not a model that this w2wpath reads ({where}: {first['msg'].lower()}). "
            "Update w2wpath if the model is newer, or train it again."
        ) from error
