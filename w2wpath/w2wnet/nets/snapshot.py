"""All that a network in training is, as bytes, and back (K18)."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn


def taken(
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    masks: torch.Generator,
    random: np.random.Generator,
    counts: Mapping[str, int],
) -> bytes:
    """Return weights and buffers, momentum, both random states and `counts`, as safetensors bytes."""
    tensors: dict[str, Tensor] = {f"net.{name}": value for name, value in net.state_dict().items()}
    for i, slot in optimiser.state_dict()["state"].items():
        if slot.get("momentum_buffer") is not None:
            tensors[f"momentum.{i}"] = slot["momentum_buffer"]
    tensors |= {f"count.{name}": torch.tensor(count) for name, count in counts.items()}
    tensors["masks"] = masks.get_state()
    # a bytearray, because torch warns of memory that cannot be written
    tensors["random"] = torch.frombuffer(bytearray(json.dumps(random.bit_generator.state).encode()), dtype=torch.uint8)
    return save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def restored(
    state: bytes,
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    masks: torch.Generator,
    random: np.random.Generator,
) -> dict[str, int]:
    """Bring everything back to what :func:`taken` said of it; return the counts."""
    tensors = load(state)

    def below(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    net.load_state_dict(below("net."))
    slots = {int(i): {"momentum_buffer": value} for i, value in below("momentum.").items()}
    optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})
    masks.set_state(tensors["masks"])
    random.bit_generator.state = json.loads(tensors["random"].numpy().tobytes())
    return {name: int(value) for name, value in below("count.").items()}
