"""Does staged training hand weights on, warn of what a patch hides, and say what it found?"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from gigafcn.errors import UsageError
from gigafcn.train.data import TRAINING_SEED, VALIDATION_SEED, drawn_samples, normalisation_of
from gigafcn.train.loop import Pools, Report, Settings, training_warnings
from gigafcn.train.stages import stage_net, train_stages, write_stages

if TYPE_CHECKING:
    from pathlib import Path

TINY = Settings(steps=4, batch=2, patch_px=64, report_every=2, seed=1, rate=3e-3)


@pytest.fixture(scope="module")
def pools() -> Pools:
    drawn = drawn_samples(TRAINING_SEED, 1, size_px=128)
    held_out = drawn_samples(VALIDATION_SEED, 1, size_px=100)
    return Pools(drawn, [], held_out, normalisation_of(drawn))


def test_three_stages_are_trained_measured_and_written(
    pools: Pools, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reports: list[Report] = []
    with caplog.at_level(logging.WARNING):
        stages = train_stages(
            pools, TINY, tmp_path, strides=(32, 16, 8), report=reports.append, test_worlds=1
        )
    assert [stage.stride for stage in stages] == [32, 16, 8]
    assert [report.step for report in reports] == [2, 4] * 3
    assert all(0 <= stage.mean_iu <= 1 for stage in stages)
    # FCN-8s sees 491 px; the numbers are the analysis's.
    assert "footprint of 491 px exceeds the training patches of 64 px" in caplog.text
    written = json.loads(write_stages(tmp_path, stages, TINY, worlds=1).read_text())
    assert [stage["stride"] for stage in written["stages"]] == [32, 16, 8]
    assert len(list(tmp_path.glob("stage*.safetensors"))) == 3


def test_a_stage_starts_where_the_coarser_one_stopped() -> None:
    coarse = stage_net(32, None, seed=0)
    fine = stage_net(16, coarse, seed=1)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(fine.scores(image), fine.double_score(coarse.scores(image)))


@pytest.mark.parametrize(
    ("patch", "strides", "said"), [(100, (32,), "100 px"), (64, (8, 16), "coarse to fine")]
)
def test_what_cannot_be_staged_is_refused(
    pools: Pools, tmp_path: Path, patch: int, strides: tuple[int, ...], said: str
) -> None:
    settings = Settings(patch_px=patch)
    with pytest.raises(UsageError, match=said):
        train_stages(pools, settings, tmp_path, strides=strides, report=print)


def test_a_net_that_is_not_local_is_warned_about_by_layer() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.InstanceNorm2d(4))
    (warning,) = training_warnings(net.train(), 64)
    assert "not local" in warning
    assert "instance_norm" in warning
    assert net.training


def test_a_net_that_fits_its_patches_is_not_warned_about() -> None:
    assert training_warnings(nn.Conv2d(3, 4, 3, padding=1), 64) == []
