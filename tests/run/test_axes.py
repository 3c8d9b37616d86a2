"""Maps of modules whose output is not laid out (b, classes, y, x), window by window."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import gigafcn
from gigafcn.errors import ModelError
from tests.run.small_nets import Skip, quarter, whole_numbers
from tests.run.whole import scores_of, small_image
from tests.run.windowed import LOGITS, Classifier, monai_map, patch_map

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.run.whole import Array

    Returned = Callable[[Tensor], Any]

SHAPE = (201, 277)


class Rearranged(nn.Module):
    """A net whose output (b, classes, y, x) is returned in another way."""

    def __init__(self, net: nn.Module, returned: Returned, only: int | None = None) -> None:
        super().__init__()
        self.net, self.returned, self.only = net, returned, only

    def forward(self, x: Tensor) -> Any:
        assert self.only is None or x.shape[2:] == (self.only, self.only)
        return self.returned(self.net(x))


MAPS: dict[str, Returned] = {
    "b, y, x, classes": lambda y: y.permute(0, 2, 3, 1),
    "b, y, classes, x": lambda y: y.permute(0, 2, 1, 3),
    "b, classes, x, y": lambda y: y.transpose(2, 3),
    "b, x, y, classes": lambda y: y.permute(0, 3, 2, 1),
    "b, classes, 1, y, x": lambda y: y[:, :, None],
    "b, 1, y, x, classes": lambda y: y.permute(0, 2, 3, 1)[:, None],
    "squeezed": lambda y: y.squeeze(),
}


def mapped(image: Array, net: nn.Module, path: Path, **options: Any) -> Array:
    return scores_of(gigafcn.infer(image, net, path, **LOGITS | options).path)


@pytest.mark.parametrize(("window", "batch"), [(64, 3), ((64, 96), 1)])
@pytest.mark.parametrize("name", MAPS)
def test_blend_finds_y_x_and_classes(
    name: str, window: int | tuple[int, int], batch: int, tmp_path: Path
) -> None:
    # In whole numbers nothing is rounded.
    net, image = whole_numbers(Skip()), small_image(*SHAPE)
    found = mapped(
        image, Rearranged(net, MAPS[name]), tmp_path / "m.zarr", mode="blend", window=window,
        batch=batch, tile=128,
    )  # fmt: skip
    sides = (window, window) if isinstance(window, int) else window
    expected = monai_map(net, image, roi_size=sides, sw_batch_size=1, overlap=0.25)
    assert expected.shape[0] == 3
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("returned", [lambda y: y[:, 0], lambda y: y[:, :1].squeeze()])
def test_a_map_without_a_dimension_of_classes_has_one_class(
    returned: Returned, batch: int, tmp_path: Path
) -> None:
    net, image = whole_numbers(Skip()), small_image(*SHAPE)
    found = mapped(
        image, Rearranged(net, returned), tmp_path / "m.zarr", mode="blend", window=64, batch=batch
    )
    expected = monai_map(net, image, roi_size=(64, 64), sw_batch_size=1, overlap=0.25)[:1]
    np.testing.assert_array_equal(found, expected)


def test_as_many_classes_as_px_are_told_from_px(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, image = nn.Conv2d(3, 32, 3, padding=1), small_image(40, 70)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(parameter.mul(30).round())
    found = mapped(
        image, Rearranged(net, MAPS["b, y, x, classes"]), tmp_path / "m.zarr", mode="blend",
        window=32,
    )  # fmt: skip
    expected = monai_map(net, image, roi_size=(32, 32), sw_batch_size=1, overlap=0.25)
    np.testing.assert_array_equal(found, expected)


def test_a_smaller_map_with_classes_last_is_blended(tmp_path: Path) -> None:
    net, image = whole_numbers(quarter()), small_image(*SHAPE)
    last = Rearranged(net, MAPS["b, y, x, classes"])
    found = mapped(image, last, tmp_path / "m.zarr", mode="blend", window=64)
    expected = monai_map(net, image, roi_size=(64, 64), sw_batch_size=1, overlap=0.25)
    np.testing.assert_array_equal(found, expected)


def test_what_is_put_right_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = Rearranged(whole_numbers(Skip()), MAPS["b, y, x, classes"])
    with caplog.at_level(logging.INFO):
        mapped(small_image(70, 70), net, tmp_path / "m.zarr", mode="blend", window=64)
    assert "Rearranged returns (b, y, x, classes)" in caplog.text


@pytest.mark.parametrize("name", ["b, y, x, classes", "b, classes, 1, y, x"])
def test_proportions_tell_what_a_module_of_one_size_returns(name: str, tmp_path: Path) -> None:
    net, image = whole_numbers(Skip()), small_image(*SHAPE)
    fixed = Rearranged(net, MAPS[name], only=64)
    found = mapped(image, fixed, tmp_path / "m.zarr", mode="blend", window=64)
    expected = monai_map(net, image, roi_size=(64, 64), sw_batch_size=1, overlap=0.25)
    np.testing.assert_array_equal(found, expected)


def test_a_map_of_one_size_must_keep_the_proportions_of_the_window(tmp_path: Path) -> None:
    class Resized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = whole_numbers(Skip())

        def forward(self, x: Tensor) -> Tensor:
            found = functional.interpolate(self.net(x), size=(64, 64))
            return found.permute(0, 2, 3, 1)

    image = small_image(*SHAPE)
    found = mapped(image, Resized(), tmp_path / "m.zarr", mode="blend", window=64)
    expected = monai_map(
        whole_numbers(Skip()), image, roi_size=(64, 64), sw_batch_size=1, overlap=0.25
    )
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ModelError, match="no two of its dimensions may be y and x"):
        mapped(image, Resized(), tmp_path / "n.zarr", mode="blend", window=(64, 96))


def patches(y: Tensor) -> Tensor:
    """Tokens (b, n, classes) of 8 x 8 px each."""
    return functional.avg_pool2d(y, 8).flatten(2).transpose(1, 2)


@pytest.mark.parametrize(
    ("returned", "only", "reason"),
    [
        (patches, None, "dimension 1 grows with the height and with the width"),
        (patches, 64, "no two of its dimensions may be y and x"),
        (
            lambda y: y[:, None].repeat(1, 2, 1, 1, 1),
            None,
            "2 of its dimensions may be the classes",
        ),
        (lambda y: y.repeat(1, 22, 1, 1)[:, :64], 64, "several pairs of its dimensions"),
        (lambda y: y.mean(), None, "gives one px for a window"),
    ],
)
def test_a_layout_that_stays_open_is_refused(
    returned: Returned, only: int | None, reason: str, tmp_path: Path
) -> None:
    net = Rearranged(whole_numbers(Skip()), returned, only)
    with pytest.raises(ModelError, match=reason):
        mapped(small_image(*SHAPE), net, tmp_path / "m.zarr", mode="blend", window=64)
    assert not (tmp_path / "m.zarr").exists()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "returned",
    [
        lambda y: y,
        lambda y: y[:, :, None, None],
        lambda y: y[:, None, None, :],
        lambda y: y[:, None],
        lambda y: y[:, 0],
        lambda y: y[:, :1].squeeze(),
    ],
)
def test_patch_takes_scores_in_any_layout(returned: Returned, batch: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, image = Classifier(16, 3).eval(), small_image(*SHAPE)
    found = mapped(
        image, Rearranged(net, returned), tmp_path / "m.zarr", mode="patch", window=16, step=16,
        batch=batch,
    )  # fmt: skip
    expected = patch_map(net, image, 16, 16)[: len(found)]
    assert len(found) == len(returned(torch.zeros(2, 3)).reshape(2, -1)[0])
    # Sums of a linear layer in fp32, in batches of other sizes.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["b, y, x, classes", "b, classes, x, y"])
def test_exact_mode_refuses_another_layout_by_its_labels(name: str, tmp_path: Path) -> None:
    net = Rearranged(whole_numbers(Skip()), MAPS[name])
    with pytest.raises(ModelError, match=r"expected \(batch, channel, y, x\)"):
        mapped(small_image(64, 64), net, tmp_path / "m.zarr", verify=False)
