"""Run the module itself on a batch of windows, and take the output that was asked for.

Blend and patch need no graph: any module will do, TorchScript and wrapped ONNX included.  It is
called as it is, on the plan's device, in its precision, with weights and pixels channels-last.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gigafcn.engine.axes import arranged
from gigafcn.engine.precision import as_asked
from gigafcn.engine.tuned import tune
from gigafcn.errors import GigafcnError, ModelError, RunError
from gigafcn.graph.calls import Calls, calls_of, unlike
from gigafcn.graph.copying import copy_to_run
from gigafcn.graph.outputs import ONLY, mapped_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from gigafcn.plan.windows import Windows

REASON_LETTERS = 200


@dataclass(frozen=True, slots=True)
class Forward:
    """A placed module, and which of its outputs counts."""

    module: nn.Module
    output: str | int | None
    axes: str | None = None
    """What the dimensions of that output are, see :mod:`gigafcn.engine.axes`; None if not known:
    then (b, classes, y, x), (b, classes) or (b,)."""

    def __call__(self, batch: Tensor) -> Tensor:
        """Output (b, c, y, x) for a batch (b, c, y, x); y and x are 1 for a classifier's.

        Raises
        ------
        RunError
            If the module fails, with its reason.
        ModelError
            If what it returns is no map and no scores, or does not say which output counts.
        """
        output = self.returned(batch)
        if self.axes is None:
            return _in_four_dimensions(output)
        return arranged(output, self.axes, len(batch))

    def returned(self, batch: Tensor) -> Tensor:
        """That output as the module returns it.

        Raises
        ------
        RunError
            If the module fails, with its reason.
        ModelError
            If what it returns is no tensor, or does not say which output counts.
        """
        try:
            returned = self.module(batch)
        except GigafcnError:
            raise
        except Exception as error:  # the user's own code may raise anything
            reason = " ".join(str(error).split())[-REASON_LETTERS:]
            shape = " x ".join(str(n) for n in batch.shape)
            raise RunError(
                f"the model fails on an input of {shape}: {type(error).__name__}: {reason}"
            ) from error
        return chosen_output(returned, self.output)


def placed_module(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A copy of a module, as it runs; the module itself if it cannot be copied."""
    own = copy_to_run(module)
    with warnings.catch_warnings(), torch.no_grad():
        # Copies of TorchScript weights are not leaves, of which torch warns when it moves them.
        warnings.simplefilter("ignore", UserWarning)
        placed: nn.Module = own.eval().to(device, dtype)
        placed.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # it exists
    return placed


def tuned_forward(
    module: nn.Module,
    output: str | int | None,
    shape: tuple[int, int, int],
    axes: str | None = None,
    **place: Any,
) -> Forward:
    """A copy of a module as it runs on windows of ``shape`` (c, y, x).

    Parameters
    ----------
    output
        See :func:`chosen_output`.
    axes
        See :class:`Forward`.
    place
        ``device`` and ``dtype`` to run it with.

    Raises
    ------
    UnsteadyError
        If the module draws random numbers, or answers the same window differently the next time.
    """
    calls = calls_of(module, shape[0], shape[1:])
    apart = any(calls.names_unlike().values())
    if calls.drawn or (apart and bool(chosen_output(calls.unlike, output).any())):
        raise calls.refusal(module)
    placed = placed_module(module, place["device"], place["dtype"])
    forward = Forward(placed, output, axes)
    if calls.size is None:
        _refuse_unsteady(module, forward.returned, noise(1, shape, **place))
    # Of layers whose weights are written at each call, none may be made ready beforehand.
    if placed is not module and not calls.written:
        tune(placed, forward.returned, noise(1, shape, **place))
    return forward


def _refuse_unsteady(module: nn.Module, call: Callable[[Tensor], Tensor], pixels: Tensor) -> None:
    """Refuse a module that was not called yet, if two calls differ."""
    with as_asked(), suppress(RunError):  # what it does not take is refused where it matters
        if bool(unlike(call(pixels), call(pixels)).any()):
            raise Calls().refusal(module)


def noise(count: int, shape: tuple[int, int, int], **place: Any) -> Tensor:
    """The same random input (b, c, y, x) each time, channels-last."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn((count, *shape), generator=generator).to(**place)
    return pixels.contiguous(memory_format=torch.channels_last)


def chosen_output(returned: Any, choice: str | int | None) -> Tensor:
    """One tensor of what a module returned.

    Parameters
    ----------
    returned
        A tensor, or tuples, lists and mappings of tensors.
    choice
        Name or index; None decides by the names, see :mod:`gigafcn.graph.outputs`.

    Raises
    ------
    ModelError
        If there is none such, naming the outputs there are.
    QuestionError
        If several may be the map.
    """
    named = dict(_named(returned, ""))
    if not named:
        raise ModelError(f"the model returns {type(returned).__name__}, no tensor")
    shapes = {name: tuple(tensor.shape) for name, tensor in named.items()}
    return named[mapped_name(shapes, choice)]


def _named(returned: Any, name: str) -> list[tuple[str, Tensor]]:
    """Every tensor with its path: keys, indices and fields, joined by dots."""
    items: list[tuple[Any, Any]]
    if isinstance(returned, Tensor):
        return [(name or ONLY, returned)]
    if isinstance(returned, Mapping):
        items = list(returned.items())
    elif isinstance(returned, tuple) and hasattr(returned, "_asdict"):
        items = list(returned._asdict().items())
    elif isinstance(returned, tuple | list):
        items = list(enumerate(returned))
    elif dataclasses.is_dataclass(returned):
        items = [(f.name, getattr(returned, f.name)) for f in dataclasses.fields(returned)]
    else:
        return []
    prefix = f"{name}." if name else ""
    return [found for key, item in items for found in _named(item, f"{prefix}{key}")]


def _in_four_dimensions(output: Tensor) -> Tensor:
    """Scores (b, classes) or (b,) as maps of one px."""
    match output.dim():
        case 4:
            return output
        case 2:
            return output[:, :, None, None]
        case 1:
            return output[:, None, None, None]
        case _:
            raise ModelError(
                f"the model returns a tensor of shape {tuple(output.shape)}, neither "
                f"(b, classes, y, x) nor (b, classes)"
            )


def refuse_other_shape(output: Tensor, windows: Windows, count: int, classes: int) -> None:
    """Raise unless a batch's output has the shape that the run was planned with.

    Raises
    ------
    RunError
        With both shapes: the output depends on what the windows hold.
    """
    expected = (count, classes, *windows.cell)
    if tuple(output.shape) != expected:
        raise RunError(
            f"the model's output changes between windows: {tuple(output.shape)} (b, c, y, x) "
            f"where {expected} was expected"
        )
