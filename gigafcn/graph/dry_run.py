"""What a module does to sizes, found by calling it on an image without pixels.

Takes a few hundredths of a second at any size, where an export takes seconds.  Nothing is
allocated: the module is a copy with fake weights, its input a fake tensor.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from gigafcn.graph.export import precision_of, quiet

if TYPE_CHECKING:
    from torch import nn

Pair = tuple[int, int]

PADS = ("aten.constant_pad_nd.", "aten.reflection_pad2d.", "aten.replication_pad2d.")
SLICES = ("aten.slice.",)


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a module did to the sizes of one image."""

    padded_before: tuple[Pair, ...]
    """Px (y, x) that each pad of its own, not a convolution's, put above and at the left."""

    cut_before: bool
    """Whether something was cut off above or at the left."""


def dry_run(module: nn.Module, channels: int, size: Pair) -> DryRun | None:
    """Call a module on an image without pixels; None if it fails.

    Parameters
    ----------
    module
        In eval mode; it is not changed.
    channels
        Input channels.
    size
        Image size (y, x) in px.
    """
    seen = _Seen()
    try:
        with quiet(), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
            with FakeCopyMode(mode):
                fake = copy.deepcopy(module)
            image = torch.empty((1, channels, *size), dtype=precision_of(module))
            parameter = next(fake.parameters(), None)
            with seen:
                fake(image if parameter is None else image.to(parameter.device))
    except Exception:  # the user's own code may raise anything
        return None
    return DryRun(tuple(seen.padded_before), seen.cut_before)


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of its base
    """Notes ops that change sizes by more than their own strides."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of its base
        self.padded_before: list[Pair] = []
        self.cut_before = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(func)
        if name.startswith(PADS):
            left, top = (*list(args[1])[0:4:2], 0)[:2]
            self.padded_before.append((max(0, top), max(0, left)))
            self.cut_before |= min(top, left) < 0
        elif name.startswith(SLICES):
            self.cut_before |= _cuts_before(args)
        return result


def _cuts_before(args: tuple[Any, ...]) -> bool:
    """Whether a slice (tensor, dim, start, ...) leaves out the first px along y or x."""
    tensor, dim, start = (*args, 0, None)[:3]
    places = (tensor.dim() - 2, tensor.dim() - 1, -2, -1)
    return tensor.dim() >= 3 and dim in places and bool(start)
