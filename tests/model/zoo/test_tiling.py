"""Every dense system of the zoo: the sweep against the module, tile by tile.

The geometry is the published one, the widths are a sixteenth.  Bounds are those of rounding: in
double 1e-12 of the largest value, in float32 twice what the module itself loses in float32 and
1e-6 of the largest value.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

import gigafcn
from gigafcn.model.zoo import ZOO, build
from gigafcn.model.zoo.unpooling import BedOfNails, Nearest, PoolAndUnpool
from tests.sweeping import placed, random_image, swept, tiles, traced, whole

DENSE = [name for name, system in ZOO.items() if system.dense]

SIZES = {
    "vgg16_dense": (320, 352),
    "unet": (284, 300),
    "unet_same": (144, 176),
    "deconvnet": (256, 288),
    "deeplab_largefov": (136, 152),
    "fcn8s_same": (160, 192),
    "segnet": (160, 192),
    "fcn32s": (72, 88),
    "fcn32s_fixed": (72, 88),
    "fcn16s": (72, 88),
    "fcn8s": (72, 88),
}
"""Images (y, x) px that the nets take as they are, without a multiple of tile, strip or block."""


@cache
def net(name: str) -> nn.Module:
    return build(f"{name}/16")


@cache
def footprint(name: str) -> gigafcn.Footprint:
    return gigafcn.analyze(net(name), channels=ZOO[name].channels)


@pytest.mark.parametrize("name", DENSE)
def test_a_dense_system_is_local_with_the_period_that_the_zoo_states(name: str) -> None:
    found = footprint(name)
    assert found.blockers == ()
    assert found.period == (ZOO[name].period,) * 2


@pytest.mark.parametrize("name", DENSE)
def test_tiles_equal_the_whole_up_to_rounding(name: str) -> None:
    system, module = ZOO[name], net(name)
    size = SIZES.get(name, (136, 168))
    graph = traced(module, size, system.channels)
    rows, columns = graph.result.grid
    tile = (max(1, rows // 3 - 1), max(1, columns // 3 - 1))
    strip, block = max(1, tile[0] * 3 // 5), max(1, tile[1] * 3 // 7)
    assert len(tiles(graph.result.grid, tile)) >= 9
    image = random_image(size, torch.float64, system.channels)
    truth = whole(module, image)
    largest = float(truth.abs().max())
    in_double = swept(placed(graph, torch.float64), image, tile, strip=strip, block=block)
    assert largest > 0
    assert truth.std() > 1e-3 * largest
    assert (in_double - truth).abs().max() <= 1e-12 * largest
    single = image.float()
    lost = float((whole(module, single).double() - truth).abs().max())
    in_single = swept(placed(graph, torch.float32), single, tile, strip=strip, block=block).double()
    assert (in_single - truth).abs().max() <= 2 * lost + 1e-6 * largest


UNPOOLINGS = {
    "max": PoolAndUnpool(nn.Conv2d(3, 3, 3, padding=1)),
    "nearest": nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 3, 3, padding=1), Nearest()),
    "nails": nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 3, 3, padding=1), BedOfNails(3)),
}


@pytest.mark.parametrize("name", UNPOOLINGS)
def test_unpooling_across_tiles_is_right_to_the_bit(name: str) -> None:
    net = UNPOOLINGS[name].double().eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(-9, 10, (1, 3, 46, 58), generator=generator).double()
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.copy_(torch.randint(-2, 3, layer.weight.shape, generator=generator))
                nn.init.ones_(layer.bias)  # type: ignore[arg-type]
    # Odd tiles, strips and blocks cut through the windows of the pool.
    graph = placed(traced(net, (46, 58)), torch.float64)
    assert torch.equal(swept(graph, image, (13, 17), strip=5, block=7), whole(net, image))
