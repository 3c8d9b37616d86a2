"""Uses of every op that has a rule, each as torch itself runs it and as the rule sees it.

``USES`` lists, per rule class, many parameter sets: kernel, stride, padding (also "same"),
dilation, output padding, ceil_mode, count_include_pad, odd sizes.  Rows and columns get different
parameters, so that an axis mixed up is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from gigafcn.graph.rules import IMAGE_AXES, OpCall, Value, build
from gigafcn.graph.rules.merge import Concatenation
from gigafcn.graph.rules.pointwise import Cast, Pointwise, ScaleShift
from gigafcn.graph.rules.regroup import ChannelView, PixelShuffle, PixelUnshuffle
from gigafcn.graph.rules.resample import Bilinear, Nearest
from gigafcn.graph.rules.shape import BorderPad, ChannelSlice, ConstantPad, Crop, Permute
from gigafcn.graph.rules.window import AveragePool, Convolution, MaxPool, TransposedConvolution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from gigafcn.graph.rules import Built

aten = torch.ops.aten
CHANNELS = 4
IMAGE = "the image"
"""Stands for the image among an op's arguments."""


@dataclass(frozen=True, slots=True)
class Use:
    """One op with its arguments filled in."""

    target: Callable[..., Any]
    arguments: tuple[Any, ...]
    grid: tuple[int, int]
    """Input size (y, x)."""

    exact: tuple[bool, bool]
    """Per axis, whether the clipped need is claimed to be the exact hull."""

    exact_inside: bool = True
    """Whether an end of the need that lies inside the image is claimed to be exact."""

    def __call__(self, image: Tensor) -> Tensor:
        """What torch says of the whole image."""
        result: Tensor = self.target(*_with(self.arguments, image))
        return result

    def built(self) -> Built:
        """The rule as tracing would build it."""
        shape = (1, CHANNELS, *self.grid)
        out = tuple(self(torch.zeros(shape, dtype=torch.float64)).shape)
        return build(OpCall(self.target, self._named(Value(0, shape, IMAGE_AXES)), out, 0))

    def _named(self, value: Value) -> dict[str, Any]:
        schema = getattr(self.target, "_schema").arguments  # noqa: B009 - private in torch's stubs
        given = _with(self.arguments, value)
        return {
            a.name: given[i] if i < len(given) else a.default_value for i, a in enumerate(schema)
        }

    def __str__(self) -> str:
        shown = [tuple(a.shape) if isinstance(a, torch.Tensor) else a for a in self.arguments]
        return f"{self.target}{tuple(shown)} on {self.grid}"


def _with(argument: Any, image: Any) -> Any:
    if isinstance(argument, str) and argument == IMAGE:
        return image
    if isinstance(argument, list | tuple):
        return type(argument)(_with(item, image) for item in argument)
    return argument


def _paired(sets: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Each parameter set for the rows, with another one for the columns."""
    return zip(sets, [*sets[len(sets) // 3 :], *sets[: len(sets) // 3]], strict=True)


def _weight(c_out: int, c_in: int, kernel: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(c_out + 7 * kernel[0] + kernel[1])
    return torch.randn(c_out, c_in, *kernel, generator=generator, dtype=torch.float64)


BIAS = torch.tensor([0.5, -1.0, 2.0, 0.25], dtype=torch.float64)


def _convolutions() -> Iterator[Use]:
    # Per axis, here and below: kernel, stride, padding, (output padding,) dilation.
    sets = list(product((1, 2, 3, 4, 5), (1, 2, 3), (0, 1, 2, 4), (1, 2, 3)))
    for number, ((ky, sy, py, dy), (kx, sx, px, dx)) in enumerate(_paired(sets)):
        groups = (1, 2, 4)[number % 3]
        size = (13, 14 + number % 2)
        yield Use(
            aten.conv2d.default,
            (
                IMAGE,
                _weight(4, CHANNELS // groups, (ky, kx)),
                BIAS if number % 2 else None,
                [sy, sx],
                [py, px],
                [dy, dx],
                groups,
            ),
            size,
            (dy == 1 and py < ky, dx == 1 and px < kx),
        )
    for (ky, dy), (kx, dx) in _paired(list(product((1, 2, 3, 4, 6), (1, 2)))):
        for padding in ("same", "valid"):
            yield Use(
                aten.conv2d.padding,
                (IMAGE, _weight(4, CHANNELS, (ky, kx)), BIAS, [1, 1], padding, [dy, dx], 1),
                (13, 12),
                (dy == 1, dx == 1),
            )


def _transposed() -> Iterator[Use]:
    sets = list(product((1, 2, 3, 4), (1, 2, 3), (0, 1, 3), (0, 1, 2), (1, 2)))
    valid = [s for s in sets if s[3] < max(s[1], s[4]) and 6 * s[1] + s[4] * (s[0] - 1) > 2 * s[2]]
    for number, (y, x) in enumerate(_paired(valid)):
        groups = (1, 2)[number % 2]
        stride, padding, extra, dilation = ([y[i], x[i]] for i in (1, 2, 3, 4))
        weight = _weight(CHANNELS, 4 // groups, (y[0], x[0]))
        bias = BIAS if number % 3 else None
        yield Use(
            aten.conv_transpose2d.input,
            (IMAGE, weight, bias, stride, padding, extra, groups, dilation),
            (7, 8),
            (y[4] == 1, x[4] == 1),
            exact_inside=False,
        )


def _max_pools() -> Iterator[Use]:
    sets = list(product((1, 2, 3, 4), (1, 2, 3), (0, 1, 2), (1, 2)))
    valid = [s for s in sets if s[2] <= s[0] // 2]
    for y, x in _paired(valid):
        kernel, stride, padding, dilation = ([y[i], x[i]] for i in range(4))
        for ceil_mode in (False, True):
            yield Use(
                aten.max_pool2d.default,
                (IMAGE, kernel, stride, padding, dilation, ceil_mode),
                (13, 16),
                (y[3] == 1, x[3] == 1),
            )
    yield Use(aten.max_pool2d.default, (IMAGE, [3, 2]), (13, 16), (True, True))


def _average_pools() -> Iterator[Use]:
    sets = list(product((1, 2, 3, 4), (1, 2, 3), (0, 1, 2)))
    valid = [s for s in sets if s[2] <= s[0] // 2]
    for y, x in _paired(valid):
        kernel, stride, padding = ([y[i], x[i]] for i in range(3))
        for ceil_mode, counted, divisor in product((False, True), (False, True), (None, 3)):
            yield Use(
                aten.avg_pool2d.default,
                (IMAGE, kernel, stride, padding, ceil_mode, counted, divisor),
                (13, 14),
                (True, True),
            )


def _resizes(op: Any, aligned: tuple[bool, ...]) -> Iterator[Use]:
    for corners in aligned or (False,):
        flags = (corners,) if aligned else ()
        for grid, size in product(
            ((13, 10), (1, 7)), ([26, 20], [29, 7], [13, 31], [39, 40], [1, 1])
        ):
            yield Use(op, (IMAGE, size, *flags, None), grid, (True, True))
        for factors in ([2.0, 2.0], [3.0, 1.5], [4.0, 2.5], [1.0, 0.5], [1.3, 8.0]):
            yield Use(op, (IMAGE, None, *flags, factors), (13, 10), (True, True))


def _pads() -> Iterator[Use]:
    for amounts in ([1, 2, 3, 4], [0, 0, 5, 0], [-2, 3, 4, -1], [-1, -3], [20, 30, 0, 40]):
        yield Use(aten.pad.default, (IMAGE, amounts, "constant", 0.5), (11, 12), (True, True))
    yield Use(aten.constant_pad_nd.default, (IMAGE, [2, 1, 0, 3]), (11, 12), (True, True))


def _border_pads() -> Iterator[Use]:
    for amounts in ([1, 2, 3, 4], [0, 0, 5, 0], [0, 7, 0, 0], [9, 9, 9, 9], [11, 11, 10, 10]):
        for mode in ("reflect", "replicate"):
            yield Use(aten.pad.default, (IMAGE, amounts, mode), (11, 12), (True, True))
    yield Use(aten.reflection_pad2d.default, (IMAGE, [1, 2, 3, 4]), (11, 12), (True, True))
    yield Use(aten.replication_pad2d.default, (IMAGE, [13, 2, 3, 40]), (11, 12), (True, True))


def _crops() -> Iterator[Use]:
    cuts = [(2, 1, 9, 1), (3, 0, -3, 1), (2, 0, 9, 3), (3, 2, 10_000, 2), (-1, -7, None, 1)]
    for cut in cuts:
        yield Use(aten.slice.Tensor, (IMAGE, *cut), (11, 12), (True, True))


def _pixelwise(target: Any, *arguments: Any) -> Use:
    return Use(target, (IMAGE, *arguments), (9, 7), (True, True))


SCALE = torch.tensor([0.5, -1.0, 2.0, 3.0], dtype=torch.float64)
VARIANCE = torch.tensor([0.5, 1.5, 4.0, 0.1], dtype=torch.float64)

USES: dict[type[Any], tuple[Use, ...]] = {
    Convolution: tuple(_convolutions()),
    TransposedConvolution: tuple(_transposed()),
    MaxPool: tuple(_max_pools()),
    AveragePool: tuple(_average_pools()),
    Nearest: (
        *_resizes(aten.upsample_nearest2d.vec, ()),
        *_resizes(aten._upsample_nearest_exact2d.vec, ()),
    ),
    Bilinear: tuple(_resizes(aten.upsample_bilinear2d.vec, (False, True))),
    ConstantPad: tuple(_pads()),
    BorderPad: tuple(_border_pads()),
    Crop: tuple(_crops()),
    ChannelSlice: (_pixelwise(aten.slice.Tensor, 1, 1, 4, 2),),
    PixelShuffle: (_pixelwise(aten.pixel_shuffle.default, 2),),
    PixelUnshuffle: (
        Use(aten.pixel_unshuffle.default, (IMAGE, 2), (8, 10), (True, True)),
        Use(aten.pixel_unshuffle.default, (IMAGE, 3), (9, 12), (True, True)),
    ),
    ChannelView: (
        _pixelwise(aten.unflatten.int, 1, [2, 2]),
        _pixelwise(aten.unsqueeze.default, 1),
    ),
    Permute: (
        _pixelwise(aten.permute.default, [0, 2, 3, 1]),
        _pixelwise(aten.transpose.int, 1, 3),
        _pixelwise(aten.transpose.int, -1, -2),
    ),
    Concatenation: (Use(aten.cat.default, ([IMAGE, IMAGE], 1), (9, 7), (True, True)),),
    ScaleShift: (
        _pixelwise(aten.batch_norm.default, SCALE, BIAS, BIAS, VARIANCE, False, 0.1, 1e-5, False),
        _pixelwise(aten.instance_norm.default, None, None, BIAS, VARIANCE, False, 0.1, 1e-5, False),
    ),
    Cast: (_pixelwise(aten.to.dtype, torch.float32),),
    Pointwise: (
        _pixelwise(aten.relu.default),
        _pixelwise(aten.add.Tensor, IMAGE),
        _pixelwise(aten.mul.Tensor, SCALE.view(-1, 1, 1)),
        _pixelwise(aten.softmax.int, 1),
        _pixelwise(aten.mean.dim, [1], True),
        _pixelwise(aten.glu.default, 1),
        _pixelwise(aten.channel_shuffle.default, 2),
        _pixelwise(aten.prelu.default, SCALE),
    ),
}
"""By rule class."""
