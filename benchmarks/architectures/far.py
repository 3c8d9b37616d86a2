"""Is a blocker real?  Change pixels at the far end of the image, look at the near end, in fp64.

Twice: of the whole model, on an image as long as it takes, and of each layer that a blocker names,
on what that layer receives there.  The layer's answer separates the blocker from a merely large
footprint: an op whose rule is only missing does not change at the near end.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.architectures.entry import Entry
    from gigafcn.analysis import Footprint

SIZES = ((2048, 64), (2048, 128), (2048, 256), (1024, 1024), (512, 512), (256, 256))
"""Px (y, x) tried in this order."""

CHANGED_PART = 16
"""One part in so many of the rows is changed, at the bottom."""

ROOTS = ("", "model")
"""Layers that are the whole model, so that asking them says nothing of one op."""


def far_pixels(model: nn.Module, entry: Entry, found: Footprint) -> dict[str, Any]:
    """Relative change at the near end, of the model and of each layer that blocks.

    A layer that cannot be asked, because what it receives is not laid out over the image, has None.
    """
    model = copy.deepcopy(model).double()
    image = _accepted(model, entry)
    if image is None:
        return {"confirmed": None, "error": "the module itself runs at no size tried"}
    layers = list(dict.fromkeys(blocker.layer for blocker in found.blockers))
    changes: dict[str, float | None] = dict.fromkeys(layers)
    hooks = [_ask(model, name, image, changes) for name in layers if name not in ROOTS]
    with torch.inference_mode():
        model(image)
    for hook in hooks:
        hook.remove()
    whole = _change(model, (image,), {}, 0)
    rows = image.shape[2]
    by_layer = [name for name, change in changes.items() if change]
    return {
        "size": list(image.shape[2:]),
        "distance_px": rows - rows // CHANGED_PART - 1,
        "model_change": whole,
        "layer_changes": changes,
        "confirmed": by_layer[0] if by_layer else "the model" if whole else None,
        "first_confirmed": bool(changes[layers[0]]) if changes[layers[0]] is not None else None,
    }


def _accepted(model: nn.Module, entry: Entry) -> Tensor | None:
    """Noise of the first size that the module takes."""
    for size in SIZES if entry.size is None else ((entry.size, entry.size),):
        generator = torch.Generator().manual_seed(4)
        image = torch.randn(1, entry.channels, *size, dtype=torch.float64, generator=generator)
        try:
            with torch.inference_mode():
                model(image)
        except (RuntimeError, ValueError, AssertionError):
            continue
        return image
    return None


def _ask(
    model: nn.Module, name: str, image: Tensor, changes: dict[str, float | None]
) -> torch.utils.hooks.RemovableHandle:
    """When the layer is next called, note how its near end answers to its far end."""
    layer = model.get_submodule(name)
    asked = False

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal asked
        if asked:
            return
        asked = True
        which = next((i for i, a in enumerate(args) if _spans_image(a, image)), None)
        if which is not None:
            changes[name] = _change(layer, args, kwargs, which)

    return layer.register_forward_pre_hook(note, with_kwargs=True)


def _spans_image(argument: Any, image: Tensor) -> bool:
    """Whether a layer's input is laid out (1, c, y, x) or (1, tokens, c) over the whole image."""
    if not isinstance(argument, Tensor) or not argument.is_floating_point():
        return False
    if argument.dim() not in (3, 4) or argument.shape[0] != image.shape[0]:
        return False
    if argument.dim() == 3:
        return argument.shape[1] > 1
    ratio, wanted = argument.shape[2] / argument.shape[3], image.shape[2] / image.shape[3]
    return argument.shape[2] > 1 and abs(ratio - wanted) < 0.1 * wanted


def _change(
    layer: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], which: int
) -> float:
    """Relative change at the near end of the result when the far end of an input changes."""
    given: Tensor = args[which]
    axis = 2 if given.dim() == 4 else 1
    count = max(1, given.shape[axis] // CHANGED_PART)
    changed = given.clone()
    changed.narrow(axis, given.shape[axis] - count, count).mul_(-1.5).add_(0.7)
    with torch.inference_mode():
        before = _tensor(layer(*_own(args), **kwargs))
        after = _tensor(layer(*_own((*args[:which], changed, *args[which + 1 :])), **kwargs))
    if before.dim() in (3, 4):  # a map or tokens; anything else is one answer for the image
        near = 2 if before.dim() == 4 else 1
        before, after = before.narrow(near, 0, 1), after.narrow(near, 0, 1)
    largest = float(before.abs().max())
    return float((after - before).abs().max()) / largest if largest else 0.0


def _own(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments that a layer may overwrite."""
    return tuple(a.clone() if isinstance(a, Tensor) else a for a in args)


def _tensor(result: Any) -> Tensor:
    """The first tensor of what a layer returns."""
    while not isinstance(result, Tensor):
        result = next(iter(result.values())) if isinstance(result, dict) else result[0]
    return result
