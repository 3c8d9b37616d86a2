"""The networks that every row runs, as files: all rows load the same weights.

Nothing but torch is needed here, since this is read in the environments of the peers.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmarks.nets import ResNet18Classifier, ResNet18UNet

if TYPE_CHECKING:
    from collections.abc import Mapping

CLASSES = 3

KINDS: dict[str, type[nn.Module]] = {
    "ResNet18UNet": ResNet18UNet,
    "ResNet18Classifier": ResNet18Classifier,
}


@dataclass(frozen=True, slots=True)
class Network:
    """A network with its weights, and how its pixels are normalised."""

    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def pixels(self, stored: Tensor) -> Tensor:
        """The input (b, c, y, x) in fp32 from stored pixels of the same shape."""
        values = stored.float().div_(255)
        if any(self.mean):
            values -= torch.tensor(self.mean).view(1, -1, 1, 1)
        if any(s != 1 for s in self.std):
            values /= torch.tensor(self.std).view(1, -1, 1, 1)
        return values


def save_network(
    path: Path,
    kind: str,
    width: int,
    weights: Mapping[str, Any],
    *,
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    std: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> None:
    """Write a network; ``width`` is that of its first stage."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    known = {"kind": kind, "width": width, "mean": list(mean), "std": list(std)}
    torch.save(known | {"weights": dict(weights)}, part)
    part.replace(path)


@functools.cache
def load_network(path: str, *, channels_last: bool = False) -> Network:
    """The network of a file in eval mode; each layout is made once per process."""
    known = torch.load(Path(path), weights_only=True)
    module = KINDS[known["kind"]](CLASSES, known["width"])
    module.load_state_dict(known["weights"])
    module.eval()
    if channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Network(module, tuple(known["mean"]), tuple(known["std"]))
