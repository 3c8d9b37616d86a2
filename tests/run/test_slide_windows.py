"""Windows that a model is tried on are what a run would show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gigafcn
from gigafcn.engine.pixels import to_input
from gigafcn.errors import SlideError
from gigafcn.geometry import Box
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from gigafcn.run.slide_windows import slide_windows
from tests.run.whole import small_image

NET = nn.Conv2d(3, 2, 3, padding=1).eval()


@pytest.mark.parametrize("resolution", [{}, {"mpp": 0.5, "slide_mpp": 0.25}, {"mpp": 0.4}])
def test_they_hold_what_the_run_reads_there(resolution: dict[str, Any]) -> None:
    options = Options(**{"slide_mpp": 0.263} | resolution)
    request = prepare(small_image(300, 260), NET, options)
    for window in slide_windows(request.slide, request.model, options, (0, 1, 2), 2)((64, 65)):
        assert window.position is not None
        y, x = window.position
        stored = request.image.looker()(Box(y, x, y + 64, x + 65)).pixels
        seen = to_input(stored, request.plan.scaling, torch.device("cpu"), torch.float64)
        torch.testing.assert_close(window.pixels, seen, rtol=0, atol=0)


def test_beyond_a_small_slide_its_edge_is_repeated() -> None:
    request = prepare(small_image(20, 30), NET, Options())
    (window,) = slide_windows(request.slide, request.model, Options(), (0, 1, 2), 1)((32, 33))
    assert window.pixels.shape == (1, 3, 32, 33)
    assert torch.equal(
        window.pixels[..., 20:, :], window.pixels[..., 19:20, :].expand(-1, -1, 12, -1)
    )


def test_a_slide_of_unknown_px_size_needs_it_told() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(SlideError, match="--slide-mpp"):
        gigafcn.verify(NET, pixels, mpp=0.5)
    assert gigafcn.verify(NET, pixels, mpp=0.5, slide_mpp=0.25).holds
