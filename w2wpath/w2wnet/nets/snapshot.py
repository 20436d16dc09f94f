"""All that a network in training is, as bytes, and back (K18)."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from w2wpath.errors import RunError


def taken(
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    masks: torch.Generator,
    random: np.random.Generator,
    counts: Mapping[str, int],
    compute: str,
) -> bytes:
    """Return weights and buffers, momentum, both random states, `counts` and `compute`, as safetensors bytes."""
    tensors: dict[str, Tensor] = {f"net.{name}": value for name, value in net.state_dict().items()}
    for i, slot in optimiser.state_dict()["state"].items():
        if slot.get("momentum_buffer") is not None:
            tensors[f"momentum.{i}"] = slot["momentum_buffer"]
    tensors |= {f"count.{name}": torch.tensor(count) for name, count in counts.items()}
    tensors["masks"] = masks.get_state()
    tensors["random"] = _as_bytes(json.dumps(random.bit_generator.state))
    tensors["compute"] = _as_bytes(compute)
    return save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def restored(
    state: bytes,
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    masks: torch.Generator,
    random: np.random.Generator,
    compute: str,
) -> dict[str, int]:
    """Bring everything back to what :func:`taken` said of it; return the counts.

    Raises
    ------
    RunError
        It was taken on another kind of device, or in another precision: there masks and sums come out otherwise.
    """
    tensors = load(state)
    if (there := tensors["compute"].numpy().tobytes().decode()) != compute:
        raise RunError(
            f"was trained on {there} so far and cannot go on, to the same bits, on {compute}. Go on there (--device, "
            "--precision), or remove this file: then that training begins anew."
        )

    def below(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    net.load_state_dict(below("net."))
    slots = {int(i): {"momentum_buffer": value} for i, value in below("momentum.").items()}
    optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})
    masks.set_state(tensors["masks"])
    random.bit_generator.state = json.loads(tensors["random"].numpy().tobytes())
    return {name: int(value) for name, value in below("count.").items()}


def _as_bytes(text: str) -> Tensor:
    # a bytearray, because torch warns of memory that cannot be written
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
