"""Uses of the rules that read each output pixel from the same pixel of their inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gigafcn.graph.rules.channels import ChannelSlice, Expand
from gigafcn.graph.rules.merge import Concatenation
from gigafcn.graph.rules.pointwise import Cast, Pointwise, ScaleShift
from gigafcn.graph.rules.regroup import ChannelView
from gigafcn.graph.rules.shape import Permute
from tests.graph.use import CHANNELS, IMAGE, Use

if TYPE_CHECKING:
    from torch import Tensor

aten = torch.ops.aten

GRID = (9, 7)
BIAS = torch.tensor([0.5, -1.0, 2.0, 0.25], dtype=torch.float64)
SCALE = torch.tensor([0.5, -1.0, 2.0, 3.0], dtype=torch.float64)
VARIANCE = torch.tensor([0.5, 1.5, 4.0, 0.1], dtype=torch.float64)
WEIGHT = torch.randn(5, CHANNELS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def pixelwise(target: Any, *arguments: Any, index: int = 0) -> Use:
    """An op on the image whose need is the pixel itself."""
    return Use(target, (IMAGE, *arguments), GRID, (True, True), index=index)


def channels_last(target: Any, *arguments: Any) -> Use:
    """An op on (b, y, x, c)."""
    return Use(
        target,
        (IMAGE, *arguments),
        GRID,
        (True, True),
        before=lambda image: image.permute(0, 2, 3, 1),
        axes=("b", "y", "x", "c"),
    )


def flat(target: Any, *arguments: Any) -> Use:
    """An op on pixels flattened to (b, c, yx)."""
    return Use(
        target,
        (IMAGE, *arguments),
        GRID,
        (True, True),
        before=lambda image: image.flatten(2),
        axes=("b", "c", "yx"),
    )


def tokens(target: Any, *arguments: Any) -> Use:
    """An op on pixels flattened to (b, yx, c)."""
    return Use(
        target,
        (IMAGE, *arguments),
        GRID,
        (True, True),
        before=lambda image: image.flatten(2).transpose(1, 2),
        axes=("b", "yx", "c"),
    )


def grouped(target: Any, *arguments: Any) -> Use:
    """An op on channels in two groups, (b, c, c, y, x)."""
    return Use(
        target,
        (IMAGE, *arguments),
        GRID,
        (True, True),
        before=lambda image: image.view(-1, 2, 2, *GRID),
        axes=("b", "c", "c", "y", "x"),
    )


def headed(target: Any, *arguments: Any) -> Use:
    """An op on pixels flattened with heads before them, (b, 2yx, c)."""
    return Use(
        target,
        (IMAGE, *arguments),
        GRID,
        (True, True),
        before=lambda image: image.view(-1, 2, 2, *GRID).permute(0, 1, 3, 4, 2).flatten(1, 3),
        axes=("b", "2yx", "c"),
    )


def heads(target: Any, *arguments: Any) -> Use:
    """An op on windows of two pixels each, (b, heads, yx, pixels, channels of a head)."""
    return Use(
        target,
        arguments,
        GRID,
        (True, True),
        before=lambda image: (
            torch.stack([image, image * 2, image - 1, image.flip(1)], -1)
            .view(-1, 2, 2, GRID[0] * GRID[1], 4)
            .transpose(2, 3)
        ),
        axes=("b", "c", "yx", "c", "c"),
    )


def _per_channel(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)


PIXELWISE: dict[type[Any], tuple[Use, ...]] = {
    ChannelSlice: (
        pixelwise(aten.slice.Tensor, 1, 1, 4, 2),
        pixelwise(aten.narrow.default, 1, -3, 2),
        pixelwise(aten.chunk.default, 2, 1, index=1),
        pixelwise(aten.split.sizes, [1, 3], 1, index=1),
        grouped(aten.slice.Tensor, 2, 1, 2),
        pixelwise(aten.select.int, 1, -2),
        pixelwise(aten.unbind.int, 1, index=3),
        tokens(aten.select.int, 2, 1),
        tokens(aten.slice.Tensor, 2, 1, 3),
    ),
    ChannelView: (
        pixelwise(aten.unflatten.int, 1, [2, 2]),
        pixelwise(aten.unsqueeze.default, 1),
        pixelwise(aten.flatten.using_ints, 2),
        pixelwise(aten.unsqueeze.default, 0),
        Use(
            aten.squeeze.dim,
            (IMAGE, 0),
            GRID,
            (True, True),
            before=lambda image: image.unsqueeze(0),
            axes=("c", "b", "c", "y", "x"),
        ),
        grouped(aten.flatten.using_ints, 1, 2),
        flat(aten.unflatten.int, 2, GRID),
        flat(aten.view.default, [-1, 2, 2, GRID[0] * GRID[1]]),
        tokens(aten.reshape.default, [-1, *GRID, CHANNELS]),
        channels_last(aten.reshape.default, [-1, CHANNELS]),
        headed(aten.view.default, [-1, 2, GRID[0] * GRID[1], 2]),
        headed(aten.view.default, [-1, 2, *GRID, 2]),
        headed(aten.unsqueeze.default, 2),
        heads(aten.reshape.default, IMAGE, [-1, 2 * GRID[0] * GRID[1], 2, 4]),
        heads(aten.reshape.default, IMAGE, [-1, 2, GRID[0] * GRID[1] * 2, 4]),
    ),
    Permute: (
        pixelwise(aten.permute.default, [0, 2, 3, 1]),
        pixelwise(aten.transpose.int, 1, 3),
        pixelwise(aten.transpose.int, -1, -2),
        pixelwise(aten.movedim.int, 1, -1),
        pixelwise(aten.movedim.intlist, [1, 2], [3, 1]),
        flat(aten.transpose.int, 1, 2),
        pixelwise(aten.mT.default),
        tokens(aten.permute.default, [0, 2, 1]),
        headed(aten.transpose.int, 1, 2),
        heads(aten.permute.default, IMAGE, [0, 2, 3, 1, 4]),
    ),
    Expand: (
        Use(
            aten.expand.default,
            (IMAGE, [-1, 3, -1, -1, -1]),
            GRID,
            (True, True),
            before=lambda image: image.unsqueeze(1),
            axes=("b", "c", "c", "y", "x"),
        ),
        Use(
            aten.expand.default,
            (IMAGE, [-1, -1, 3]),
            GRID,
            (True, True),
            before=lambda image: image.mean(1, keepdim=True).flatten(1).unsqueeze(2),
            axes=("b", "yx", "c"),
        ),
    ),
    Concatenation: (
        Use(aten.cat.default, ([IMAGE, IMAGE], 1), GRID, (True, True)),
        Use(aten.stack.default, ([IMAGE, IMAGE], 2), GRID, (True, True)),
        Use(aten.stack.default, ([IMAGE, IMAGE], -1), GRID, (True, True)),
    ),
    ScaleShift: (
        pixelwise(aten.batch_norm.default, SCALE, BIAS, BIAS, VARIANCE, False, 0.1, 1e-5, False),
        pixelwise(aten.instance_norm.default, None, None, BIAS, VARIANCE, False, 0.1, 1e-5, False),
    ),
    Cast: (
        pixelwise(aten.to.dtype, torch.float32),
        pixelwise(aten.type_as.default, IMAGE),
    ),
    Pointwise: (
        pixelwise(aten.relu.default),
        pixelwise(aten.add.Tensor, IMAGE),
        pixelwise(aten.mul.Tensor, _per_channel(SCALE)),
        pixelwise(aten.addcmul.default, _per_channel(SCALE), IMAGE),
        pixelwise(aten.softmax.int, 1),
        pixelwise(aten.mean.dim, [1], True),
        pixelwise(aten.mean.dim, [1]),
        pixelwise(aten.linalg_vector_norm.default, 2, [1], True),
        pixelwise(aten.max.dim, 1, True),
        pixelwise(aten.max.dim, 1, index=1),
        pixelwise(aten.argmax.default, 1, True),
        pixelwise(aten.sort.default, 1),
        pixelwise(aten.cumsum.default, 1),
        pixelwise(aten.flip.default, [1]),
        pixelwise(aten.roll.default, [1], [1]),
        pixelwise(aten.glu.default, 1),
        pixelwise(aten.channel_shuffle.default, 2),
        pixelwise(aten.prelu.default, SCALE),
        pixelwise(aten.prelu.default, SCALE[:1]),
        pixelwise(aten.pad.default, [0, 0, 0, 0, 2, 1], "constant", 3.0),
        pixelwise(aten.index_select.default, 1, torch.tensor([3, 0, 1, 2])),
        pixelwise(aten.index.Tensor, [None, torch.tensor([3, 0, 1, 2])]),
        pixelwise(aten.repeat.default, [1, 3, 1, 1]),
        pixelwise(aten.repeat_interleave.self_int, 2, 1),
        grouped(aten.sum.dim_IntList, [1]),
        grouped(aten.softmax.int, 2),
        channels_last(aten.linear.default, WEIGHT),
        channels_last(aten.matmul.default, WEIGHT.t()),
        Use(
            aten.matmul.default,
            (IMAGE, IMAGE),
            GRID,
            (True, True),
            before=lambda image: image.permute(0, 2, 3, 1).reshape(-1, *GRID, 2, 2),
            axes=("b", "y", "x", "c", "c"),
        ),
        Use(
            aten.mm.default,
            (IMAGE, WEIGHT.t()),
            GRID,
            (True, True),
            before=lambda image: image.permute(0, 2, 3, 1).reshape(-1, CHANNELS),
            axes=("byx", "c"),
        ),
        Use(
            aten.embedding.default,
            (WEIGHT, IMAGE),
            GRID,
            (True, True),
            before=lambda image: (image > 0).long() + image.isnan(),
        ),
        channels_last(aten.layer_norm.default, [CHANNELS], SCALE, BIAS),
        channels_last(aten.rms_norm.default, [CHANNELS], SCALE),
        tokens(aten.linear.default, WEIGHT),
        tokens(aten.layer_norm.default, [CHANNELS], SCALE, BIAS),
        tokens(aten.mul.Tensor, SCALE),
        tokens(aten.softmax.int, 2),
        flat(aten.softmax.int, 1),
        flat(aten.mean.dim, [1], True),
        flat(aten.mul.Tensor, SCALE.view(1, CHANNELS, 1)),
        headed(aten.mul.Tensor, SCALE[:2]),
        headed(aten.pad.default, [1, 2], "constant", 3.0),
        headed(aten.matmul.default, WEIGHT[:, :2].t()),
        tokens(aten.pad.default, [1, 0], "constant", None),
        channels_last(aten.pad.default, [0, 2], "constant", 3.0),
        heads(aten.matmul.default, IMAGE, WEIGHT.t()),
        heads(aten.scaled_dot_product_attention.default, IMAGE, IMAGE, IMAGE),
        heads(
            aten.scaled_dot_product_attention.default,
            IMAGE,
            IMAGE,
            IMAGE,
            torch.tensor([[0.5, -1.0], [2.0, 0.0]], dtype=torch.float64),
        ),
        pixelwise(aten.unfold.default, 1, 3, 1),
        Use(
            aten.einsum.default,
            ("bcyx,dc->bdyx", [IMAGE, WEIGHT]),
            GRID,
            (True, True),
        ),
        Use(aten.einsum.default, ("bcyx,bcyx->byx", [IMAGE, IMAGE]), GRID, (True, True)),
    ),
}
"""By rule class."""
