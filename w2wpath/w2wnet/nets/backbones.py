"""Networks by name: any timm model or the built-in conv5, made afresh or with weights from a file on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.densenet import DenseNet
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.resnet import ResNet
from torch import Tensor, nn

from w2wpath.config import NetSettings
from w2wpath.errors import ConfigError, ModelError, did_you_mean
from w2wpath.w2wnet.nets.conv5 import Conv5

BUILT_IN = "conv5"
STEMS: tuple[str, ...] = get_args(NetSettings.model_fields["stem"].annotation)
SMALL_STEMS = (DenseNet, ResNet, EfficientNet, MobileNetV3)
"""Families that have a small stem."""
STEM_POOLS = ("features.pool0", "maxpool")
"""What a small stem leaves out; files may hold weights of it."""
PICKLES = (".pth", ".pt", ".bin", ".pkl", ".ckpt", ".tar")


def build(name: str, n_classes: int, tile_px: int, *, stem: str = "imagenet", weights: Path | None = None) -> nn.Module:
    """Make the network `name` for `n_classes` and tiles of `tile_px`; nothing is ever downloaded.

    Parameters
    ----------
    name
        Any timm model (R1, R3), or ``conv5``.
    stem
        ``imagenet`` is the model's own; ``small`` begins with a convolution of 3 x 3, stride 1, without pooling (R2),
        in :data:`SMALL_STEMS`. conv5 has no other than a small one and takes both.
    weights
        A safetensors file to begin with. The classifier stays fresh where the number of classes differs, as does the
        first convolution under ``stem="small"``.

    Returns
    -------
    torch.nn.Module
        The network, in evaluation mode. Its attribute ``tile_px`` keeps the side that it was made for.

    Raises
    ------
    ConfigError
        There is no such model or stem, the model cannot take tiles of this size, or has no small stem.
    ModelError
        The weights are missing, damaged, a pickle, or made for another network.
    """
    if stem not in STEMS:
        raise ConfigError(f"--stem must be one of {', '.join(STEMS)}; got {stem!r}.{did_you_mean(stem, STEMS)}")
    known = [BUILT_IN, *timm.list_models()]
    if name not in known:
        raise ConfigError(f"--backbone {name!r} is neither a timm model nor {BUILT_IN}.{did_you_mean(name, known)}")
    net = _made(name, n_classes, tile_px, stem)
    net.tile_px = tile_px  # type: ignore[assignment]  # a plain attribute; torch types them all as modules
    if weights is not None:
        load_weights(net, name, weights, small_stem=stem == "small")
    return net


def _made(name: str, n_classes: int, tile_px: int, stem: str) -> nn.Module:
    net: nn.Module | None = None
    try:
        net = Conv5(n_classes, tile_px) if name == BUILT_IN else _of_timm(name, n_classes, tile_px)
        if stem == "small" and name != BUILT_IN:
            _make_stem_small(net, name)
        with torch.inference_mode():
            net.eval()(torch.zeros(2, 3, tile_px, tile_px))
    except (RuntimeError, AssertionError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        helps = "--stem small, " if stem == "imagenet" and isinstance(net, SMALL_STEMS) else ""
        raise ConfigError(
            f"--backbone {name}: cannot take tiles of {tile_px} px ({str(error).splitlines()[0]}). "
            f"Use {helps}larger tiles or another backbone."
        ) from error
    return net


def _of_timm(name: str, n_classes: int, tile_px: int) -> nn.Module:
    # vision transformers are built for one input size, which has to be given
    options: dict[str, Any] = {"img_size": tile_px} if timm.get_pretrained_cfg_value(name, "fixed_input_size") else {}
    net: nn.Module = timm.create_model(name, pretrained=False, num_classes=n_classes, **options)
    return net


def _make_stem_small(net: nn.Module, name: str) -> None:
    """Let the first convolution be 3 x 3 with stride 1, and pool nothing before the first block (R2)."""
    if not isinstance(net, SMALL_STEMS):
        raise ConfigError(
            f"--stem small is not defined for --backbone {name}: only densenet, resnet, efficientnet and mobilenetv3 "
            f"have one. Use one of these, {BUILT_IN}, or --stem imagenet."
        )
    where, last = _first_convolution(net)
    parent, _, leaf = where.rpartition(".")
    if last.kernel_size != (3, 3):
        small = nn.Conv2d(last.in_channels, last.out_channels, 3, padding=1, bias=last.bias is not None)
        nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
        setattr(net.get_submodule(parent), leaf, small)
    else:
        last.stride = (1, 1)
    for pool in STEM_POOLS:
        above, _, own = pool.rpartition(".")
        if dict(net.named_modules()).get(pool) is not None:
            setattr(net.get_submodule(above), own, nn.Identity())


def _first_convolution(net: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))


def load_weights(net: nn.Module, name: str, file: Path, *, small_stem: bool) -> None:
    """Fill `net` from a safetensors file; what may differ stays fresh (see :func:`build`).

    Raises
    ------
    ModelError
        The file is missing, damaged, a pickle, or made for another network.
    """
    given = _read(file)
    wanted = dict(net.state_dict())
    may_differ = _classifier_names(net)
    if small_stem:
        may_differ = (*may_differ, f"{_first_convolution(net)[0]}.", *(f"{pool}." for pool in STEM_POOLS))
    fits = {key: value for key, value in given.items() if key in wanted and value.shape == wanted[key].shape}
    wrong = [key for key in (*wanted, *(key for key in given if key not in wanted)) if key not in fits]
    # files of old versions of torch do not count BatchNorm's batches
    wrong = [key for key in wrong if not key.startswith(may_differ) and not key.endswith("num_batches_tracked")]
    if wrong:
        raise ModelError(
            f"{file}: is not of {name}: {len(wrong)} of {len(wanted)} weights do not fit, first "
            f"{_why(wrong[0], given, wanted)}. Give weights of this very network under the names of timm, made for "
            "the same tile_px if it is a transformer."
        )
    net.load_state_dict({**wanted, **fits})


def _why(key: str, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    if key not in given:
        return f"{key!r} (not in the file)"
    if key not in wanted:
        return f"{key!r} (only in the file)"
    return f"{key!r} (shape {tuple(given[key].shape)} instead of {tuple(wanted[key].shape)})"


def _read(file: Path) -> dict[str, Tensor]:
    if file.suffix.lower() in PICKLES:
        raise ModelError(
            f"{file}: may be a pickle, which runs code when it is opened; it is not read. Where you trust it, convert "
            "it: safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')."
        )
    if not file.is_file():
        raise ModelError(f"{file}: no such file. Give --weights a safetensors file on this disk; none is downloaded.")
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: is not a whole safetensors file ({error}). Copy or convert it again.") from error


def _classifier_names(net: nn.Module) -> tuple[str, ...]:
    found = net.get_classifier()  # type: ignore[operator]  # every timm model and conv5 have it
    heads = found if isinstance(found, tuple) else (found,)
    return tuple(f"{name}." for name, module in net.named_modules() if any(module is head for head in heads))
