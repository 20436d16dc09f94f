"""Where and in which precision networks run."""

from __future__ import annotations

import ctypes
import platform
from dataclasses import dataclass

import torch

from w2wpath.errors import DeviceError


@dataclass(frozen=True)
class Compute:
    """A device and whether bf16 autocast is used on it."""

    device: torch.device
    bf16: bool

    def autocast(self) -> torch.autocast:
        """Return the autocast context of forward passes; does nothing in fp32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    @property
    def memory_format(self) -> torch.memory_format:
        """channels_last everywhere but on MPS, whose kernels do not gain from it."""
        return torch.contiguous_format if self.device.type == "mps" else torch.channels_last

    def __str__(self) -> str:
        return f"{self.device.type}, {'bf16' if self.bf16 else 'fp32'}"


def choose_compute(device: str, precision: str, index: int | None = None) -> Compute:
    """Resolve ``auto|cpu|cuda|mps`` and ``auto|fp32|bf16``; of several CUDA devices, `index` takes one in turn.

    Raises
    ------
    DeviceError
        The device asked for is not there.
    """
    found = torch.device(_resolve(device))
    if found.type == "cpu":
        _keep_freed_memory()
    if found.type == "cuda" and index is not None:
        found = torch.device("cuda", index % torch.cuda.device_count())
    return Compute(found, precision == "bf16" or (precision == "auto" and _native_bf16(found)))


def use_threads(count: int) -> None:
    """Compute with at most `count` threads in this process."""
    torch.set_num_threads(count)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a device's memory did not suffice; only CUDA has an exception of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in ("can't allocate memory", "MPS backend out of memory"))
    )


def _keep_freed_memory() -> None:
    """Let glibc keep big freed blocks instead of giving them back and faulting them in again at every layer.

    resnet10t at 64 px on two cores: 1.03 times the speed in training, 1.29 in drawing (tests/speed/memory.py).
    """
    if platform.libc_ver()[0] == "glibc":
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc = ctypes.CDLL(None)
        libc.mallopt(m_mmap_threshold, 1 << 30)
        libc.mallopt(m_trim_threshold, (1 << 31) - 1)


def _resolve(device: str) -> str:
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    if device == "cuda" and not cuda:
        raise DeviceError("--device cuda: PyTorch sees no CUDA device. Use --device auto or cpu, or check the driver.")
    if device == "mps" and not mps:
        raise DeviceError("--device mps: PyTorch sees no Apple GPU. Use --device auto or cpu.")
    return device


def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # emulated bf16 is slower than fp32; these two instruction sets compute in it
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
