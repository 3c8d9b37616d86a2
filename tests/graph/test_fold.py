"""Folding norms into convolutions: same function, fewer nodes, only where it is allowed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gigafcn.graph.fold import fold_norms
from tests.nets import randomised
from tests.sweeping import placed, random_image, swept, traced, whole

SIZE = (20, 27)

FOLDABLE = {
    "convolution": nn.Conv2d(3, 6, 3, 2, 1, bias=False),
    "convolution with bias": nn.Conv2d(3, 6, (3, 2), padding="same"),
    "grouped convolution": nn.Conv2d(3, 6, 3, groups=3),
    "transposed convolution": nn.ConvTranspose2d(3, 6, 3, 2, 1, output_padding=1),
    "grouped transposed convolution": nn.ConvTranspose2d(3, 6, 4, 3, groups=3, bias=False),
    "dilated transposed convolution": nn.ConvTranspose2d(3, 6, 3, 2, 2, groups=3, dilation=2),
}
# torch says once that even kernels may need a padded copy; that costs memory, not exactness.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def check_equal(module: nn.Module) -> None:
    image = random_image(SIZE, torch.float64)
    expected = whole(module, image)
    local = traced(module, SIZE)
    for fold in (True, False):
        graph = placed(local, torch.float64, fold=fold)
        found = swept(graph, image, (9, 11), strip=4, block=5)
        # Rounding in double: a few dozen products, each scaled before or after its sum.
        assert (found - expected).abs().max() <= 1e-13 * expected.abs().max()


@pytest.mark.parametrize("name", FOLDABLE)
def test_a_folded_norm_says_the_same(name: str) -> None:
    module = randomised(nn.Sequential(FOLDABLE[name], nn.BatchNorm2d(6)))
    assert len(fold_norms(traced(module, SIZE)).nodes) == 2
    check_equal(module)


def test_a_norm_without_weights_folds_too() -> None:
    module = randomised(nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, affine=False)))
    assert len(fold_norms(traced(module, SIZE)).nodes) == 2
    check_equal(module)


def test_an_instance_norm_with_running_statistics_folds_too() -> None:
    norm = nn.InstanceNorm2d(6, affine=True, track_running_stats=True)
    module = randomised(nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.ReLU()))
    assert len(fold_norms(traced(module, SIZE)).nodes) == 3
    check_equal(module)


class ReadTwice(nn.Module):
    """A convolution that is read by a norm and by an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        result: Tensor = self.norm(x) + x
        return result


def test_a_convolution_that_others_read_is_not_folded() -> None:
    module = randomised(ReadTwice())
    graph = traced(module, SIZE)
    assert len(fold_norms(graph).nodes) == len(graph.nodes)
    check_equal(module)


def test_only_the_first_of_two_norms_is_folded() -> None:
    module = randomised(nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.BatchNorm2d(6)))
    assert len(fold_norms(traced(module, SIZE)).nodes) == 3
    check_equal(module)


def test_a_norm_of_anything_but_a_convolution_stays() -> None:
    module = randomised(nn.Sequential(nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.BatchNorm2d(3)))
    graph = traced(module, SIZE)
    assert len(fold_norms(graph).nodes) == len(graph.nodes)
    check_equal(module)


def test_folding_does_not_change_the_graph_it_was_given() -> None:
    module = randomised(nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)))
    graph = traced(module, SIZE)
    before = [node.name for node in graph.nodes]
    fold_norms(graph)
    assert [node.name for node in graph.nodes] == before
    assert torch.equal(graph.nodes[1].rule.weight, module[0].weight)  # type: ignore[union-attr,index]
