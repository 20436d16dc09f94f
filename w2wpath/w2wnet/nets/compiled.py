"""torch.compile, or why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from w2wpath.errors import ConfigError


class Compiled:
    """Calls `net` through torch.compile; weights and names stay those of `net`.

    Dropout draws from the network's own generator by forward hooks. A compiled network that does not advance that
    generator drops nothing, or draws from another one that no checkpoint holds, and is refused.
    """

    def __init__(self, net: nn.Module, backbone: str) -> None:
        self._backbone = backbone
        self._call: Callable[..., Any] = torch.compile(net)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits.

        Raises
        ------
        ConfigError
            PyTorch cannot compile the network here.
        """
        # imported here, since it takes seconds that only --compile is worth
        from torch._dynamo.exc import TorchDynamoException

        try:
            return self._call(images)  # type: ignore[no-any-return]  # what torch.compile returns is Any
        except TorchDynamoException as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ConfigError(
                f"--compile: PyTorch cannot compile {self._backbone} here ({reason}). Leave --compile out."
            ) from error

    def dropping(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the logits with dropout, whose masks come from `generator`.

        Raises
        ------
        ConfigError
            The masks did not come from `generator`.
        """
        before = generator.get_state()
        logits = self(images)
        if torch.equal(generator.get_state(), before):
            raise ConfigError(
                f"--compile: dropout does not work in the compiled {self._backbone}. Leave --compile out."
            )
        return logits
