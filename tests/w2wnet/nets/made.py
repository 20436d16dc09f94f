"""A small model on disk, and ways to change it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from w2wpath.errors import ModelError
from w2wpath.w2wnet.nets.backbones import build
from w2wpath.w2wnet.nets.bundle import Model, save_model
from w2wpath.w2wnet.nets.card import Card, seal
from w2wpath.w2wnet.quality import Reference

NET = "conv5"
STORE = hashlib.sha256(b"store").hexdigest()
FACTS: dict[str, Any] = {
    "preset": "recommended",
    "classes": ("AC", "AD", "H"),
    "tile_px": 32,
    "mpp": 0.5,
    "resample": "lanczos",
    "backbone": NET,
    "stem": "imagenet",
    "mean": {"wise": (0.5, 0.4, 0.3), "wiped": (0.6, 0.5, 0.4)},
    "std": {"wise": (0.2, 0.2, 0.2), "wiped": (0.3, 0.3, 0.3)},
    "threshold": "centroid",
    "temperature": 2.0,
    "quality": Reference(
        centre=(0.5, 0.1, 0.4, 0.3), within=(0.2, 0.3, 0.1, 0.1), between=(0.1, 0.1, 0.1, 0.1), tiles=90, slides=3
    ),
    "metrics": {"kept": 10},
    "provenance": {"command": "train", "deltas": [0.5, 1e-17, None]},
}
RECIPE: dict[str, Any] = {
    "store_hash": STORE,
    "draws": 5,
    "dropout_rate": 0.3,
    "dropout_kind": "element",
    "dropout_scope": "all",
    "dropout_logits": False,
    "mask_batch": 4,
    "precision": "fp32",
}
THRESHOLDS = {"boundary": 0.125, "centroid": 0.25, "quantile": 0.375}


def nets(seed: int = 0) -> dict[str, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {name: build(NET, 3, 32).eval() for name in ("wise", "wiped")}


def write(path: Path, *, seed: int = 0, **facts: Any) -> Card:
    return save_model(path, nets(seed), {**FACTS, **facts}, RECIPE, THRESHOLDS)


def load(path: Path) -> Model:
    return Model.load(path, device="cpu", precision="auto")


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(path)
    return str(caught.value)


def edit(path: Path, change: Callable[[dict[str, Any]], object], *, sealed: bool = True) -> Path:
    """Change ``model.json``; `sealed`, its checksum is made to fit, as a careful forger or a future w2wpath would."""
    card = json.loads((path / "model.json").read_text())
    change(card)
    (path / "model.json").write_text(json.dumps(seal(card) if sealed else card))
    return path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def replace_wise(path: Path, data: bytes) -> Path:
    """Put other weights into the model, with every checksum made to fit."""
    (path / "wise.safetensors").write_bytes(data)

    def change(card: dict[str, Any]) -> None:
        for recipe in (card["recipe"], *(one["recipe"] for one in card["thresholds"].values())):
            recipe["wise_sha256"] = sha256(data)
        card["sha256"]["wise"] = sha256(data)

    return edit(path, change)
