"""A trained model on disk: Wise and Wiped as safetensors, everything else in ``model.json``."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from w2wpath.errors import ModelError, writing
from w2wpath.provenance import write_whole
from w2wpath.w2wnet.nets.backbones import build
from w2wpath.w2wnet.nets.data import Batches, Normalisation
from w2wpath.w2wnet.nets.device import choose_compute
from w2wpath.w2wnet.nets.mcdropout import inject
from w2wpath.w2wnet.uncertainty import MCStats

NETS = ("wise", "wiped")


class Recipe(BaseModel):
    """How the uncertainty behind a threshold is drawn; a threshold holds for its own recipe only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wise_sha256: str
    draws: int = Field(ge=1)
    dropout_rate: float
    dropout_kind: Literal["element", "channel"]
    mask_batch: int = Field(ge=1)
    bf16: bool


class Card(BaseModel):
    """Contents of ``model.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = Field(1, alias="schema")
    classes: tuple[str, ...] = Field(min_length=2)
    tile_px: int = Field(ge=1, le=4096)
    mpp: float = Field(gt=0)
    resample: str
    backbone: str
    mean: Mapping[str, tuple[float, float, float]]
    std: Mapping[str, tuple[float, float, float]]
    threshold: float = Field(ge=0, le=1, allow_inf_nan=False)
    recipe: Recipe
    sha256: Mapping[str, str]
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]


class Model:
    """Wise and Wiped, ready to read tiles."""

    def __init__(self, path: Path, card: Card, nets: Mapping[str, nn.Module], device: str, precision: str) -> None:
        self.path = path
        self.card = card
        # `auto` keeps to the precision that the threshold was taken in
        self._compute = choose_compute(device, "fp32" if precision == "auto" and not card.recipe.bf16 else precision)
        self._nets = {
            name: net.to(self._compute.device).to(memory_format=self._compute.memory_format).eval()
            for name, net in nets.items()
        }
        self._masks = torch.Generator(self._compute.device)
        recipe = card.recipe
        self._dropout = inject(
            self._nets["wise"],
            rate=recipe.dropout_rate,
            kind=recipe.dropout_kind,
            mask_batch=recipe.mask_batch,
            generator=self._masks,
        )

    @classmethod
    def load(cls, path: Path | str, *, device: str = "auto", precision: str = "auto") -> Model:
        """Load a model; its hashes are checked and no code in it is executed.

        Raises
        ------
        ModelError
            It is missing, damaged, of another schema, or its threshold belongs to other weights.
        """
        path = Path(path)
        _finish_replacement(path)
        card = _read_card(path)
        if card.recipe.wise_sha256 != card.sha256.get("wise"):
            raise ModelError(f"{path}: its threshold was taken with another Wise. Train it again with `w2wpath train`.")
        nets = {name: _read_net(path, name, card) for name in NETS}
        return cls(path, card, nets, device, precision)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of every probability."""
        return self.card.classes

    @property
    def tile_px(self) -> int:
        """Side in pixels of the tiles that it reads."""
        return self.card.tile_px

    @property
    def mpp(self) -> float:
        """Um per pixel of the tiles that it reads."""
        return self.card.mpp

    @property
    def threshold(self) -> float:
        """Uncertainty above which a tile is uncertain."""
        return self.card.threshold

    @property
    def draws(self) -> int:
        """MC passes that the threshold was taken with."""
        return self.card.recipe.draws

    def predict(self, images: NDArray[np.uint8], *, draws: int, seed: int) -> tuple[NDArray[np.float32], MCStats]:
        """Read tiles (n, tile_px, tile_px, 3) uint8 RGB.

        Returns
        -------
        tuple
            Wiped's probabilities (n, k), and the statistics of Wise's `draws` MC passes. `seed` fixes the masks.
        """
        rows = np.arange(len(images))
        probs = self._forward("wiped", images, rows)
        stats = MCStats(len(images), len(self.classes))
        self._masks.manual_seed(seed)
        with self._dropout.on():
            for _ in range(draws):
                stats.add(self._forward("wise", images, rows))
        return probs, stats

    @torch.inference_mode()
    def _forward(self, name: str, images: NDArray[np.uint8], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        batch = Batches(images, Normalisation(self.card.mean[name], self.card.std[name]), self._compute)(rows)
        with self._compute.autocast():
            logits = self._nets[name](batch)
        said: NDArray[np.float32] = logits.float().softmax(dim=1).cpu().numpy()
        return said


def save_model(path: Path, nets: Mapping[str, nn.Module], facts: Mapping[str, Any], recipe: Mapping[str, Any]) -> Card:
    """Write a model whole: into a scratch folder beside `path`, then by rename. A model that was there is replaced.

    Parameters
    ----------
    nets
        The modules ``wise`` and ``wiped``.
    facts
        Every field of :class:`Card` but schema, hashes and recipe.
    recipe
        Every field of :class:`Recipe` but the hash.

    Raises
    ------
    ModelError
        Something other than a model is at `path`.
    """
    if path.exists() and not (path / "model.json").is_file() and any(path.iterdir()):
        raise ModelError(f"{path}: is not a model and not empty; it is left as it is. Choose another folder with -o.")
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    with writing(path):
        try:
            scratch.mkdir(parents=True)
            for name in NETS:
                weights = {key: value.detach().cpu().contiguous() for key, value in nets[name].state_dict().items()}
                save_file(weights, scratch / f"{name}.safetensors")
            hashes = {name: _sha256(scratch / f"{name}.safetensors") for name in NETS}
            card = Card(**{**facts, "recipe": {**recipe, "wise_sha256": hashes["wise"]}, "sha256": hashes})
            write_whole(scratch / "model.json", card.model_dump_json(indent=1, by_alias=True) + "\n")
            _replace(scratch, path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return card


def _replace(fresh: Path, final: Path) -> None:
    aside = final.with_name(f".{final.name}.{uuid.uuid4().hex}.replaced")
    if final.exists():
        final.rename(aside)
    try:
        fresh.rename(final)
    except OSError:
        if aside.exists():
            aside.rename(final)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _finish_replacement(path: Path) -> None:
    """Bring back the model that a killed run had moved aside and not yet replaced."""
    for aside in sorted(path.parent.glob(f".{path.name}.*.replaced")):
        if not path.exists():
            aside.rename(path)


def _read_card(path: Path) -> Card:
    file = path / "model.json"
    if not file.is_file():
        raise ModelError(f"{path}: no model there (model.json is missing). Make one with `w2wpath train -o {path}`.")
    try:
        return Card(**json.loads(file.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(
            f"{file}: not a model that this w2wpath reads "
            f"({'.'.join(map(str, first['loc']))}: {first['msg'].lower()}). "
            "Update w2wpath if the model is newer, or train it again."
        ) from error
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise ModelError(f"{file}: damaged ({error}). Copy the model again, or train it again.") from error


def _read_net(path: Path, name: str, card: Card) -> nn.Module:
    file = path / f"{name}.safetensors"
    if not file.is_file():
        raise ModelError(f"{file}: is missing. Copy the model again, or train it again.")
    if _sha256(file) != card.sha256.get(name):
        raise ModelError(
            f"{file}: is not the file that the model was saved with. Copy the model again, or train again."
        )
    net = build(card.backbone, len(card.classes), card.tile_px)
    try:
        net.load_state_dict(load_file(file))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{file}: does not fit {card.backbone} with {len(card.classes)} classes. Train the model again."
        ) from error
    return net


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
