"""How do amounts of stain become the pixels of a scanner?

Beer and Lambert: the optical density of a pixel is the sum of each stain's amount times its colour
vector, and the light that passes is ``white * 10 ** -density``.  A :class:`Look` holds what varies
between laboratories and scanners: the vectors, the strengths, the white, blur, noise and JPEG
quality.  What is stained, and how much, is not decided here.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from gigafcn.train.noise import Field, gaussian_blur

Picture = npt.NDArray[np.uint8]
Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """What a laboratory and a scanner make of the same tissue."""

    haematoxylin: Vector = (0.66, 0.68, 0.32)
    """Optical density (R, G, B) of one unit of haematoxylin."""

    eosin: Vector = (0.09, 0.86, 0.50)
    """Optical density (R, G, B) of one unit of eosin."""

    haematoxylin_strength: float = 1.0
    """Factor on all amounts of haematoxylin."""

    eosin_strength: float = 1.0
    """Factor on all amounts of eosin."""

    white: Vector = (243.0, 242.0, 243.0)
    """Stored value (R, G, B) of clear glass."""

    blur_px: float = 0.6
    """Standard deviation of the optics' blur."""

    noise: float = 1.5
    """Standard deviation of the sensor noise, in stored values."""

    def __post_init__(self) -> None:
        if min(self.white) <= 0 or self.blur_px < 0 or self.noise < 0:
            raise ValueError(f"white must be positive, blur and noise not negative: {self}")


def random_look(seed: int) -> Look:
    """Return a plausible look: stain hue, strength, white, focus and noise vary."""
    rng = np.random.default_rng(seed)

    def vector(base: Vector, spread: float) -> Vector:
        turned = np.clip(np.array(base) + rng.normal(0, spread, 3), 0.02, None)
        r, g, b = turned / np.linalg.norm(turned)
        return float(r), float(g), float(b)

    usual = Look()
    white = rng.uniform(228, 250) + rng.normal(0, 2.5, 3)
    return Look(
        haematoxylin=vector(usual.haematoxylin, 0.06),
        eosin=vector(usual.eosin, 0.05),
        haematoxylin_strength=float(rng.uniform(0.7, 1.35)),
        eosin_strength=float(rng.uniform(0.6, 1.5)),
        white=(float(white[0]), float(white[1]), float(white[2])),
        blur_px=float(rng.uniform(0.4, 1.3)),
        noise=float(rng.uniform(0.5, 3.5)),
    )


def develop(
    haematoxylin: Field, eosin: Field, look: Look, rng: np.random.Generator, margin_px: int
) -> Picture:
    """RGB picture (y, x, 3) of amounts of stain (y, x), less ``margin_px`` on every side.

    The blur reads into the margin, so neighbouring pictures meet without a seam.
    """
    inner = slice(margin_px, -margin_px or None)
    densities = (
        haematoxylin * np.float32(look.haematoxylin_strength),
        eosin * np.float32(look.eosin_strength),
    )
    passed = []
    for c in range(3):
        density = densities[0] * look.haematoxylin[c] + densities[1] * look.eosin[c]
        light = np.exp(density * np.float32(-np.log(10.0)))
        blurred = gaussian_blur(light, look.blur_px)
        passed.append(blurred[inner, inner] * np.float32(look.white[c]))
    picture = np.stack(passed, axis=-1)
    # Most sensor noise is common to the channels; the coloured rest is small.
    shape = picture.shape
    picture += rng.standard_normal(shape[:2], np.float32)[..., None] * np.float32(look.noise)
    picture += rng.standard_normal(shape, np.float32) * np.float32(0.35 * look.noise)
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)


def jpeg(picture: Picture, quality: int) -> Picture:
    """Return the picture (y, x, 3) after a round through JPEG, as most scanners store it."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def restain(picture: Picture, look_from: Look, rng: np.random.Generator) -> Picture:
    """Return the picture with other amounts of stain and light, for training on real pixels.

    Parameters
    ----------
    picture
        RGB (y, x, 3).
    look_from
        Vectors and white that the picture is taken apart with.
    rng
        Source of the variation.
    """
    white = np.array(look_from.white, np.float32)
    density = -np.log10(np.clip(picture / white, 1 / 255, 1.2)).astype(np.float32)
    stains = np.array([look_from.haematoxylin, look_from.eosin], np.float64)
    residual = np.cross(stains[0], stains[1])
    basis = np.vstack([stains, residual / np.linalg.norm(residual)])
    turned = basis + np.vstack([rng.normal(0, 0.03, (2, 3)), np.zeros((1, 3))])
    gains = np.array([rng.uniform(0.7, 1.3), rng.uniform(0.7, 1.4), 1.0])
    matrix = (np.linalg.inv(basis) @ (gains[:, None] * turned)).astype(np.float32)
    light = rng.uniform(0.94, 1.04) + rng.normal(0, 0.008, 3)
    result = white * light * 10.0 ** -(density @ matrix)
    return np.asarray(np.clip(np.rint(result), 0, 255), np.uint8)
