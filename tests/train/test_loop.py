"""Does the loop learn, repeat itself, and keep what it learned?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from gigafcn.errors import ModelError, UsageError
from gigafcn.model.demonstration import DemonstrationNet
from gigafcn.train.checkpoint import load_checkpoint, save_checkpoint
from gigafcn.train.curve import write_curve
from gigafcn.train.data import (
    TEST_SEED,
    TRAINING_SEED,
    Normalisation,
    Sample,
    drawn_samples,
    normalisation_of,
    random_patches,
)
from gigafcn.train.loop import Pools, Report, Settings, context_warning, predict, train

if TYPE_CHECKING:
    from pathlib import Path

TINY = Settings(steps=24, batch=4, patch_px=64, report_every=8, seed=1)


@pytest.fixture(scope="module")
def pools() -> Pools:
    drawn = drawn_samples(TRAINING_SEED, 2, size_px=256)
    held_out = drawn_samples(TEST_SEED, 1, size_px=128)
    return Pools(drawn, drawn[:1], held_out, normalisation_of(drawn))


def run(pools: Pools) -> tuple[DemonstrationNet, list[Report]]:
    torch.manual_seed(0)
    net, reports = DemonstrationNet(), list[Report]()
    train(net, pools, TINY, report=reports.append)
    return net, reports


def test_a_few_steps_lower_the_loss_and_a_second_run_repeats_them(pools: Pools) -> None:
    _, first = run(pools)
    _, second = run(pools)
    assert [report.step for report in first] == [8, 16, 24]
    assert first[-1].loss < 0.7 * first[0].loss
    # Threads may sum in another order; the path stays the same to about float32 rounding.
    assert second[-1].loss == pytest.approx(first[-1].loss, rel=1e-2)


def test_a_checkpoint_gives_back_the_same_net(tmp_path: Path, pools: Pools) -> None:
    net = DemonstrationNet().eval()
    save_checkpoint(tmp_path / "net.safetensors", net, 7)
    loaded, step = load_checkpoint(tmp_path / "net.safetensors")
    sample = pools.held_out[0]
    assert step == 7
    assert torch.equal(
        predict(loaded, sample, pools.normalisation), predict(net, sample, pools.normalisation)
    )


@pytest.mark.parametrize("content", [None, b"no safetensors"])
def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"net\.safetensors cannot be loaded"):
        load_checkpoint(path)


def test_pictures_of_any_size_are_predicted_whole() -> None:
    sample = Sample(np.zeros((33, 46, 3), np.uint8), np.zeros((33, 46), np.uint8))
    normalisation = Normalisation((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    assert predict(DemonstrationNet().eval(), sample, normalisation).shape == (3, 33, 46)


def test_patches_keep_picture_and_mask_together() -> None:
    mask = np.zeros((96, 96), np.uint8)
    mask[:, 40:] = 1
    picture = np.where(mask[..., None] > 0, np.uint8(60), np.uint8(240)).repeat(3, axis=-1)
    rng = np.random.default_rng(0)
    for patch in random_patches([Sample(picture, mask)], 20, 64, rng):
        if patch.mask.min() != patch.mask.max():
            bright, dark = (patch.picture[patch.mask == c].mean() for c in (0, 1))
            assert bright > dark + 80


def test_pixels_are_normalised_to_mean_zero_and_deviation_one(pools: Pools) -> None:
    pictures = np.stack([sample.picture for sample in pools.drawn])
    values = pools.normalisation.tensor(pictures)
    # The card keeps three decimals.
    assert values.mean(dim=(0, 2, 3)).abs().max() < 0.01
    assert (values.std(dim=(0, 2, 3)) - 1).abs().max() < 0.02


def test_patches_smaller_than_the_footprint_are_warned_about_with_numbers() -> None:
    assert context_warning((30, 30, 20, 20), 64) is None
    warning = context_warning((40, 40, 20, 20), 64)
    assert warning is not None
    assert "81 px" in warning
    assert "64 px" in warning
    assert "84 px" in warning


def test_a_patch_that_is_no_multiple_of_the_period_is_refused() -> None:
    with pytest.raises(UsageError, match="130 px"):
        Settings(patch_px=130)


def test_the_curve_is_a_picture(tmp_path: Path) -> None:
    reports = [Report(k, 1 / k, 1 / k, 0.1 * k, float(k)) for k in range(1, 5)]
    write_curve(tmp_path / "curve.png", reports)
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
