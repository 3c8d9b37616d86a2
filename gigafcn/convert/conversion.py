"""From a classifier of patches to a network that gives its dense map, and what is known of that.

The converted network has the original's weights.  On one patch it gives what the original gives;
on an image its position j holds the answer for the patch that starts at ``j * stride``.  Where the
original pads its maps, every patch has a border of its own, which a dense map has not: then
the two differ, and :func:`gigafcn.convert.measure_difference` says by how much.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from gigafcn.convert.rewriting import (
    NotConvertibleError,
    Rewritten,
    exported_classifier,
    rewritten,
)
from gigafcn.errors import ModelError, UsageError
from gigafcn.geometry import Span
from gigafcn.graph.calls import calls_of
from gigafcn.graph.export import in_eval_mode, precision_of
from gigafcn.graph.rules.shape import BorderPad
from gigafcn.graph.trace import trace

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gigafcn.convert.network import FullyConvolutional
    from gigafcn.graph.model_graph import ModelGraph

Pair = tuple[int, int]

ROUNDING = 1e4
"""Units of rounding, relative to the largest score, by which original and converted network may
differ on a patch; a mistake in converting is of the scores' own size."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """A converted classifier."""

    module: FullyConvolutional
    """Maps (b, channels, y, x) to (b, classes, y', x')."""

    original: nn.Module = field(repr=False)
    patch: Pair
    """Size (y, x) in px of the patches that the original classifies."""

    channels: int
    stride: Pair
    """Px (y, x) from one position of the map to the next."""

    pads: bool
    """Whether the original pads its maps, so that its answers on patches differ from the map."""

    changes: tuple[str, ...]
    """What became of the layers of the head."""

    def to_json(self) -> dict[str, Any]:
        """What a map says about it."""
        return {
            "patch": list(self.patch),
            "output_stride": list(self.stride),
            "pads": self.pads,
            "layers": list(self.changes),
        }


def to_fully_convolutional(
    module: nn.Module,
    patch: int | Pair,
    channels: int = 3,
    *,
    output_stride: int | None = None,
) -> nn.Module:
    """Turn a classifier of patches into a network that maps images of any size.

    Flattening and linear layers become convolutions with the kernel of the flattened map, global
    pooling becomes pooling as large as the map of a patch, further linear layers become 1 x 1
    convolutions.  Weights are moved, never retrained: parameters keep names and memory, and on
    a patch the answers are the original's up to rounding.

    Parameters
    ----------
    module
        Maps (b, channels, y, x) of the patch's size to scores (b, classes). Switched to eval mode
        if it is not.
    patch
        Side(s) (y, x) in px of the patches it was trained on.
    channels
        Input channels.
    output_stride
        Px from one position of the map to the next; None is the product of the network's own
        strides, anything else must divide it. Strides beyond become dilation, which equals
        running the network on shifted images and interleaving the maps.

    Returns
    -------
    torch.nn.Module
        Maps (b, channels, y, x) to scores (b, classes, y', x'); position j is the patch that
        starts at ``j * stride``.

    Raises
    ------
    ModelError
        If it cannot be converted; the message names the layer.
    UsageError
        If ``patch`` or ``output_stride`` is no such number.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.Flatten(), nn.Linear(8 * 7 * 7, 10))
    >>> dense = to_fully_convolutional(net, patch=16)
    >>> dense(torch.zeros(1, 3, 16, 16)).shape, dense(torch.zeros(1, 3, 64, 32)).shape
    (torch.Size([1, 10, 1, 1]), torch.Size([1, 10, 25, 9]))
    """
    return convert(module, patch, channels, output_stride=output_stride).module


def convert(
    module: nn.Module,
    patch: int | Pair,
    channels: int = 3,
    *,
    output_stride: int | None = None,
) -> Conversion:
    """Convert as :func:`to_fully_convolutional` does, and report on it."""
    size = _size(patch)
    if output_stride is not None and output_stride < 1:
        raise UsageError(f"output stride must be at least 1 px, got {output_stride}")
    in_eval_mode(module)
    calls = calls_of(module, channels, size)
    calls.refuse(module)
    settled = calls.to_trace(module)
    program = exported_classifier(settled, channels, size)
    try:
        found = rewritten(settled, program, None)
        stride = _stride(found, output_stride)
        if output_stride is not None:
            found = rewritten(settled, program, output_stride)
        # Two positions along each axis, so that whatever was written for one patch shows.
        graph = _traced(found.module, channels, (size[0] + stride[0], size[1] + stride[1]))
    except NotConvertibleError as problem:
        raise _refusal(module, size, str(problem)) from problem
    beyond = graph.result.grid[0] - 2, graph.result.grid[1] - 2
    if any(beyond):
        found = rewritten(settled, program, output_stride, beyond)
    conversion = Conversion(
        module=found.module,
        original=module,
        patch=size,
        channels=channels,
        stride=stride,
        pads=_pads(graph, size),
        changes=found.changes,
    )
    _check(conversion)
    return conversion


def _size(patch: int | Pair) -> Pair:
    sides = (patch, patch) if isinstance(patch, int) else tuple(patch)
    if len(sides) != 2 or min(sides) < 1:
        raise UsageError(f"patch must be one or two positive numbers of px (y, x), got {patch}")
    return sides[0], sides[1]


def _refusal(module: nn.Module, size: Pair, reason: str) -> ModelError:
    window = f"{size[0]}" if size[0] == size[1] else f"{size[0]},{size[1]}"
    return ModelError(
        f"{type(module).__name__}, a classifier of patches of {size[0]} x {size[1]} px (y, x), "
        f"cannot be converted to a dense map: {reason}; classify patch by patch: --mode patch "
        f"--window {window}"
    )


def _stride(found: Rewritten, output_stride: int | None) -> Pair:
    """The stride of the map: the network's own, or a divisor of it."""
    for name, stride in zip("yx", found.stride, strict=True):
        if output_stride is not None and stride % output_stride:
            raise UsageError(
                f"output stride {output_stride} does not divide the network's own stride of "
                f"{stride} px along {name}"
            )
    if output_stride is not None:
        return output_stride, output_stride
    return found.stride


def _traced(module: nn.Module, channels: int, size: Pair) -> ModelGraph:
    """The graph of the converted network.

    Raises
    ------
    NotConvertibleError, ModelError
        If it is not local, or does not take such an image.
    """
    traced = trace(module, channels, size)
    if traced.graph is None:
        raise NotConvertibleError(str(traced.blockers[0]))
    return traced.graph


def _pads(graph: ModelGraph, size: Pair) -> bool:
    """Whether the answer for the first patch reaches beyond the patch, where padding stands."""
    if any(isinstance(node.rule, BorderPad) for node in graph.nodes):
        return True
    return any(
        not Span(0, size[axis]).contains(graph.need(Span(0, 1), axis, clip=False))
        for axis in (0, 1)
    )


def _check(conversion: Conversion) -> None:
    """Compare both networks on one patch of noise.

    Raises
    ------
    ModelError
        If they differ by more than rounding.
    """
    patch = noise(conversion, 1, conversion.patch)
    with torch.inference_mode():
        expected = conversion.original(patch).flatten().double()
        given = conversion.module(patch).flatten().double()
    limit = ROUNDING * torch.finfo(patch.dtype).eps * float(expected.abs().max())
    difference = float((given - expected).abs().max())
    if not difference <= limit:
        raise ModelError(
            f"{type(conversion.original).__name__} and its converted network differ by "
            f"{difference:.3g} on a patch of noise, more than rounding ({limit:.3g}): it computes "
            f"something that its exported form does not show; use --mode patch"
        )


def noise(conversion: Conversion, count: int, size: Pair) -> Tensor:
    """Images (count, channels, y, x) of uniform noise in 0..1, the same each time."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, conversion.channels, *size)
    pixels = torch.rand(shape, generator=generator, dtype=torch.float32)
    parameter = next(conversion.original.parameters(), pixels)
    return pixels.to(parameter.device, precision_of(conversion.original))
