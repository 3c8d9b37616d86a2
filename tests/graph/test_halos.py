"""A halo holds at every place of an image, and is needed at one."""

from __future__ import annotations

import time
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from gigafcn.analysis import Footprint, analyze
from gigafcn.geometry import Box
from gigafcn.graph.reach import far_from_borders
from gigafcn.graph.trace import trace
from tests.nets import NETS, randomised

if TYPE_CHECKING:
    from gigafcn.graph.model_graph import ModelGraph
    from gigafcn.graph.reach import Halo


def margins(graph: ModelGraph, found: Footprint) -> Halo:
    """The most that any output px of an image reaches beyond its cell, px by px."""
    sides: list[int] = []
    for axis in (0, 1):
        stride, before, after = found.stride[axis], [], []
        for j in range(graph.result.grid[axis]):
            need = graph.need_box(Box(j, j, j + 1, j + 1)).spans[axis]
            if not need.is_empty:
                before.append(floor(j * stride) - need.start)
                after.append(need.stop - ceil((j + 1) * stride))
        sides += [max(before, default=0), max(after, default=0)]
    return sides[0], sides[1], sides[2], sides[3]


def at(found: Footprint, periods: tuple[int, int]) -> ModelGraph:
    """A model's graph for an image of so many periods (y, x)."""
    size = (periods[0] * found.period[0], periods[1] * found.period[1])
    graph = trace(found.module, 3, size).graph
    assert graph is not None
    return graph


class Gaps(nn.Module):
    """A transposed convolution of kernel 1 and stride 2: three of four px read nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)
        self.up = nn.ConvTranspose2d(2, 2, 1, stride=2, output_padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.conv(x))  # type: ignore[no-any-return]


def test_px_that_read_nothing_have_no_halo() -> None:
    found = analyze(Gaps())
    # Px 2 i reads rows i - 1 to i + 1 of the image and has the cell of row i.
    assert found.halo == (1, 1, 1, 1)
    assert found.halo_aligned == (1, 1, 1, 1)
    assert margins(at(found, (61, 70)), found) == found.halo


def test_aligned_corners_need_more_away_from_the_middle() -> None:
    class Aligned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            pooled = functional.avg_pool2d(x, 8)
            return functional.interpolate(
                pooled, scale_factor=8, mode="bilinear", align_corners=True
            )

    found = analyze(Aligned())
    # Row 0 reads the first two means, 16 rows.  Positions fall back by up to 7/8 of a mean towards
    # the end, where row 8 i + 6 reads mean i - 1, which begins 14 rows above.
    assert found.halo == (14, 15, 14, 15)
    for periods in ((33, 20), (64, 47)):
        assert margins(at(found, periods), found) == found.halo


def test_mirrored_borders_may_need_more_than_the_middle() -> None:
    class Above(nn.Module):
        """Each px is the sum of the five rows that end with its own; those above are mirrored."""

        def forward(self, x: Tensor) -> Tensor:
            padded = functional.pad(x, (0, 0, 4, 0), mode="reflect")
            return functional.conv2d(padded, torch.ones(1, 3, 5, 1))

    found = analyze(Above())
    # The first row reads the first five.
    assert found.halo == (4, 4, 0, 0)
    assert margins(at(found, (61, 40)), found) == found.halo


@pytest.mark.parametrize("name", [name for name in NETS if name != "unet_r18"])
@pytest.mark.parametrize("length", [261, 512])
def test_the_halo_of_common_nets_is_the_most_of_all_places(name: str, length: int) -> None:
    found = analyze(randomised(NETS[name]()))
    graph = at(found, (-(-length // found.period[0]), -(-331 // found.period[1])))
    assert margins(graph, found) == found.halo


def layer(draw: Any) -> nn.Module:
    """A layer that keeps the size, or changes it by a whole or half number."""
    kind = draw(st.sampled_from(["conv", "conv", "down", "resize", "resize", "transposed"]))
    if kind == "conv":
        dilation, kernel = draw(st.integers(1, 3)), draw(st.sampled_from([1, 3, 5]))
        mode = draw(st.sampled_from(["zeros", "reflect", "replicate"]))
        reach = dilation * (kernel - 1) // 2
        return nn.Conv2d(3, 3, kernel, 1, reach, dilation, padding_mode=mode)
    if kind == "down":
        return nn.MaxPool2d(draw(st.sampled_from([2, 3, 4])), draw(st.sampled_from([2, 3])), 1)
    if kind == "transposed":
        stride = draw(st.sampled_from([2, 3]))
        return nn.ConvTranspose2d(3, 3, draw(st.integers(1, 4)), stride, output_padding=1)
    factor = draw(st.sampled_from([2.0, 3.0, 0.5, 1.5]))
    mode = draw(st.sampled_from(["nearest", "bilinear", "bicubic"]))
    aligned = None if mode == "nearest" else draw(st.booleans())
    return nn.Upsample(scale_factor=factor, mode=mode, align_corners=aligned)


@st.composite
def nets(draw: Any) -> nn.Module:
    return nn.Sequential(*(layer(draw) for _ in range(draw(st.integers(1, 4))))).eval()


@settings(max_examples=25, deadline=None)
@given(net=nets(), more=st.integers(0, 3))
def test_the_halo_of_random_nets_holds_at_every_place(net: nn.Module, more: int) -> None:
    found = analyze(net)
    assert found.graph is not None
    far = far_from_borders(found.graph)
    assert margins(far, found) == found.halo
    size = [
        n // p + more + axis for axis, (n, p) in enumerate(zip(far.size, found.period, strict=True))
    ]
    graph = at(found, (size[0], size[1]))
    assert all(one <= most for one, most in zip(margins(graph, found), found.halo, strict=True))


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (100, 3, 101, 4), (263, 331, 264, 332)])
def test_a_footprints_own_needs_lie_within_its_halo(box: tuple[int, int, int, int]) -> None:
    found = analyze(randomised(NETS["border"]()))
    need = found.need(box, (264, 332))
    top, bottom, left, right = found.halo
    assert Box(box[0] - top, box[1] - left, box[2] + bottom, box[3] + right).contains(need)


class Rounded(nn.Module):
    """Pools that round up, resized to the image: sizes repeat after no usable number of px."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.max_pool2d(self.conv(x), 3, 2, 1, ceil_mode=True)
        y = functional.max_pool2d(y, 3, 2, 1, ceil_mode=True)
        return functional.interpolate(y, size=x.shape[2:])


def test_the_halo_of_a_model_without_a_period_holds_at_odd_and_even_sizes() -> None:
    found = analyze(Rounded().eval())
    assert found.no_period
    for size in ((261, 331), (256, 256), (514, 643), (259, 388)):
        graph = trace(found.module, 3, size).graph
        assert graph is not None
        sides = margins(graph, found)
        assert all(one <= most for one, most in zip(sides, found.halo, strict=True))
        assert found.at(graph).halo == sides


def test_the_halo_of_a_large_image_takes_no_time() -> None:
    found = analyze(randomised(NETS["aligned"]()))
    graph = trace(found.module, 3, (100_004, 99_992)).graph
    assert graph is not None
    start = time.perf_counter()
    assert found.at(graph).halo == found.halo
    # 0.1 s on a quiet machine; position by position it took half a minute.
    assert time.perf_counter() - start < 5
