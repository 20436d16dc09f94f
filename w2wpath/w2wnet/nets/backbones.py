"""Networks by name: any timm model, made afresh (no weights are fetched)."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

from w2wpath.errors import ConfigError, did_you_mean


def build(name: str, n_classes: int, tile_px: int) -> nn.Module:
    """Make the timm model `name` with random weights for `n_classes` and tiles of `tile_px`.

    Raises
    ------
    ConfigError
        timm has no such model, or it cannot take tiles of this size.
    """
    if name not in timm.list_models():
        hint = did_you_mean(name, timm.list_models())
        raise ConfigError(f"--backbone {name!r} is not a timm model.{hint}")
    options: dict[str, Any] = {"img_size": tile_px} if _takes_size(name) else {}
    try:
        net: nn.Module = timm.create_model(name, pretrained=False, num_classes=n_classes, **options)
        with torch.inference_mode():
            net.eval()(torch.zeros(2, 3, tile_px, tile_px))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"--backbone {name}: cannot take tiles of {tile_px} px ({str(error).splitlines()[0]}). "
            "Use larger tiles or another backbone."
        ) from error
    return net


def _takes_size(name: str) -> bool:
    """Tell whether the model is built for one input size that has to be given (vision transformers)."""
    return bool(timm.get_pretrained_cfg_value(name, "fixed_input_size"))
