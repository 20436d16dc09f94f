"""Devices: found, or refused in words."""

from __future__ import annotations

import pytest
import torch

from w2wpath.errors import DeviceError
from w2wpath.w2wnet.nets.device import choose_compute, is_out_of_memory


@pytest.mark.parametrize(("precision", "words"), [("fp32", "cpu, fp32"), ("bf16", "cpu, bf16")])
def test_the_cpu_computes_as_asked(precision: str, words: str) -> None:
    assert str(choose_compute("cpu", precision)) == words


@pytest.mark.parametrize("native", [True, False])
def test_auto_takes_bf16_only_where_the_cpu_computes_in_it(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    assert choose_compute("cpu", "auto").bf16 is native


@pytest.mark.parametrize(("cuda", "mps", "chosen"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_takes_the_best_device_there_is(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)
    assert choose_compute("auto", "fp32").device == torch.device(chosen)


def test_cuda_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device, so asking for one is no error")
    with pytest.raises(DeviceError) as caught:
        choose_compute("cuda", "auto")
    assert str(caught.value) == (
        "--device cuda: PyTorch sees no CUDA device. Use --device auto or cpu, or check the driver."
    )


def test_an_apple_gpu_that_is_not_there_is_refused() -> None:
    if torch.backends.mps.is_available():
        pytest.skip("this machine has an Apple GPU, so asking for one is no error")
    with pytest.raises(DeviceError) as caught:
        choose_compute("mps", "auto")
    assert str(caught.value) == "--device mps: PyTorch sees no Apple GPU. Use --device auto or cpu."


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_forward_pass_runs_in_the_precision(precision: str, dtype: torch.dtype) -> None:
    with choose_compute("cpu", precision).autocast():
        assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == dtype


def test_the_out_of_memory_errors_of_every_device_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))
