"""Views that regroup channels are followed; views that mix pixels are refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gigafcn.analysis import analyze
from gigafcn.engine.sweep import Sweep
from gigafcn.geometry import Box
from gigafcn.graph.trace import trace
from gigafcn.plan.sweep_plan import plan_sweep


class Shuffled(nn.Module):
    """Channel shuffle spelled as ShuffleNet does, then sub-pixel upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, y, x) to (b, 3, 2y, 2x)."""
        x = self.first(x)
        b, c, height, width = x.shape
        x = x.view(b, 2, c // 2, height, width).transpose(1, 2).reshape(b, c, height, width)
        return nn.functional.pixel_shuffle(self.last(x), 2)


class Flattened(nn.Module):
    """Flattens pixels and takes them apart again, into ``shape`` (y, x) or as they were."""

    def __init__(self, shape: tuple[int, int] | None) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) to (b, c, y', x'), through a flat view."""
        return (x.flatten(2) * 2).view(*x.shape[:2], *(self.shape or x.shape[2:]))


def test_a_channel_shuffle_with_baked_sizes_is_swept_exactly() -> None:
    net = Shuffled().double().eval()
    graph = trace(net, 3, (37, 30)).graph
    assert graph is not None
    image = torch.randn(1, 3, 37, 30, dtype=torch.float64)
    tile = Box(5, 9, 61, 60)
    result = torch.full((1, 3, *tile.shape), float("nan"), dtype=torch.float64)

    def write(box: Box, pixels: Tensor) -> None:
        rows, columns = box.relative_to(tile)
        result[:, :, rows, columns] = pixels

    plan = plan_sweep(graph.nodes, graph.output, tile, strip=6, block=14, period=(2, 2))
    with torch.inference_mode():
        Sweep(graph, plan).run(lambda b: image[:, :, b.y0 : b.y1, b.x0 : b.x1], write)
        whole = net(image)[:, :, 5:61, 9:60]
    # Convolutions on other shapes may add in another order: a few ulps.
    assert torch.allclose(result, whole, rtol=0, atol=1e-13)


def test_sub_pixel_upsampling_has_a_stride_below_one() -> None:
    found = analyze(Shuffled())
    assert [str(s) for s in found.stride] == ["1/2", "1/2"]
    assert found.halo == (2, 2, 2, 2)


def test_pixels_flattened_and_taken_apart_into_another_grid_are_refused_by_name() -> None:
    (blocker, *_) = analyze(Flattened((128, 512))).blockers
    assert "and not back to [256, 256] px" in blocker.reason


def test_pixels_flattened_and_taken_apart_again_stay_where_they_are() -> None:
    assert analyze(Flattened(None)).halo == (0, 0, 0, 0)


@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_unshuffle_sets_the_period(factor: int) -> None:
    assert analyze(nn.PixelUnshuffle(factor)).period == (factor, factor)
