"""Is the model a classifier of patches, and where does its dense map lie on the image?

In exact mode a classifier runs as a fully convolutional network (:mod:`gigafcn.convert`).  Its map
has a position for each patch that starts at a multiple of the stride.  As a cell it gets the
stride's px around the patch's centre, so for border "valid", the default, the map begins
(patch - stride) / 2 px inside the image; "cover" mirrors the image outward by that.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from gigafcn.convert import convert, guess_patch, is_patch_classifier
from gigafcn.errors import SlideError, UsageError
from gigafcn.plan.map_geometry import MapGeometry

if TYPE_CHECKING:
    from collections.abc import Callable

    from gigafcn.convert import Conversion
    from gigafcn.model.loading import LoadedModel
    from gigafcn.run.options import Options

log = logging.getLogger(__name__)

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Classifier:
    """A classifier of patches that runs as a fully convolutional network."""

    loaded: LoadedModel
    """As it was loaded."""

    conversion: Conversion

    @property
    def converted(self) -> LoadedModel:
        """The model with the converted network in the module's place."""
        module = self.conversion.module
        return replace(self.loaded, module=module, fixed=False, window=None, output=None)

    @property
    def probe_size(self) -> int:
        """Side in px of a square that holds several patches."""
        pairs = zip(self.conversion.patch, self.conversion.stride, strict=True)
        return max(patch + stride for patch, stride in pairs)

    def geometry(self, image: Pair, border: str | None) -> MapGeometry:
        """How image and map relate; border None is "valid".

        Raises
        ------
        SlideError
            If the image holds no patch and the border is "valid".
        """
        patch, stride = self.conversion.patch, self.conversion.stride
        cover = border == "cover"
        axes = [(_covering if cover else _valid)(image[a], patch[a], stride[a], a) for a in (0, 1)]
        shape, padded, origin = zip(*axes, strict=True)
        offset = [Fraction(patch[a] - stride[a], 2) - origin[a] for a in (0, 1)]
        return MapGeometry(
            image=image,
            padded=padded,
            origin=origin,
            mirrored=(padded[0] - image[0], padded[1] - image[1]) if cover else (0, 0),
            shape=shape,
            stride=(Fraction(stride[0]), Fraction(stride[1])),
            offset=(offset[0], offset[1]),
        )

    def provenance(self) -> dict[str, Any]:
        """What the map says about it."""
        return {"converted": self.conversion.to_json()}


def _valid(image: int, patch: int, stride: int, axis: int) -> tuple[int, int, int]:
    """Map size, padded size and origin along one axis, for patches inside the image."""
    if image < patch:
        raise SlideError(
            f"the image is {image} px along {'yx'[axis]}, smaller than a patch of {patch} px; take "
            f"--border cover, which mirrors the image outward"
        )
    count = (image - patch) // stride + 1
    return count, _admissible(image, patch, stride), 0


def _covering(image: int, patch: int, stride: int, axis: int) -> tuple[int, int, int]:
    """The same, for cells that cover the image."""
    count = ceil(image / stride)
    origin = max(0, floor(Fraction(patch - stride, 2)))
    needed = max(patch + (count - 1) * stride, origin + image)
    return count, _admissible(needed, patch, stride), origin


def _admissible(size: int, patch: int, stride: int) -> int:
    """The next size in which patches a stride apart end at the edge."""
    return patch + max(0, ceil((size - patch) / stride)) * stride


def as_classifier(
    model: LoadedModel,
    channels: int,
    options: Options,
    gives_map: Callable[[], bool] = lambda: False,
) -> Classifier | None:
    """The model converted, if it is a classifier of patches; said in the log.

    Parameters
    ----------
    channels
        Input channels.
    gives_map
        Whether the model is known to give an image a map: then no patch is guessed.

    Raises
    ------
    ModelError
        If it is one and cannot be converted.
    UsageError
        If a patch or an output stride is given for a model that is none, or is no size.
    """
    asked = {"patch": options.patch, "output stride": options.output_stride}
    patch = _patch(model, channels, options, gives_map) if model.exportable else None
    if patch is None:
        for name, value in asked.items():
            if value is not None:
                raise UsageError(
                    f"{name} {value} is for classifiers of patches; model {model.name} is none "
                    f"that can be converted"
                )
        return None
    found = convert(model.module, patch, channels, output_stride=options.output_stride)
    source = "guessed; if it was trained on others, give --patch"
    if options.patch is not None or model.window is not None:
        source = "as asked" if options.patch is not None else "as the model states"
    _say(model, found, source)
    return Classifier(model, found)


def _patch(
    model: LoadedModel, channels: int, options: Options, gives_map: Callable[[], bool]
) -> int | Pair | None:
    """The patch asked for, or stated, or guessed; None if the model is no classifier."""
    if options.patch is not None:
        return options.patch
    if model.window is not None:
        return model.window if is_patch_classifier(model.module, channels, model.window) else None
    return None if gives_map() else guess_patch(model.module, channels)


def _say(model: LoadedModel, found: Conversion, source: str) -> None:
    sides = f"{found.patch[0]} x {found.patch[1]} px"
    pads = (
        "it pads, so its answers for single patches differ from the map"
        if found.pads
        else "it does not pad, so the map holds its very answers for patches"
    )
    log.info(
        "model %s classifies patches of %s (%s); it runs as a fully convolutional network with "
        "a map px every %d x %d px; %s",
        model.name,
        sides,
        source,
        *found.stride,
        pads,
    )
