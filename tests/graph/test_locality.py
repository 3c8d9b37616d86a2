"""What grows with the image is no number of px, whatever it looks like at one size."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import gigafcn
from gigafcn.analysis import Footprint, analyze, analyze_at
from gigafcn.errors import ModelError, NonLocalError
from gigafcn.graph.programs import Programs, likely_padded
from tests.run.whole import scores_of, small_image
from tests.run.windowed import LOGITS

if TYPE_CHECKING:
    from pathlib import Path

Part = Callable[["Net", Tensor, Tensor], Tensor]


class Net(nn.Module):
    """A 3 x 3 convolution to two channels, then ``part(net, convolved, image)``."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.part = nn.Conv2d(3, 2, 3, padding=1), part
        self.table = nn.Parameter(torch.randn(1, 2, 14, 14))

    def forward(self, x: Tensor) -> Tensor:
        return self.part(self, self.conv(x), x)


def resized(y: Tensor, x: Tensor, mode: str = "nearest") -> Tensor:
    """To the image's size."""
    return functional.interpolate(y, size=x.shape[2:], mode=mode)


def averaged(y: Tensor, part: int) -> Tensor:
    """Means over a part of the image's height and width."""
    return functional.avg_pool2d(y, (y.shape[2] // part, y.shape[3] // part))


def blurred(y: Tensor, size: int) -> Tensor:
    weight = torch.full((2, 1, size, size), 1 / size**2)
    return functional.conv2d(y, weight, padding=size // 2, groups=2)


def smoothed(y: Tensor, width: float) -> Tensor:
    """By a kernel of seven px whose weights depend on a width."""
    weight = torch.exp(-((torch.arange(-3, 4.0) / width) ** 2)).expand(2, 1, 1, 7)
    return functional.conv2d(y, weight, padding=(0, 3), groups=2)


def dilated(net: Net, y: Tensor, step: int) -> Tensor:
    return functional.conv2d(y, net.conv.weight[:, :2], padding=step, dilation=step)


def halves_as_channels(y: Tensor, x: Tensor) -> Tensor:
    height, width = y.shape[2] // 2, y.shape[3] // 2
    parts = y.view(1, 2, 2, height, 2, width).permute(0, 1, 2, 4, 3, 5)
    return resized(parts.reshape(1, 8, height, width), x)


def middle(y: Tensor) -> Tensor:
    top, left = y.shape[2] // 4, y.shape[3] // 4
    return y[:, :, top:-top, left:-left]


GROWING: dict[str, Part] = {
    "thumbnail of 256 px": lambda n, y, x: resized(functional.interpolate(y, size=(256, 256)), x),
    "smooth thumbnail": lambda n, y, x: resized(
        functional.interpolate(y, size=(512, 512), mode="bilinear", antialias=True), x
    ),
    "thumbnail by a factor": lambda n, y, x: resized(
        functional.interpolate(y, scale_factor=256 / max(x.shape[2:])), x
    ),
    "thumbnail of the root": lambda n, y, x: resized(
        functional.interpolate(y, size=[int(s**0.5) for s in x.shape[2:]]), x
    ),
    "windows of a sixteenth": lambda n, y, x: resized(averaged(y, 16), x),
    "windows of a sixteenth along x": lambda n, y, x: resized(
        functional.avg_pool2d(y, (1, y.shape[3] // 16)), x
    ),
    "windows of the shorter side": lambda n, y, x: resized(
        functional.max_pool2d(y, min(x.shape[2:]) // 16), x
    ),
    "blur by a sixteenth": lambda n, y, x: blurred(y, 2 * (x.shape[2] // 32) + 1),
    "width of a blur": lambda n, y, x: smoothed(y, x.shape[2] / 100),
    "dilation by a sixteenth": lambda n, y, x: dilated(n, y, x.shape[2] // 16),
    "moved by an eighth": lambda n, y, x: functional.pad(
        y, (0, 0, x.shape[2] // 8, -(x.shape[2] // 8))
    ),
    "mirrored by an eighth": lambda n, y, x: functional.pad(y, [x.shape[2] // 8] * 4, "reflect"),
    "rolled by an eighth": lambda n, y, x: torch.roll(y, x.shape[2] // 8, 2),
    "halves as channels": lambda n, y, x: halves_as_channels(y, x),
    "halves joined": lambda n, y, x: resized(torch.cat(y.chunk(2, dim=2), 1), x),
    "a quarter beside the whole": lambda n, y, x: torch.cat(
        [functional.avg_pool2d(y, 2), y[:, :, : y.shape[2] // 2, : y.shape[3] // 2]], 1
    ),
    "the middle enlarged": lambda n, y, x: resized(middle(y), x),
    "the middle framed": lambda n, y, x: functional.pad(
        middle(y), [x.shape[3] // 4] * 2 + [x.shape[2] // 4] * 2
    ),
    "the last rows": lambda n, y, x: y[:, :, -16:],
    "every n-th row": lambda n, y, x: resized(y[:, :, :: x.shape[2] // 32], x),
    "grid over the image": lambda n, y, x: y + torch.linspace(0, 1, x.shape[3]),
    "table resized to the image": lambda n, y, x: y + resized(n.table, x, "bilinear"),
    "mean of a table": lambda n, y, x: y * resized(n.table, x, "bilinear").mean(),
    "divided by the height": lambda n, y, x: y / x.shape[2],
    "another op from 600 px on": lambda n, y, x: y if x.shape[2] < 600 else y.relu(),
    "another window from 600 px on": lambda n, y, x: functional.max_pool2d(
        y, 3 if x.shape[2] < 600 else 5, 1, 1 if x.shape[2] < 600 else 2
    ),
}
"""Far px act, or where a px lies in the image, or the image's size: none is local."""


def own_padding(y: Tensor) -> Tensor:
    """Padded to whole windows of 32 px, on both sides alike, and cropped again."""
    height, width = y.shape[2:]
    down, across = -height % 32, -width % 32
    top, left = down // 2, across // 2
    padded = functional.pad(y, (left, across - left, top, down - top))
    pooled = functional.interpolate(functional.avg_pool2d(padded, 8), scale_factor=8)
    return pooled[:, :, top : top + height, left : left + width]


def part_of(y: Tensor, divided: float) -> Tensor:
    return functional.interpolate(
        y, size=[int(n / divided) for n in y.shape[2:]], mode="bilinear", align_corners=False
    )


LOCAL: dict[str, Part] = {
    "valid, then resized": lambda n, y, x: resized(
        functional.conv2d(y, n.conv.weight[:, :2]), x, "bilinear"
    ),
    "valid, then resized by a factor": lambda n, y, x: functional.interpolate(
        functional.conv2d(y, n.conv.weight[:, :2]),
        scale_factor=(x.shape[2] / (x.shape[2] - 2), x.shape[3] / (x.shape[3] - 2)),
    ),
    "own centred padding": lambda n, y, x: own_padding(y),
    "half the size and back": lambda n, y, x: resized(part_of(y, 2), x),
    "0.3 of the size and back": lambda n, y, x: resized(part_of(y, 1 / 0.3), x),
    "a seventh of the size and back": lambda n, y, x: resized(part_of(y, 7), x),
    "by an uneven factor and back": lambda n, y, x: resized(
        functional.interpolate(y, scale_factor=0.3719), x
    ),
    "NaN put in and taken out": lambda n, y, x: y.masked_fill(y > 1, float("nan")).nan_to_num(),
    "cropped by a few px": lambda n, y, x: y[:, :, 3:-3, : y.shape[3] - 4],
    "corners aligned": lambda n, y, x: functional.interpolate(
        functional.avg_pool2d(y, 8), size=x.shape[2:], mode="bilinear", align_corners=True
    ),
    "rounded up twice": lambda n, y, x: resized(
        functional.max_pool2d(
            functional.max_pool2d(y, 3, 2, 1, ceil_mode=True), 3, 2, 1, ceil_mode=True
        ),
        x,
    ),
}
"""Sizes follow from the image's, but what is read does not grow with it."""


def footprints(part: Part) -> list[Footprint]:
    """At the usual size and at those to which images of several sizes would be padded."""
    images = [(261, 331), (3000, 4711)]
    at = [analyze_at(Programs(Net(part).eval(), 3), likely_padded(image)) for image in images]
    return [analyze(Net(part).eval()), *at]


@pytest.mark.parametrize("name", GROWING)
def test_what_grows_with_the_image_is_refused_at_any_size(name: str) -> None:
    for found in footprints(GROWING[name]):
        assert not found.local
        assert found.blockers[0].op.startswith("aten.")


@pytest.mark.parametrize("name", LOCAL)
def test_what_follows_the_images_size_without_growing_is_local(name: str) -> None:
    for found in footprints(LOCAL[name]):
        assert found.blockers == ()
        assert found.only is None


def test_a_blocker_names_layer_and_parameter_at_both_sizes() -> None:
    class Inside(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return resized(averaged(x, 16), x)

    found = analyze(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Sequential(Inside())))
    (blocker,) = found.blockers
    assert (blocker.layer, blocker.op) == ("1.0", "aten.avg_pool2d.default")
    assert re.search(r"kernel is \(\d+, \d+\) for an image of \d+ x \d+ px and", blocker.reason)


def test_what_is_done_from_a_size_on_is_refused_for_images_of_that_size(tmp_path: Path) -> None:
    def part(net: Net, y: Tensor, x: Tensor) -> Tensor:
        return y if x.shape[2] < 1000 else functional.avg_pool2d(y, 3, 1, 1)

    net, options = Net(part).eval(), {**LOGITS, "verify": False}
    image = small_image(261, 331)
    found = scores_of(gigafcn.infer(image, net, tmp_path / "small.zarr", **options).path)
    with torch.no_grad():
        pixels = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
        expected = net(pixels)[0].numpy()
    # One convolution in fp32.
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    large = np.zeros((1024, 331, 3), np.uint8)
    with pytest.raises(NonLocalError, match=r"(?s)does not do the same.*--mode blend"):
        gigafcn.infer(large, net, tmp_path / "large.zarr", **options)
    with pytest.raises(NonLocalError, match="does not do the same"):
        analyze(net).need((0, 0, 9, 9), (1024, 256))


class Fixed(Net):
    """Takes one size."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2:] == (224, 224), "224 x 224 only"
        return super().forward(x)


def test_a_model_of_one_size_says_so(tmp_path: Path) -> None:
    net = Fixed(lambda n, y, x: y).eval()
    found = analyze(net)
    assert found.local
    assert found.only == (224, 224)
    with pytest.raises(ModelError, match=r"takes images of 224 x 224 px \(y, x\) only"):
        gigafcn.infer(small_image(261, 331), net, tmp_path / "m.zarr", **LOGITS, verify=False)


def test_a_model_of_squares_is_compared_with_squares() -> None:
    class Square(Net):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[2] == x.shape[3]
            return super().forward(x)

    assert analyze(Square(lambda n, y, x: y).eval()).local
    assert not analyze(Square(lambda n, y, x: resized(averaged(y, 16), x)).eval()).local
