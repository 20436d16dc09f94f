"""Networks by name, refused in words when timm has none or tiles do not fit."""

from __future__ import annotations

import pytest
import torch

from w2wpath.errors import ConfigError
from w2wpath.w2wnet.nets.backbones import build


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_a_network_answers_for_its_classes(name: str) -> None:
    with torch.inference_mode():
        assert build(name, 5, 32)(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "hint"), [("densnet121", " Did you mean 'densenet121'?"), ("net of my own", "")], ids=["near", "far"]
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(name, 3, 32)
    assert str(caught.value) == f"--backbone {name!r} is not a timm model.{hint}"


@pytest.mark.parametrize(
    ("name", "px", "why"),
    [
        (
            "densenet121",
            28,
            "Given input size: (512x1x1). Calculated output size: (512x0x0). Output size is too small",
        ),
        (
            "vit_tiny_patch16_224",
            8,
            "Calculated padded input size per channel: (8 x 8). Kernel size: (16 x 16). "
            "Kernel size can't be greater than actual input size",
        ),
    ],
)
def test_tiles_too_small_for_a_network_are_refused(name: str, px: int, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(name, 3, px)
    assert str(caught.value) == (
        f"--backbone {name}: cannot take tiles of {px} px ({why}). Use larger tiles or another backbone."
    )


def test_a_network_that_cannot_even_be_made_for_the_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise AssertionError("image size must be a multiple of 7\nand more")

    monkeypatch.setattr("timm.create_model", refuses)
    with pytest.raises(ConfigError) as caught:
        build("resnet10t", 3, 32)
    assert str(caught.value) == (
        "--backbone resnet10t: cannot take tiles of 32 px (image size must be a multiple of 7). "
        "Use larger tiles or another backbone."
    )
