"""Uses of every op that has a rule, each as torch itself runs it and as the rule sees it.

``USES`` lists, per rule class, many parameter sets: kernel, stride, padding (also "same"),
dilation, output padding, ceil_mode, count_include_pad, odd sizes.  Rows and columns get different
parameters, so that an axis mixed up is found.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from gigafcn.graph.rules.regroup import (
    PixelShuffle,
    PixelUnshuffle,
    PixelView,
    RepeatPixels,
    Windows,
)
from gigafcn.graph.rules.resample import Bilinear, Nearest
from gigafcn.graph.rules.shape import BorderPad, ConstantPad, Crop
from gigafcn.graph.rules.taps import TapResize
from gigafcn.graph.rules.unpool import MaxPoolIndices, MaxUnpool
from gigafcn.graph.rules.window import AveragePool, Convolution, MaxPool, TransposedConvolution
from tests.graph.pixelwise_uses import BIAS, PIXELWISE, pixelwise
from tests.graph.use import CHANNELS, IMAGE, UnpoolUse, Use

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

aten = torch.ops.aten


def _paired(sets: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Each parameter set for the rows, with another one for the columns."""
    return zip(sets, [*sets[len(sets) // 3 :], *sets[: len(sets) // 3]], strict=True)


def _weight(c_out: int, c_in: int, kernel: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(c_out + 7 * kernel[0] + kernel[1])
    return torch.randn(c_out, c_in, *kernel, generator=generator, dtype=torch.float64)


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
    yield Use(
        aten.pad.default,
        (IMAGE, [0, 0, 3, 1, -1, 2]),
        (11, 12),
        (True, True),
        before=lambda image: image.permute(0, 2, 3, 1),
        axes=("b", "y", "x", "c"),
    )


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


def _pool_indices() -> Iterator[Use]:
    sets = list(product((2, 3, 4), (1, 2, 3), (0, 1), (1, 2)))
    for y, x in _paired(sets):
        kernel, stride, padding, dilation = ([y[i], x[i]] for i in range(4))
        for ceil_mode in (False, True):
            yield Use(
                aten.max_pool2d_with_indices.default,
                (IMAGE, kernel, stride, padding, dilation, ceil_mode),
                (13, 16),
                (y[3] == 1, x[3] == 1),
                index=1,
            )


def _unpools() -> Iterator[Use]:
    for kernel, stride, padding, grid, size in (
        ((2, 2), (2, 2), (0, 0), (5, 6), (11, 12)),
        ((2, 2), (2, 2), (0, 0), (5, 6), (10, 13)),
        ((3, 2), (3, 2), (0, 0), (4, 5), (12, 10)),
        ((2, 3), (3, 4), (0, 1), (4, 3), (13, 11)),
        ((2, 3), (2, 3), (1, 1), (5, 4), (9, 11)),
    ):
        yield UnpoolUse(
            aten.max_unpool2d.default, (kernel, stride, padding, size), grid, (True, True)
        )


def _tap_resizes() -> Iterator[Use]:
    ops = (aten.upsample_bicubic2d, aten._upsample_bicubic2d_aa, aten._upsample_bilinear2d_aa)
    for op, corners in product(ops, (False, True)):
        for size in ([26, 20], [29, 7], [13, 31], [5, 3], [1, 1]):
            yield Use(op.vec, (IMAGE, size, corners, None), (13, 10), *_claims(op))
        for factors in ([2.0, 2.0], [3.0, 1.5], [4.0, 0.3], [1.0, 0.5]):
            # Factors whose inverse is rounded may put a coordinate on either side of a pixel.
            exact, inside = _claims(op)
            claims = exact if factors[0] != 3.0 else (False, False), inside and factors[0] != 3.0
            yield Use(op.vec, (IMAGE, None, corners, factors), (13, 10), *claims)


def _claims(op: Any) -> tuple[tuple[bool, bool], bool]:
    """What is claimed of a need: antialiased filters may end in taps of no weight."""
    exact = op is aten.upsample_bicubic2d
    return (exact, exact), exact


def _pixel_views() -> Iterator[Use]:
    for shape in (
        [-1, 4, 8, 2, 12, 3],
        [-1, 4, 16, 12, 3],
        [-1, 4, 8, 2, 36],
        [-1, 4, 4, 2, 2, 36],
    ):
        yield Use(aten.view.default, (IMAGE, shape), (16, 36), (True, True))
    merges: list[tuple[list[int], list[int], list[int], tuple[str, ...]]] = [
        ([-1, 1, 2, 2, 8, 11], [0, 1, 4, 2, 5, 3], [-1, 1, 16, 22], ("b", "c", *"ycxc")),
        ([-1, 1, 4, 8, 11], [0, 1, 3, 2, 4], [-1, 1, 32, 11], ("b", "c", *"ycx")),
        ([-1, 2, 2, 8, 11], [0, 1, 3, 4, 2], [-1, 2, 8, 22], ("b", "c", *"yxc")),
    ]
    for shape, order, merged, axes in merges:

        def before(image: Tensor, shape: list[int] = shape, order: list[int] = order) -> Tensor:
            return image.view(shape).permute(order)

        yield Use(
            aten.reshape.default, (IMAGE, merged), (8, 11), (True, True), before=before, axes=axes
        )


def _windows() -> Iterator[Use]:
    for (axis, grid), size, step in product(((2, (13, 5)), (3, (5, 14))), (1, 2, 4), (1, 2, 3, 5)):
        yield Use(aten.unfold.default, (IMAGE, axis, size, step), grid, (True, True))
    yield Use(
        aten.unfold.default,
        (IMAGE, 1, 4, 3),
        (13, 11),
        (True, True),
        before=lambda image: image.permute(0, 2, 3, 1),
        axes=("b", "y", "x", "c"),
    )


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
    TapResize: tuple(_tap_resizes()),
    MaxPoolIndices: tuple(_pool_indices()),
    MaxUnpool: tuple(_unpools()),
    PixelShuffle: (pixelwise(aten.pixel_shuffle.default, 2),),
    PixelUnshuffle: (
        Use(aten.pixel_unshuffle.default, (IMAGE, 2), (8, 10), (True, True)),
        Use(aten.pixel_unshuffle.default, (IMAGE, 3), (9, 12), (True, True)),
    ),
    PixelView: tuple(_pixel_views()),
    RepeatPixels: (
        pixelwise(aten.repeat_interleave.self_int, 3, 2),
        pixelwise(aten.repeat_interleave.self_int, 2, -1),
    ),
    Windows: tuple(_windows()),
    **PIXELWISE,
}
"""By rule class."""
