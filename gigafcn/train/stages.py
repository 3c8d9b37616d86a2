"""What do skip connections gain?  FCN-32s, then 16s from it, then 8s from that, compared.

As in Long, Shelhamer & Darrell (CVPR 2015): each net starts with the weights of the coarser one,
its new skip scores nothing at first, and learns on at a lower rate.  What differs from the paper:
an eighth of VGG's widths, batch norm and no pretraining, drawn H&E patches, layers that keep sizes
instead of 100 px of padding.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from gigafcn.errors import UsageError
from gigafcn.model.demonstration import CLASSES
from gigafcn.model.zoo import untrained
from gigafcn.model.zoo.fcn import FCN
from gigafcn.train.data import TEST_SEED, drawn_samples
from gigafcn.train.loop import Report, evaluate, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gigafcn.metrics import Metrics
    from gigafcn.train.loop import Pools, Settings

DIVISOR = 8
"""Of VGG-16's widths."""

PERIOD_PX = 32
BATCH, WORLDS = 8, 256

LATER_RATE = 1 / 3
"""Highest learning rate of the stages after the first, against the first's."""

TEST_WORLDS = 40
"""Held-out drawn pictures, 512 px square, that the stages are compared on."""

RESULT_NAME = "fcn_stages.json"


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage came to."""

    stride: int
    """Px per score before the last upsampling."""

    parameters: int
    steps: int
    seconds: float
    loss: float
    """Mean training loss over the last reports' steps."""

    mean_iu: float
    """On the test pictures."""

    iu: dict[str, float]
    """By class."""

    pixel_accuracy: float


def stage_net(stride: int, coarser: FCN | None, seed: int) -> FCN:
    """The net of a stage: new, or with the weights of the coarser one."""
    net = untrained(lambda: FCN(stride, len(CLASSES), DIVISOR, same=True, norm=True), seed)
    assert isinstance(net, FCN)
    if coarser is not None:
        net.start_from(coarser)
    return net


def train_stages(
    pools: Pools,
    settings: Settings,
    out: Path,
    *,
    strides: tuple[int, ...],
    report: Callable[[Report], None],
    test_worlds: int = TEST_WORLDS,
) -> list[Stage]:
    """Train a net per stride, each from the one before, and measure it on test pictures.

    Parameters
    ----------
    pools
        What to learn from and what to measure on while learning.
    settings
        Of each stage; later ones learn at a third of the rate and from other patches.
    out
        Folder for the weights, one file per stage.
    strides
        Of the nets, none finer than the one after it.
    report
        Called as :func:`gigafcn.train.loop.train` does.
    test_worlds
        Held-out pictures to compare on.

    Raises
    ------
    UsageError
        If the patch is no multiple of 32 px or a coarser net comes after a finer one.
    """
    if settings.patch_px % PERIOD_PX:
        raise UsageError(
            f"patch of {settings.patch_px} px is no multiple of an FCN's period, {PERIOD_PX} px"
        )
    if list(strides) != sorted(strides, reverse=True):
        raise UsageError(f"strides {strides} must go from coarse to fine")
    test = drawn_samples(TEST_SEED, test_worlds)
    out.mkdir(parents=True, exist_ok=True)
    stages: list[Stage] = []
    net: FCN | None = None
    for number, stride in enumerate(strides):
        net = stage_net(stride, net, settings.seed)
        rate = settings.rate * (LATER_RATE if number else 1)
        own = replace(settings, rate=rate, seed=settings.seed + number)
        reports: list[Report] = []

        def keep(found: Report, into: list[Report] = reports) -> None:
            into.append(found)
            report(found)

        torch.manual_seed(own.seed)  # of dropout
        train(net, pools, own, report=keep, period_px=PERIOD_PX)
        save_file(net.state_dict(), out / f"stage{number + 1}-fcn{stride}s.safetensors")
        _, found = evaluate(net, test, pools.normalisation, PERIOD_PX)
        stages.append(_stage(net, own, reports[-1], found))
    return stages


def _stage(net: FCN, settings: Settings, last: Report, found: Metrics) -> Stage:
    """What a trained net came to, rounded for people to read."""
    return Stage(
        stride=net.stride,
        parameters=sum(p.numel() for p in net.parameters()),
        steps=settings.steps,
        seconds=round(last.seconds, 1),
        loss=round(last.loss, 4),
        mean_iu=round(found.mean_iu, 4),
        iu={c: round(float(v), 4) for c, v in zip(CLASSES, found.iu, strict=True)},
        pixel_accuracy=round(found.pixel_accuracy, 4),
    )


def write_stages(out: Path, stages: list[Stage], settings: Settings, worlds: int) -> Path:
    """Write what was compared, and how, as JSON; return its path."""
    record: dict[str, Any] = {
        "divisor": DIVISOR,
        "seed": settings.seed,
        "batch": settings.batch,
        "patch_px": settings.patch_px,
        "highest_rate": settings.rate,
        "drawn_pictures": worlds,
        "test_pictures": TEST_WORLDS,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "stages": [asdict(stage) for stage in stages],
    }
    path = out / RESULT_NAME
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path
