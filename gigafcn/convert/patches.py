"""Is a model a classifier of patches, of which size, and how far is its map from its patches?

A size is judged by running the module on a fake tensor: shapes are found without computing.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gigafcn.convert.conversion import noise
from gigafcn.errors import ModelError, SlideError
from gigafcn.graph.copying import copy_to_run
from gigafcn.graph.export import in_eval_mode, precision_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gigafcn.convert.conversion import Conversion

Pair = tuple[int, int]

USUAL = (224, 256, 96, 64, 32, 28, 512, 299, 384, 128, 48, 112, 160, 192, 240, 288, 320, 448, 50)
"""Sides of patches, in px, that are tried first."""

LARGEST = 2048
"""Side, in px, up to which a patch is searched for."""

MEASURED_PX = 8
"""Steps of the map, along each axis, over which a difference is measured on noise."""

BATCH = 16


def is_patch_classifier(module: nn.Module, channels: int, size: int | Pair) -> bool:
    """Whether a module gives one vector of scores for an image of this size, not a map.

    Parameters
    ----------
    channels
        Input channels.
    size
        Side(s) (y, x) of the image in px.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 5), nn.Flatten(), nn.Linear(4 * 28 * 28, 2))
    >>> is_patch_classifier(net, 3, 32), is_patch_classifier(net, 3, 64)
    (True, False)
    """
    sides = (size, size) if isinstance(size, int) else size
    shape = _output(module, channels, sides)
    if shape is None or shape[0] != 1:
        return False
    return len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1))


def _output(module: nn.Module, channels: int, size: Pair) -> tuple[int, ...] | None:
    """Shape that the module returns; None if it does not take such an image, () if no tensor."""
    in_eval_mode(module)
    try:
        result = _run_on_nothing(module, channels, size)
    except Exception:  # a module that is run at a size it does not take may raise anything
        return None
    return tuple(result.shape) if isinstance(result, Tensor) else ()


def _run_on_nothing(module: nn.Module, channels: int, size: Pair) -> Any:
    """The module's result for a fake image."""
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with _quiet(), _attributes_kept(module), torch.no_grad(), fake:
        parameter = next(module.parameters(), torch.empty(0))
        image = torch.empty(
            (1, channels, *size), dtype=precision_of(module), device=parameter.device
        )
        return module(image)


@contextmanager
def _attributes_kept(module: nn.Module) -> Iterator[None]:
    """Give modules back the attributes they had: what they keep of a fake run is fake."""
    parts = list(module.modules())
    before = [(dict(vars(part)), dict(part._buffers)) for part in parts]
    try:
        yield
    finally:
        for part, (attributes, buffers) in zip(parts, before, strict=True):
            vars(part).clear()
            vars(part).update(attributes)
            part._buffers.clear()
            part._buffers.update(buffers)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep from the user what torch says of sizes that do not fit."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def guess_patch(module: nn.Module, channels: int) -> Pair | None:
    """Size (y, x) in px of the patches that a module classifies; None if it is no classifier.

    What timm notes beside a model is taken; otherwise the usual sizes are tried, and then the
    size is searched at which a flattened map fits the first linear layer.  A module that pools
    globally takes any size, so for it the guess is just the most usual, 224 px.

    Examples
    --------
    >>> guess_patch(nn.Sequential(nn.Conv2d(1, 4, 5), nn.Flatten(), nn.Linear(4 * 576, 2)), 1)
    (28, 28)
    >>> guess_patch(nn.Conv2d(3, 2, 3), 3) is None
    True
    """
    noted = _noted(module)
    for size in (*([noted] if noted else []), *((side, side) for side in USUAL)):
        shape = _output(module, channels, size)
        if shape is None:
            continue
        return size if _is_vector(module, channels, size, shape) else None
    return _searched(module, channels)


def _noted(module: nn.Module) -> Pair | None:
    """Input size in timm's notes."""
    notes = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    size = notes.get("input_size") if isinstance(notes, dict) else None
    if not isinstance(size, tuple | list) or len(size) != 3:
        return None
    return int(size[1]), int(size[2])


def _is_vector(module: nn.Module, channels: int, size: Pair, shape: tuple[int, ...]) -> bool:
    """Whether an output is one vector of scores, and no map that would grow with the image."""
    if len(shape) == 2:
        return shape[0] == 1
    if len(shape) != 4 or shape[0] != 1 or shape[2:] != (1, 1):
        return False
    twice = _output(module, channels, (2 * size[0], 2 * size[1]))
    return twice is None or twice[2:] == (1, 1)


class _SeenError(Exception):
    """Ends a run at the first linear layer."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features


def _searched(module: nn.Module, channels: int) -> Pair | None:
    """Smallest square at which the first linear layer gets as many features as it wants."""
    if not any(isinstance(layer, nn.Linear) for layer in module.modules()):
        return None
    low, high = 1, LARGEST
    while low < high:
        middle = (low + high) // 2
        surplus = _surplus(module, channels, middle)
        low, high = (middle + 1, high) if surplus is None or surplus < 0 else (low, middle)
    return (low, low) if is_patch_classifier(module, channels, low) else None


def _surplus(module: nn.Module, channels: int, side: int) -> int | None:
    """Features that the first linear layer gets beyond those it wants; None if none reach it."""

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Linear)
        raise _SeenError(inputs[0].shape[-1] - layer.in_features)

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        _run_on_nothing(module, channels, (side, side))
    except _SeenError as seen:
        return seen.features
    except Exception:  # as above
        return None
    finally:
        for hook in hooks:
            hook.remove()
    return None


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a dense map is from the answers on single patches."""

    largest: float
    """Of all scores."""

    mean: float
    scale: float
    """Largest score of a patch, in absolute value, to judge the others by."""

    labels: float
    """Share of patches whose highest score is another class."""

    patches: int
    """How many were compared."""

    def __str__(self) -> str:
        return (
            f"largest difference {self.largest:.3g}, mean {self.mean:.3g} (scores up to "
            f"{self.scale:.3g}), {100 * self.labels:.1f} % other labels, {self.patches} patches"
        )


def measure_difference(conversion: Conversion, image: Tensor | None = None) -> Difference:
    """Compare a converted classifier's map with its original's answers patch by patch.

    Up to rounding they are equal if the original does not pad.

    Parameters
    ----------
    image
        (1, channels, y, x) as the network is fed; None is noise over 8 x 8 steps of the map.

    Raises
    ------
    SlideError
        If the image is smaller than a patch.
    """
    patch, stride = conversion.patch, conversion.stride
    if image is None:
        steps = [MEASURED_PX * s for s in stride]
        image = noise(conversion, 1, (patch[0] + steps[0], patch[1] + steps[1]))
    if image.shape[2] < patch[0] or image.shape[3] < patch[1]:
        raise SlideError(
            f"the image has {tuple(image.shape[2:])} px (y, x), a patch {patch}: nothing to compare"
        )
    rows, columns = (
        [i * s for i in range((n - p) // s + 1)]
        for n, p, s in zip(image.shape[2:], patch, stride, strict=True)
    )
    original = copy_to_run(conversion.original)
    with torch.inference_mode():
        dense = conversion.module(image)[0, :, : len(rows), : len(columns)].double()
        single = _patch_by_patch(original, patch, image, [(y, x) for y in rows for x in columns])
    if single.shape[0] != dense.shape[1] * dense.shape[2]:
        raise ModelError("the original does not give one vector of scores for a patch")
    return _compared(dense.flatten(1).T, single.double())


def _patch_by_patch(original: nn.Module, patch: Pair, image: Tensor, corners: list[Pair]) -> Tensor:
    """Scores (patches, classes) of the original."""
    height, width = patch
    found = []
    for start in range(0, len(corners), BATCH):
        part = corners[start : start + BATCH]
        batch = torch.cat([image[:, :, y : y + height, x : x + width] for y, x in part])
        found.append(original(batch).reshape(len(part), -1))
    return torch.cat(found)


def _compared(dense: Tensor, single: Tensor) -> Difference:
    apart = (dense - single).abs()
    return Difference(
        largest=float(apart.max()),
        mean=float(apart.mean()),
        scale=float(single.abs().max()),
        labels=float((dense.argmax(1) != single.argmax(1)).double().mean()),
        patches=len(single),
    )
