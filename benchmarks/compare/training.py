"""The networks of the table: one with random weights, one trained here, one classifier.

The bundled demonstration model sees 25 px around a pixel, so that any overlap hides it; what
is trained instead is the ResNet-18 U-Net at a quarter of its widths, on drawn patches.  Random
weights keep values at one magnitude (He et al.); torch's own let them vanish, and nothing differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from benchmarks.compare.networks import CLASSES, save_network
from benchmarks.nets import ResNet18Classifier, ResNet18UNet, randomized
from gigafcn.model.zoo import untrained
from gigafcn.train.data import (
    TRAINING_SEED,
    VALIDATION_SEED,
    Normalisation,
    drawn_samples,
    normalisation_of,
)
from gigafcn.train.loop import Pools, Report, Settings, train

if TYPE_CHECKING:
    from pathlib import Path

RANDOM, TRAINED, CLASSIFIER = "random", "trained", "classifier"
TRAINED_WIDTH, PERIOD_PX = 16, 32
WORLDS, HELD_OUT_WORLDS = 96, 8
SETTINGS = Settings(steps=600, batch=8, patch_px=256, rate=3e-3, report_every=200, seed=20)

TITLES = {
    RANDOM: "ResNet-18 U-Net, random weights",
    TRAINED: (
        f"ResNet-18 U-Net at a quarter of its widths, trained for {SETTINGS.steps} steps of "
        f"{SETTINGS.batch} drawn patches of {SETTINGS.patch_px} px"
    ),
    CLASSIFIER: "ResNet-18 classifier of patches, random weights",
}


def network_file(name: str, folder: Path, threads: int) -> Path:
    """The file of a network, which is made if it is not there."""
    path = folder / f"{name}.pt"
    if path.exists():
        return path
    torch.manual_seed(0)
    if name == TRAINED:
        _train(path, threads)
    elif name == RANDOM:
        save_network(
            path,
            "ResNet18UNet",
            64,
            randomized(untrained(lambda: ResNet18UNet(CLASSES))).state_dict(),
        )
    elif name == CLASSIFIER:
        net = randomized(untrained(lambda: ResNet18Classifier(CLASSES)))
        save_network(path, "ResNet18Classifier", 64, net.state_dict())
    else:
        raise ValueError(f"no network {name!r}; there are {', '.join(TITLES)}")
    return path


def _train(path: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    print(f"training: {TITLES[TRAINED]}", flush=True)
    drawn = drawn_samples(TRAINING_SEED, WORLDS)
    held_out = drawn_samples(VALIDATION_SEED, HELD_OUT_WORLDS)
    scaling: Normalisation = normalisation_of(drawn)
    net = ResNet18UNet(CLASSES, TRAINED_WIDTH).to(
        memory_format=torch.channels_last  # type: ignore[call-overload]
    )

    def say(report: Report) -> None:
        print(
            f"  step {report.step}: held-out mean IU {report.held_out_mean_iu:.3f}, "
            f"{report.seconds:.0f} s",
            flush=True,
        )

    train(net, Pools(drawn, [], held_out, scaling), SETTINGS, report=say, period_px=PERIOD_PX)
    weights = {name: value.contiguous() for name, value in net.eval().state_dict().items()}
    save_network(path, "ResNet18UNet", TRAINED_WIDTH, weights, mean=scaling.mean, std=scaling.std)
