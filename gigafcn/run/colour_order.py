"""Is the model fed red, green, blue where it was trained on blue, green, red, or the reverse?

Two signs.  A mean in the order of one, with channels in the order of the other: the means of the
public image collections that encoders are trained on are known.  And the stain: haematoxylin
absorbs red nearly as much as green, eosin hardly any, and both absorb little blue; so from stain to
stain red varies more than blue, and in slides whose channels were swapped blue varies more.  Brown
stains absorb blue more than green, which a swapped slide of the usual two stains does not: they
are left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gigafcn.plan.run_plan import Scaling
    from gigafcn.run.pixel_sample import Sample
    from gigafcn.slide.protocol import Slide

KNOWN_MEANS = (
    (0.485, 0.456, 0.406),  # ImageNet, as torchvision's models take it
    (122.68, 116.67, 104.01),  # ImageNet as Caffe's reference models take it, /255 below
    (0.481, 0.458, 0.408),  # CLIP
)
"""Means of red, green and blue."""

_CLOSE = 0.012  # of the range: the spread between publications of one mean

LEAST_GREEN = 0.15
"""Optical density of green from which a px is stained well enough to tell colours."""

LEAST_PX = 500

MOST_BLUE = 1.15
"""Blue absorbed per green, beyond which the stain is brown."""

TIMES = 1.4
"""How much more one colour's share varies between stains than the other's, to tell them apart."""


def reversed_colours(
    slide: Slide, channels: tuple[int, ...], scaling: Scaling, sample: Sample | None
) -> str | None:
    """Why red and blue may be swapped; None if nothing suggests it."""
    if len(channels) != 3 or slide.channels < 3:
        return None
    said = _order_of_mean(scaling)
    fed = {(0, 1, 2): "RGB", (2, 1, 0): "BGR"}.get(channels)
    if said is not None and fed is not None:
        # A mean that fits the channels' order explains a BGR input.
        return None if said == fed else _of_mean(scaling, said, fed)
    if slide.dtype != np.uint8 or sample is None or not _nuclei_are_red(sample.px):
        return None
    return (
        f"stained px of {slide.name} absorb blue where haematoxylin absorbs red, as if red and "
        f"blue were swapped (channels {','.join(map(str, channels))}); if the file is stored blue "
        f"first, give --channels 2,1,0"
    )


def _of_mean(scaling: Scaling, said: str, fed: str) -> str:
    order = "2,1,0" if said == "BGR" else "0,1,2"
    numbers = ",".join(f"{mean:g}" for mean in scaling.mean)
    return (
        f"mean {numbers} is that of {said} images, and the model is fed {fed}: red and blue may be "
        f"swapped; --channels {order} feeds {said}, unless the model turns them itself"
    )


def _order_of_mean(scaling: Scaling) -> str | None:
    """Whether the mean is one of a public collection in RGB or in BGR order."""
    if len(scaling.mean) != 3:
        return None
    mean = np.asarray(scaling.mean)
    mean = mean / 255 if mean.max() > 2 else mean
    for known in KNOWN_MEANS:
        rgb = np.asarray(known) / (255 if max(known) > 2 else 1)
        if np.abs(mean - rgb).max() < _CLOSE:
            return "RGB"
        if np.abs(mean - rgb[::-1]).max() < _CLOSE:
            return "BGR"
    return None


def _nuclei_are_red(px: NDArray[np.float64]) -> bool:
    """Whether stained px absorb blue the way in which haematoxylin absorbs red."""
    density = -np.log10((px + 1) / 256)
    stained = density[density[:, 1] > LEAST_GREEN]
    if len(stained) < LEAST_PX:
        return False
    shares = stained[:, [0, 2]] / stained[:, 1:2]
    low, high = np.percentile(shares, (10, 90), axis=0)
    red, blue = high - low
    return bool(high[1] < MOST_BLUE and blue > TIMES * red)
