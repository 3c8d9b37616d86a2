"""What is written beside the bundled weights, so that nobody has to guess what they are?

A JSON card: what the model is and is not, its classes and colours, how pixels are normalised and
at which resolution, how it was trained, and its figures on held-out pictures, which
:func:`measure` recomputes.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gigafcn.errors import ModelError
from gigafcn.model.demonstration import CLASSES, COLOURS, PERIOD_PX, DemonstrationNet
from gigafcn.train.data import TEST_SEED, Normalisation, Sample, drawn_samples, real_halves
from gigafcn.train.drawing import MPP
from gigafcn.train.loop import Settings, evaluate

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn.metrics import Metrics

CARD_NAME, WEIGHTS_NAME = "demonstration.json", "demonstration.safetensors"

TEST_WORLDS = 40
"""Held-out drawn pictures, 512 px square, that the figures are measured on."""

ABOUT = (
    "A demonstration: a small U-Net trained by the gigafcn project on drawn H&E-like pictures "
    "and on half of one public slide labelled by colour. It is not a diagnostic tool."
)


def bundled(name: str) -> Path:
    """Path of a file beside the bundled model, :data:`CARD_NAME` or :data:`WEIGHTS_NAME`."""
    with as_file(files("gigafcn.model") / "weights" / name) as path:
        return path


def read_card(path: Path) -> dict[str, Any]:
    """Return the card's contents.

    Raises
    ------
    ModelError
        If it is missing or no JSON object.
    """
    try:
        card = json.loads(path.read_text())
    except (OSError, ValueError) as problem:
        raise ModelError(
            f"model card {path} cannot be read: {problem}; write one with python -m gigafcn.train"
        ) from problem
    if not isinstance(card, dict):
        raise ModelError(f"model card {path} holds no JSON object")
    return card


def card_normalisation(card: dict[str, Any]) -> Normalisation:
    """Normalisation that the card states."""
    (r, g, b), (dr, dg, db) = card["mean"], card["std"]
    return Normalisation((r, g, b), (dr, dg, db))


def _figures(loss: float, found: Metrics) -> dict[str, Any]:
    def rounded(value: float) -> float | None:
        return None if math.isnan(value) else round(value, 4)

    return {
        "mean_iu": rounded(found.mean_iu),
        "iu": {name: rounded(value) for name, value in zip(CLASSES, found.iu, strict=True)},
        "pixel_accuracy": rounded(found.pixel_accuracy),
        "mean_accuracy": rounded(found.mean_accuracy),
        "frequency_weighted_iu": rounded(found.frequency_weighted_iu),
        "cross_entropy": rounded(loss),
        "pixels": found.pixels,
    }


def measure(
    net: DemonstrationNet, normalisation: Normalisation, slide: Path | None
) -> dict[str, Any]:
    """Figures of ``net`` on held-out pictures.

    Parameters
    ----------
    net
        In eval mode.
    normalisation
        Of its input.
    slide
        Real slide whose right half, labelled by stain, is measured too; None leaves it out.
    """
    drawn = drawn_samples(TEST_SEED, TEST_WORLDS)
    result = {"drawn": _figures(*evaluate(net, drawn, normalisation))}
    if slide is not None:
        right: Sample = real_halves(slide)[1]
        result["real"] = _figures(*evaluate(net, [right], normalisation))
        result["real"]["slide"] = slide.name
    return result


def make_card(
    weights: Path, normalisation: Normalisation, training: dict[str, Any], found: dict[str, Any]
) -> dict[str, Any]:
    """Contents of the card of the weights file ``weights``."""
    net = DemonstrationNet()
    return {
        "name": "gigafcn demonstration model",
        "about": ABOUT,
        "weights": weights.name,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in net.parameters()),
        "channels": 3,
        "classes": list(CLASSES),
        "colours": list(COLOURS),
        "activation": "softmax",
        "scale": "1/255",
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
        "mpp": MPP,
        "period_px": PERIOD_PX,
        "training": training,
        "metrics": found,
        "metrics_are": {
            "drawn": f"{TEST_WORLDS} drawn pictures of worlds never learned from",
            "real": "right half of the real slide; the truth is colour deconvolution, not a person",
        },
        "versions": {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def training_record(
    settings: Settings, *, worlds: int, slide: Path | None, step: int, seconds: float
) -> dict[str, Any]:
    """Return what the card says about the training run."""
    real = None if slide is None else f"left half of {slide.name}, labelled by colour deconvolution"
    return {
        "drawn_pictures": worlds,
        "real_pictures": real,
        "steps": step,
        "patches_per_step": settings.batch,
        "patch_px": settings.patch_px,
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "seed": settings.seed,
        "optimiser": "AdamW, one-cycle schedule",
        "highest_rate": settings.rate,
        "weight_decay": settings.weight_decay,
        "class_weights": list(settings.class_weights),
        "real_share": 0.0 if slide is None else settings.real_share,
    }


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write the card as JSON for people to read."""
    path.write_text(json.dumps(card, indent=2) + "\n")
