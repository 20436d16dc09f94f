"""Networks by name, stems and weights from disk; refused in words where they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from w2wpath.errors import ConfigError, ModelError
from w2wpath.w2wnet.nets.backbones import build
from w2wpath.w2wnet.nets.conv5 import Conv5


def gmac(net: nn.Module, px: int) -> float:
    """Billions of multiplications of the convolutions and linear layers for one tile."""
    counted: list[int] = []
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(lambda m, _, out: counted.append(out[0].numel() * m.weight[0].numel()))
    with torch.inference_mode():
        net(torch.zeros(1, 3, px, px))
    return sum(counted) / 1e9


def refusal(error: type[Exception], *args: object, **kwargs: object) -> str:
    with pytest.raises(error) as caught:
        build(*args, **kwargs)  # type: ignore[arg-type]
    return str(caught.value)


# names and sizes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "conv5"])
def test_a_network_answers_for_its_classes(name: str) -> None:
    net = build(name, 5, 32)
    with torch.inference_mode():
        assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    assert net.tile_px == 32


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("densnet121", " Did you mean 'densenet121'?"),
        ("conv-5", " Did you mean 'conv5'?"),
        ("net of my own", ""),
    ],
    ids=["near", "near the built-in one", "far"],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, hint: str) -> None:
    assert refusal(ConfigError, name, 3, 32) == f"--backbone {name!r} is neither a timm model nor conv5.{hint}"


@pytest.mark.parametrize(
    ("name", "px", "why", "cure"),
    [
        (
            "densenet121",
            28,
            "Given input size: (512x1x1). Calculated output size: (512x0x0). Output size is too small",
            "Use --stem small, larger tiles or another backbone.",
        ),
        (
            "vit_tiny_patch16_224",
            8,
            "Calculated padded input size per channel: (8 x 8). Kernel size: (16 x 16). "
            "Kernel size can't be greater than actual input size",
            "Use larger tiles or another backbone.",
        ),
        (
            "conv5",
            2,
            "Given input size: (64x1x1). Calculated output size: (64x0x0). Output size is too small",
            "Use larger tiles or another backbone.",
        ),
    ],
)
def test_tiles_too_small_for_a_network_are_refused(name: str, px: int, why: str, cure: str) -> None:
    assert refusal(ConfigError, name, 3, px) == f"--backbone {name}: cannot take tiles of {px} px ({why}). {cure}"


def test_a_network_that_cannot_even_be_made_for_the_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise AssertionError("image size must be a multiple of 7\nand more")

    monkeypatch.setattr("timm.create_model", refuses)
    assert refusal(ConfigError, "resnet10t", 3, 32) == (
        "--backbone resnet10t: cannot take tiles of 32 px (image size must be a multiple of 7). "
        "Use larger tiles or another backbone."
    )


# stems --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stem", "cost"), [("small", 0.888), ("imagenet", 0.058)])
def test_r2_densenet121_costs_at_32_px_what_the_method_says(stem: str, cost: float) -> None:
    assert gmac(build("densenet121", 10, 32, stem=stem), 32) == pytest.approx(cost, abs=0.0005)


def test_r2_a_small_stem_lets_densenet121_read_28_px() -> None:
    net = build("densenet121", 3, 28, stem="small")
    first = net.get_submodule("features.conv0")
    assert isinstance(first, nn.Conv2d)
    assert (first.kernel_size, first.stride) == ((3, 3), (1, 1))
    assert isinstance(net.get_submodule("features.pool0"), nn.Identity)


@pytest.mark.parametrize("name", ["resnet10t", "resnet18", "resnetrs50", "efficientnet_b0", "mobilenetv3_small_050"])
def test_a_small_stem_gives_the_first_block_every_pixel(name: str) -> None:
    seen: list[tuple[int, ...]] = []
    net = build(name, 3, 28, stem="small")
    first = net.get_submodule("layer1" if "resnet" in name else "blocks.0")
    first.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[2:])))
    with torch.inference_mode():
        net(torch.zeros(1, 3, 28, 28))
    assert seen == [(28, 28)]


def test_conv5_takes_both_stems() -> None:
    assert isinstance(build("conv5", 3, 28, stem="small"), Conv5)
    assert isinstance(build("conv5", 3, 28, stem="imagenet"), Conv5)


def test_a_family_without_a_small_stem_is_refused() -> None:
    assert refusal(ConfigError, "convnext_atto", 3, 32, stem="small") == (
        "--stem small is not defined for --backbone convnext_atto: only densenet, resnet, efficientnet and mobilenetv3 "
        "have one. Use one of these, conv5, or --stem imagenet."
    )


def test_a_misspelt_stem_is_refused() -> None:
    expected = "--stem must be one of imagenet, small; got 'smal'. Did you mean 'small'?"
    assert refusal(ConfigError, "resnet10t", 3, 32, stem="smal") == expected


# weights ------------------------------------------------------------------------------------------------------------


def weights_of(name: str, n_classes: int, px: int, **options: str) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return dict(build(name, n_classes, px, **options).state_dict())


def saved(folder: Path, tensors: dict[str, Tensor]) -> Path:
    file = folder / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in tensors.items()}, file)
    return file


def differing(net: nn.Module, tensors: dict[str, Tensor]) -> set[str]:
    return {
        name for name, value in net.state_dict().items() if name not in tensors or not torch.equal(value, tensors[name])
    }


def test_weights_of_the_same_network_fill_it_whole(tmp_path: Path) -> None:
    tensors = weights_of("conv5", 3, 28)
    assert differing(build("conv5", 3, 28, weights=saved(tmp_path, tensors)), tensors) == set()


def test_the_classifier_stays_fresh_for_another_number_of_classes(tmp_path: Path) -> None:
    tensors = weights_of("resnet10t", 1000, 32)
    net = build("resnet10t", 3, 32, weights=saved(tmp_path, tensors))
    assert differing(net, tensors) == {"fc.weight", "fc.bias"}
    assert bool(torch.isfinite(net.get_parameter("fc.weight")).all())


def test_the_classifier_may_be_missing(tmp_path: Path) -> None:
    tensors = {name: value for name, value in weights_of("conv5", 3, 28).items() if "classifier" not in name}
    net = build("conv5", 3, 28, weights=saved(tmp_path, tensors))
    assert differing(net, tensors) == {"classifier.weight", "classifier.bias"}


def test_the_first_convolution_stays_fresh_under_a_small_stem(tmp_path: Path) -> None:
    tensors = weights_of("densenet121", 3, 32)
    net = build("densenet121", 3, 28, stem="small", weights=saved(tmp_path, tensors))
    assert differing(net, tensors) == {"features.conv0.weight"}


def test_a_small_stem_takes_the_first_convolution_where_it_fits_and_leaves_out_a_stem_s_pooling(tmp_path: Path) -> None:
    tensors = weights_of("resnetrs50", 3, 32)
    net = build("resnetrs50", 3, 28, stem="small", weights=saved(tmp_path, tensors))
    assert differing(net, tensors) == set()
    assert any(name.startswith("maxpool.") for name in tensors)


def test_files_of_old_torch_need_not_count_batches(tmp_path: Path) -> None:
    tensors = {name: value for name, value in weights_of("conv5", 3, 28).items() if "num_batches" not in name}
    net = build("conv5", 3, 28, weights=saved(tmp_path, tensors))
    assert all(name.endswith("num_batches_tracked") for name in differing(net, tensors))


@pytest.mark.parametrize(
    ("change", "wrong", "first"),
    [
        ("missing", 1, "'features.0.weight' (not in the file)"),
        ("shape", 1, "'features.0.weight' (shape (32, 3, 5, 5) instead of (32, 3, 3, 3))"),
        ("strange", 1, "'stem.weight' (only in the file)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: str, wrong: int, first: str) -> None:
    tensors = weights_of("conv5", 3, 28)
    if change == "missing":
        del tensors["features.0.weight"]
    elif change == "shape":
        tensors["features.0.weight"] = torch.zeros(32, 3, 5, 5)
    else:
        tensors["stem.weight"] = torch.zeros(2)
    file = saved(tmp_path, tensors)
    assert refusal(ModelError, "conv5", 3, 28, weights=file) == (
        f"{file}: is not of conv5: {wrong} of 32 weights do not fit, first {first}. Give weights of this very network "
        "under the names of timm, made for the same tile_px if it is a transformer."
    )


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, weights_of("resnet10t", 3, 32))
    assert refusal(ModelError, "conv5", 3, 28, weights=file).startswith(f"{file}: is not of conv5: ")


@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin", ".PKL"])
def test_pickles_are_never_opened(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"weights{ending}"
    assert refusal(ModelError, "conv5", 3, 28, weights=file) == (
        f"{file}: may be a pickle, which runs code when it is opened; it is not read. Where you trust it, convert "
        "it: safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')."
    )


def test_a_pickle_under_another_name_is_not_opened_either(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    torch.save({"features.0.weight": torch.zeros(2)}, file)
    assert refusal(ModelError, "conv5", 3, 28, weights=file) == (
        f"{file}: is not a whole safetensors file (Error while deserializing header: header too large). "
        "Copy or convert it again."
    )


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "none.safetensors"
    assert refusal(ModelError, "conv5", 3, 28, weights=file) == (
        f"{file}: no such file. Give --weights a safetensors file on this disk; none is downloaded."
    )
