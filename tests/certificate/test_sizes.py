"""A graph brought to a size by arithmetic is the graph exported at that size."""

from __future__ import annotations

import pytest
from torch import nn

from gigafcn.analysis import analyze
from gigafcn.certificate.fingerprint import graph_fingerprint
from gigafcn.certificate.sizes import SizedGraphs
from gigafcn.geometry import Span
from tests.nets import NETS, randomised
from tests.run.small_nets import ValidUNet, double, random_numbers

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

MODELS = {
    "aligned": lambda: randomised(NETS["aligned"]()),
    "monai_unet": lambda: randomised(NETS["monai_unet"]()),
    "valid": lambda: random_numbers(ValidUNet(depth=2)),
    "double": lambda: random_numbers(double()),
}


@pytest.mark.parametrize("name", MODELS)
def test_grids_and_needs_are_those_of_an_export(name: str) -> None:
    sizes = SizedGraphs(analyze(MODELS[name]()))
    size = sizes.admissible((90, 50))
    derived = sizes.at(size)
    assert sizes.is_derived(size)
    exported = sizes.exported(size)
    assert not sizes.is_derived(size)
    assert [node.grid for node in derived.nodes] == [node.grid for node in exported.nodes]
    for axis in (0, 1):
        for start in range(0, exported.result.grid[axis], 7):
            tile = Span(start, start + 5).clip(exported.result.grid[axis])
            assert derived.need(tile, axis) == exported.need(tile, axis)


@pytest.mark.parametrize("name", MODELS)
def test_the_fingerprint_does_not_depend_on_the_size(name: str) -> None:
    sizes = SizedGraphs(analyze(MODELS[name]()))
    sizes.exported(size := sizes.admissible((90, 50)))
    assert graph_fingerprint(sizes.at(size)) == graph_fingerprint(sizes.own)


def test_the_fingerprint_depends_on_weights_and_on_what_is_done_with_them() -> None:
    one, other = random_numbers(double()), random_numbers(double(), seed=1)
    prints = [graph_fingerprint(SizedGraphs(analyze(net)).own) for net in (one, other)]
    assert isinstance(one, nn.Sequential)
    assert isinstance(one[1], nn.ConvTranspose2d)
    one[1].padding, one[1].stride = (2, 2), (4, 4)
    prints.append(graph_fingerprint(SizedGraphs(analyze(one)).own))
    assert len(set(prints)) == 3


@pytest.mark.parametrize("name", MODELS)
def test_the_smallest_admissible_size_leaves_every_tensor_a_px(name: str) -> None:
    sizes = SizedGraphs(analyze(MODELS[name]()))
    smallest = sizes.exported(sizes.admissible((1, 1)))
    assert all(min(node.grid) >= 1 for node in smallest.nodes)
