"""Random nets with exact arithmetic: the sweep equals the whole run bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from tests.integer_nets import exact_nets
from tests.sweeping import placed, swept, traced, whole

if TYPE_CHECKING:
    from torch import nn

# torch says once that even kernels may need a padded copy; that costs memory, not exactness.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

MANTISSA = {torch.float32: 24, torch.float64: 53}


def cuts(draw: Any, size: int) -> tuple[int, int]:
    """A tile of which at least three fit, and a step that cuts it into at most four."""
    tile = draw(st.integers(-(-size // 5), -(-size // 3)))
    return tile, draw(st.integers(-(-tile // 4), tile + 1))


def check_bit_for_bit(module: nn.Module, image: torch.Tensor, data: Any) -> None:
    graph = traced(module.float(), (image.shape[2], image.shape[3]), image.shape[1])
    tile_y, strip = cuts(data.draw, graph.result.grid[0])
    tile_x, block = cuts(data.draw, graph.result.grid[1])
    expected = whole(module, image)
    fold, pack = data.draw(st.booleans()), data.draw(st.booleans())
    ready = placed(graph, image.dtype, fold=fold, pack=pack)
    found = swept(ready, image, (tile_y, tile_x), strip=strip, block=block)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", MANTISSA, ids=str)
@settings(max_examples=30, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(data=st.data())
def test_a_sweep_equals_the_whole_run_bit_for_bit(dtype: torch.dtype, data: Any) -> None:
    net = data.draw(exact_nets(MANTISSA[dtype]))
    assume(len(net.module.layers) > 1)
    assert net.bits < MANTISSA[dtype]
    assert whole(net.module, net.image).abs().max() < 2.0 ** MANTISSA[dtype]
    check_bit_for_bit(net.module, net.image.to(dtype), data)
