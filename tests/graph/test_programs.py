"""A model is analysed at the size of the image that it is to map, so one trace serves both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from torch import Tensor, nn
from torch.nn import functional

import gigafcn
from gigafcn.analysis import analyze, analyze_at
from gigafcn.graph import programs
from gigafcn.graph import trace as tracing
from gigafcn.graph.programs import Programs, likely_padded
from gigafcn.run.known_model import KnownModel
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from tests.nets import NETS
from tests.run.small_nets import Skip, random_numbers

if TYPE_CHECKING:
    from pathlib import Path

Sizes = list[tuple[int, int]]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Sizes:
    """Sizes (y, x) that modules are traced at."""
    sizes: Sizes = []
    right = tracing.traced_program

    def counted(module: nn.Module, channels: int, size: tuple[int, int]) -> object:
        sizes.append(size)
        return right(module, channels, size)

    monkeypatch.setattr(programs, "traced_program", counted)
    return sizes


@pytest.mark.parametrize("name", NETS)
def test_the_size_of_an_image_shows_what_a_small_one_shows(name: str) -> None:
    module = NETS[name]()
    small = analyze(module)
    large = analyze_at(Programs(module, 3), likely_padded((3000, 4711)))
    for found in (small, large):
        assert found.local
    assert large.halo == small.halo
    assert large.halo_aligned == small.halo_aligned
    assert (large.stride, large.period) == (small.stride, small.period)
    assert (large.lost, large.shift_invariant) == (small.lost, small.shift_invariant)


def test_a_run_traces_its_model_at_its_own_size_and_two_others_once_per_model(
    traced: Sizes,
) -> None:
    known = KnownModel(random_numbers(Skip()))
    prepare(np.zeros((512, 1504, 3), np.uint8), known, Options()).slide.close()
    assert traced == [(512, 1504), (288, 384), (672, 480)]
    prepare(np.zeros((320, 640, 3), np.uint8), known, Options()).slide.close()
    assert traced[3:] == [(320, 640)]


class Sixty(nn.Module):
    """Takes images of multiples of 60 px alone."""

    def forward(self, x: Tensor) -> Tensor:
        assert not any(n % 60 for n in x.shape[2:])
        return functional.interpolate(functional.avg_pool2d(x, 60), scale_factor=60)


def test_a_model_that_wants_other_sizes_is_traced_at_these(traced: Sizes, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (500, 500, 3), np.uint8)
    result = gigafcn.infer(image, Sixty(), tmp_path / "map.zarr", activation="none")
    assert result.shape == (3, 500, 500)
    assert traced[0] == (512, 512)
    assert traced[-1] == (540, 540)


def test_windows_that_are_parts_of_a_large_image_are_still_seen() -> None:
    class Quarters(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sides = [n // 4 for n in x.shape[2:]]
            return functional.interpolate(functional.avg_pool2d(x, sides), size=x.shape[2:])

    (blocker, *_) = analyze_at(Programs(Quarters(), 3), likely_padded((3000, 4711))).blockers
    assert "its kernel is (752, 1184)" in blocker.reason
