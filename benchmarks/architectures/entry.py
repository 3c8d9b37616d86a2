"""What a row of the table is made from: a library, a name, and how to build the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from benchmarks.nets import randomized

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

CLASSES = 3
"""Output channels of every segmentation model."""


CLASSIFIER = "classifier"
"""Variant of rows that give one answer per image."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One public model."""

    library: str
    """Where it comes from."""

    architecture: str
    """Family it belongs to, for counting distinct ones."""

    variant: str
    """Encoder, norm or size."""

    build: Callable[[], nn.Module]
    """Makes it with random weights; called in the process that measures it."""

    channels: int = 3
    """Input channels."""

    size: int | None = None
    """Image size in px that it is made for; None if it takes any."""

    pick: int | str | None = None
    """Which of several outputs is analysed, by position or key."""

    @property
    def name(self) -> str:
        """How the row is called."""
        return f"{self.architecture} · {self.variant}" if self.variant else self.architecture


class Picked(nn.Module):
    """A model that returns several maps, reduced to one of them."""

    def __init__(self, model: nn.Module, pick: int | str) -> None:
        super().__init__()
        self.model = model
        self.pick = pick

    def forward(self, x: Tensor) -> Tensor:
        """The picked output."""
        outputs: Any = self.model(x)
        result: Tensor = outputs[self.pick]
        return result


def ready(entry: Entry) -> nn.Module:
    """The entry's model in eval mode, nothing in it left at a constant.

    Weights keep the library's random initialisation.  What it sets to a constant (norms, biases,
    residual branches that start at zero) is drawn too, or whole branches would not count.
    """
    torch.manual_seed(0)
    model = entry.build()
    randomized(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all()):
                centre, width = (0.0, 0.1) if name.endswith("bias") else (1.0, 0.2)
                tensor.normal_(centre, width, generator=generator)
    model.eval()
    return model if entry.pick is None else Picked(model, entry.pick).eval()
