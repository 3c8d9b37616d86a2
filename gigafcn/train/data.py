"""Which patches does the net learn from, and which are held out?

A pool is a list of samples, picture with mask: drawn worlds (JPEG included), and on request one
half of a real slide labelled by its stain.  Worlds of training, validation and test have seeds far
apart; of a real slide the left half trains and the right half tests.  Batches are random patches
of a pool, flipped, turned and restained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gigafcn.geometry import Box
from gigafcn.slide.opening import open_slide
from gigafcn.train.drawing import World, draw_region
from gigafcn.train.labelling import label_by_stain
from gigafcn.train.stain import Look, Picture, jpeg, restain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRAINING_SEED, VALIDATION_SEED, TEST_SEED = 1_000_000, 2_000_000, 3_000_000
"""First world of each pool."""

DRAWN_PX = 512
"""Side of the drawn samples."""

LEAST_TISSUE = 0.1
"""Drawn samples with less tissue than this teach little and are passed over."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture with its mask."""

    picture: Picture
    """RGB (y, x, 3)."""

    mask: npt.NDArray[np.uint8]
    """Class per pixel (y, x)."""

    def __post_init__(self) -> None:
        if self.picture.shape != (*self.mask.shape, 3):
            raise ValueError(
                f"picture {self.picture.shape} and mask {self.mask.shape} must have one shape"
            )


@dataclass(frozen=True, slots=True)
class Normalisation:
    """The net's input is ``(stored / 255 - mean) / std``, per channel."""

    mean: tuple[float, float, float]
    """Mean of RGB in 0..1."""

    std: tuple[float, float, float]
    """Standard deviation of RGB in 0..1."""

    def tensor(self, pictures: npt.NDArray[np.uint8]) -> Tensor:
        """Normalised float32 (b, 3, y, x), channels last in memory, of pictures (b, y, x, 3)."""
        # A copy: arrays that came out of JPEG or a slide can be read-only, which torch warns about.
        stored = torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float()
        mean = torch.tensor(self.mean).view(1, 3, 1, 1)
        std = torch.tensor(self.std).view(1, 3, 1, 1)
        return (stored / 255 - mean) / std


def drawn_samples(first_seed: int, count: int, size_px: int = DRAWN_PX) -> list[Sample]:
    """Draw ``count`` samples from worlds ``first_seed``, ``first_seed + 1``, ... that hold tissue.

    Examples
    --------
    >>> [sample.mask.shape for sample in drawn_samples(TEST_SEED, 1, size_px=64)]
    [(64, 64)]
    """
    return list(_take(_drawn(first_seed, size_px), count))


def _take(samples: Iterator[Sample], count: int) -> Iterator[Sample]:
    for _ in range(count):
        yield next(samples)


def _drawn(seed: int, size_px: int) -> Iterator[Sample]:
    while True:
        rng = np.random.default_rng(seed)
        drawing = draw_region(World.random(seed), Box(0, 0, size_px, size_px))
        seed += 1
        if (drawing.mask > 0).mean() >= LEAST_TISSUE:
            yield Sample(jpeg(drawing.picture, int(rng.integers(30, 96))), drawing.mask)


def real_halves(path: Path) -> tuple[Sample, Sample]:
    """Left and right half of a real slide small enough for memory, labelled by stain."""
    slide = open_slide(path)
    try:
        height, width = slide.levels[0].shape
        picture = slide.read(Box(0, 0, height, width))[..., :3]
    finally:
        slide.close()
    mask = label_by_stain(picture)
    middle = width // 2
    return (
        Sample(picture[:, :middle], mask[:, :middle]),
        Sample(picture[:, middle:], mask[:, middle:]),
    )


def normalisation_of(samples: list[Sample]) -> Normalisation:
    """Mean and deviation of all pixels of the samples, to three decimals."""
    pixels = sum(s.mask.size for s in samples)
    total = sum(s.picture.sum(axis=(0, 1), dtype=np.int64) for s in samples)
    mean = total / pixels / 255
    square = sum(((s.picture / np.float32(255) - mean) ** 2).sum(axis=(0, 1)) for s in samples)
    std = np.sqrt(square / pixels)
    r, g, b = (round(float(value), 3) for value in mean)
    dr, dg, db = (round(float(value), 3) for value in std)
    return Normalisation((r, g, b), (dr, dg, db))


def _patch(sample: Sample, size_px: int, rng: np.random.Generator) -> Sample:
    """Random patch of a sample, flipped, turned and, more often than not, restained."""
    height, width = sample.mask.shape
    y = int(rng.integers(0, height - size_px + 1))
    x = int(rng.integers(0, width - size_px + 1))
    at = Box(y, x, y + size_px, x + size_px).relative_to(Box.whole((height, width)))
    picture, mask = sample.picture[at], sample.mask[at]
    turns = int(rng.integers(4))
    picture, mask = np.rot90(picture, turns), np.rot90(mask, turns)
    if rng.random() < 0.5:
        picture, mask = picture[:, ::-1], mask[:, ::-1]
    if rng.random() < 0.6:
        picture = restain(picture, Look(), rng)
    return Sample(picture, mask)


def random_patches(
    samples: list[Sample], count: int, size_px: int, rng: np.random.Generator
) -> list[Sample]:
    """Return ``count`` random patches; every sample is as likely as another, whatever its size."""
    return [_patch(samples[int(rng.integers(len(samples)))], size_px, rng) for _ in range(count)]
