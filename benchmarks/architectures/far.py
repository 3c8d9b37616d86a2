"""Is a blocker real?  Change pixels at the far end of the image, look at the near end, in fp64.

Twice: of the whole model, on an image as long as it takes, and of each layer that a blocker names,
on what that layer receives there.  The layer's answer separates the blocker from a merely large
footprint: an op whose rule is only missing does not change at the near end.

A layer that does not feel the far end may still reach farther the larger the image is: adaptive
pooling to k x k reads a k-th part of it.  So such a layer is asked how far it reaches, on the
image and on one twice as long; if that grows, no halo is large enough.
"""

from __future__ import annotations

import contextlib
import copy
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

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

Answer = TypeVar("Answer")
"""What a layer is asked for: a change, or a distance."""

Reaches = tuple[int, int | None]
"""Px on an image, and on one twice as long if the model takes that."""

ROOTS = ("", "model")
"""Layers that are the whole model, so that asking them says nothing of one op."""


def far_pixels(model: nn.Module, entry: Entry, found: Footprint) -> dict[str, Any]:
    """Relative change at the near end, of the model and of each layer that blocks.

    A layer that cannot be asked, because what it receives is not laid out over the image, has None.
    ``layer_reaches`` has, for each layer that does not change, the px over which it feels a change
    on this image and on one twice as long, or None for that if the model does not take it.
    """
    model = copy.deepcopy(model).double()
    image = _accepted(model, entry)
    if image is None:
        return {"confirmed": None, "error": "the module itself runs at no size tried"}
    layers = list(dict.fromkeys(blocker.layer for blocker in found.blockers))
    asked = _asked(model, image, layers, _change)
    changes = {name: asked.get(name) for name in layers}
    whole = _change(model, (image,), {}, 0)
    reaches = _reaches(model, image, [name for name in layers if changes[name] == 0])
    real = [name for name in layers if changes[name] or grows(reaches.get(name))]
    rows = image.shape[2]
    return {
        "size": list(image.shape[2:]),
        "distance_px": rows - rows // CHANGED_PART - 1,
        "model_change": whole,
        "layer_changes": changes,
        "layer_reaches": reaches,
        "confirmed": real[0] if real else "the model" if whole else None,
        "first_confirmed": layers[0] in real if changes[layers[0]] is not None else None,
    }


def grows(reaches: Reaches | None) -> bool:
    """Whether a layer reaches farther on the longer image."""
    return reaches is not None and reaches[1] is not None and reaches[1] > reaches[0]


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


def _asked(
    model: nn.Module,
    image: Tensor,
    names: list[str],
    question: Callable[[nn.Module, tuple[Any, ...], dict[str, Any], int], Answer],
) -> dict[str, Answer]:
    """What layers answer, each on what it receives when it is first called with the image."""
    answers: dict[str, Answer] = {}
    seen: set[str] = set()

    def note(name: str, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name in seen:
            return
        seen.add(name)
        which = next((i for i, a in enumerate(args) if _spans_image(a, image)), None)
        if which is not None:
            answers[name] = question(layer, args, kwargs, which)

    hooks = [
        model.get_submodule(name).register_forward_pre_hook(partial(note, name), with_kwargs=True)
        for name in names
        if name not in ROOTS
    ]
    with torch.inference_mode():
        model(image)
    for hook in hooks:
        hook.remove()
    return answers


def _reaches(model: nn.Module, image: Tensor, names: list[str]) -> dict[str, Reaches]:
    """Px that layers reach, on the image and on one twice as long, None if it is not taken."""
    if not names:
        return {}
    near = _asked(model, image, names, partial(_reach, image.shape[2]))
    generator = torch.Generator().manual_seed(4)
    shape = (*image.shape[:2], 2 * image.shape[2], image.shape[3])
    longer = torch.randn(shape, dtype=image.dtype, generator=generator)
    farther: dict[str, int] = {}
    with contextlib.suppress(RuntimeError, ValueError, AssertionError):  # made for one size
        farther = _asked(model, longer, names, partial(_reach, longer.shape[2]))
    return {name: (near[name], farther.get(name)) for name in names}


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
    rows = given.shape[2 if given.dim() == 4 else 1]
    return _change_from(rows - max(1, rows // CHANGED_PART), layer, args, kwargs, which)


def _reach(
    image_rows: int,
    layer: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    which: int,
) -> int:
    """Px of the image from its top to the last row whose change the near end feels, by halving."""
    given: Tensor = args[which]
    rows = given.shape[2 if given.dim() == 4 else 1]
    felt, unfelt = 0, rows
    while unfelt - felt > 1:
        row = (felt + unfelt) // 2
        if _change_from(row, layer, args, kwargs, which):
            felt = row
        else:
            unfelt = row
    return unfelt * image_rows // rows


def _change_from(
    row: int,
    layer: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    which: int,
) -> float:
    """Relative change at the near end of the result when an input changes from a row on."""
    given: Tensor = args[which]
    axis = 2 if given.dim() == 4 else 1
    changed = given.clone()
    changed.narrow(axis, row, given.shape[axis] - row).mul_(-1.5).add_(0.7)
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
