"""How far a map may be from the whole run when numbers are rounded: the bound of the design."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

import gigafcn
from tests.run.small_nets import Skip, random_numbers
from tests.run.whole import labels_of, padded, run_whole, scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

    from tests.run.whole import Array

SHAPE = (301, 517)
HALF_A_STEP = 1 / 510
"""Rounding to 255 steps moves a probability by at most this."""


class Case:
    """An image, a net, its whole run in both precisions, and how far a sweep may be from it."""

    def __init__(self) -> None:
        self.net = random_numbers(Skip())
        self.image = small_image(*SHAPE, top=256)
        pixels = padded(self.image, 2)
        self.exact = self._whole(pixels, torch.float64)
        single = self._whole(pixels, torch.float32)
        # Twice the module's own rounding, as measured, and a millionth for when that is luck.
        self.bound = 2 * np.abs(single - self.exact).max() + 1e-6 * np.abs(self.exact).max()

    def _whole(self, pixels: Array, dtype: torch.dtype) -> Array:
        scores = run_whole(self.net, pixels, activation="softmax", scale=1 / 255, dtype=dtype)
        return scores[:, : SHAPE[0], : SHAPE[1]].astype(np.float64)


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


def test_float32_is_within_the_bound_of_the_design(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "m.zarr"
    gigafcn.infer(case.image, case.net, path, tile=256, strip=37, dtype="float32")
    assert np.abs(scores_of(path) - case.exact).max() <= case.bound


@pytest.fixture(scope="module")
def default_map(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map in the type that is the default."""
    path = tmp_path_factory.mktemp("default") / "m.zarr"
    return gigafcn.infer(case.image, case.net, path, tile=256, strip=37).path


def test_uint8_is_the_default_and_within_half_a_step_more(case: Case, default_map: Path) -> None:
    stored = scores_of(default_map)
    assert stored.dtype == np.uint8
    assert np.abs(stored / 255 - case.exact).max() <= HALF_A_STEP + case.bound


def test_labels_differ_from_the_whole_run_only_where_scores_tie(
    case: Case, default_map: Path
) -> None:
    labels = labels_of(default_map)
    chosen = np.take_along_axis(case.exact, labels[None].astype(np.int64), 0)[0]
    # Both scores move by the bound at most, so a class this close to the best may win.
    assert (case.exact.max(0) - chosen).max() <= 2 * case.bound
    assert (labels != case.exact.argmax(0)).mean() < 1e-4


def test_double_precision_is_exact_but_for_the_last_bits(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "m.zarr"
    options: dict[str, Any] = {"precision": "fp64", "activation": "none", "dtype": "float32"}
    gigafcn.infer(case.image, case.net, path, tile=256, strip=37, **options)
    pixels = padded(case.image, 2)
    expected = run_whole(case.net, pixels, scale=1 / 255)[:, : SHAPE[0], : SHAPE[1]]
    # Computed in fp64, stored in float32: half a unit of its 24 bits.
    assert np.abs(scores_of(path) - expected).max() <= 2.0**-24 * np.abs(expected).max()


@pytest.mark.parametrize("half", ["bf16", "fp16"])
@pytest.mark.parametrize("options", [{}, {"mode": "blend", "window": 64}], ids=["exact", "blend"])
def test_half_precision_says_what_it_changes(
    case: Case, tmp_path: Path, options: dict[str, Any], half: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    maps = []
    for precision in ("fp32", half):
        with caplog.at_level("INFO", "gigafcn"):
            result = gigafcn.infer(
                case.image, case.net, tmp_path / f"{precision}.zarr", dtype="float32",
                precision=precision, **options,
            )  # fmt: skip
        maps.append(scores_of(result.path))
        said = f"computing in {half} instead of fp32" in caplog.text
        assert said == ("coarseness" in result.certificate) == (precision == half)
    told = result.certificate["coarseness"]
    found = np.abs(maps[0] - maps[1])
    # Told of a part, found on all of it; blend also averages windows, so both are rough.
    assert told["largest"] / 4 < found.max() < 4 * told["largest"]
    assert told["mean"] / 4 < found.mean() < 4 * told["mean"]
    # bf16 has 8 bits, fp16 11: three layers of sums of some tens of terms lose a few percent.
    assert found.max() < 0.1


@pytest.mark.parametrize(("half", "part"), [("bf16", 5e-2), ("fp16", 1e-2)])
def test_what_a_coarse_precision_changes_too_much_is_not_certified(
    half: str, part: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Differences of large numbers that are nearly equal keep few of their bits.
    cancelling = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1))
    with torch.no_grad():
        first, last = cancelling
        assert isinstance(first, nn.Conv2d)
        assert isinstance(last, nn.Conv2d)
        first.weight.fill_(100.0)
        first.weight[::2] += 0.05
        last.weight.copy_(torch.tensor([1.0, -1.0]).repeat(2, 4)[:, :, None, None])
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    result = gigafcn.infer(image, cancelling, tmp_path / "m.zarr", precision=half)
    told = result.certificate["coarseness"]
    assert result.certificate["class"] == "rounded"
    assert told["output"] > told["cap"] > 0
    assert f"{told['output']:.2g}, and {told['cap']:.2g} is the most" in caplog.text
    plain = nn.Conv2d(3, 2, 3, padding=1)
    result = gigafcn.infer(image, plain, tmp_path / "p.zarr", precision=half)
    told = result.certificate["coarseness"]
    assert result.certificate["class"].startswith("structural")
    assert told["output"] < told["cap"] < 10 * part


def test_float16_is_stored_rounded(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "m.zarr"
    gigafcn.infer(case.image, case.net, path, dtype="float16", save="probabilities")
    stored = scores_of(path)
    assert stored.dtype == np.float16
    # Probabilities below 1 have steps of at most 2**-11.
    assert np.abs(stored.astype(np.float64) - case.exact).max() <= 2.0**-12 + case.bound
    assert not (path / "labels").exists()
