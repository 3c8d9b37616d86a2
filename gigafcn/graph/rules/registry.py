"""How an exported op becomes a rule, and what a rule promises.

A *rule* answers, for one op with its arguments filled in, which input positions an output span
depends on, and computes just that output box.  Builders are registered per ATen overload; an
overload without a builder is never guessed, it blocks exact tiling.

Positions are literal: ``need`` answers before clipping to the input's true size, so that what
lies outside is where the op's own padding acts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gigafcn.geometry import Box, Span

Axes = tuple[str, ...]
"""One label per tensor dimension: "b" batch, "c" channel, "y", "x".

A model may flatten pixels into one dimension, labelled "yx" (or "byx"), to apply a linear layer to
each; channels may be flattened with them, and "8yx" says that 8 channels stand before.  Such a
value is kept with y, x and those channels apart; only its labels say what the model sees.
"""

IMAGE_AXES: Axes = ("b", "c", "y", "x")
"""Layout of a model's input and output."""


_ATOM = re.compile(r"\d+|[bcyx]")


class Blocked(Exception):
    """This op cannot be computed box by box; the message is the reason, for the user."""


class Rule(Protocol):
    """What exact tiling needs to know of one op."""

    def need(self, out: Span, axis: int) -> Span:
        """Input positions that output positions ``out`` depend on, along axis 0 (y) or 1 (x)."""
        ...

    def run(self, inputs: Sequence[Tensor], boxes: Sequence[Box], out: Box) -> Tensor:
        """Compute output box ``out``; ``inputs[i]`` holds box ``boxes[i]`` of input i.

        Every given box contains the clipped ``need`` of ``out``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph that depends on the image."""

    node: int
    """Index of the node that makes it."""

    shape: tuple[int, ...]
    """Whole-image sizes, one per dimension."""

    axes: Axes | None
    """Labels of the dimensions; None when a blocked op made it and nothing is known."""

    rule: Rule | None = field(default=None, compare=False, repr=False)
    """What makes it, for ops that ask where their input comes from; None for the image."""

    pixels: tuple[int, int] | None = None
    """Size (y, x) of the whole tensor where the model has flattened y and x."""

    @property
    def grid(self) -> tuple[int, int]:
        """Size (y, x) of the whole tensor in its own pixels."""
        assert self.axes is not None
        if self.pixels is not None:
            return self.pixels
        return self.shape[self.axes.index("y")], self.shape[self.axes.index("x")]


@dataclass(frozen=True, slots=True)
class Built:
    """What a builder returns: the rule, the values it reads, and its output's layout."""

    rule: Rule | None
    """None for an alias of ``inputs[0]``."""

    inputs: tuple[Value, ...]
    """Image-dependent inputs in the order ``run`` receives them."""

    axes: Axes
    """Labels of the output's dimensions."""


@dataclass(frozen=True, slots=True)
class OpCall:
    """One call of the exported program with constants as tensors and the rest as values."""

    target: Callable[..., Any]
    """The ATen overload."""

    arguments: dict[str, Any]
    """Every argument by its schema name, defaults filled in."""

    shape: tuple[int, ...]
    """Output sizes on the whole image."""

    index: int
    """Which output of a multi-output op is meant; 0 for single-output ops."""

    precision: torch.dtype = torch.float32
    """Floating type of the module, in place of which a run may compute in another."""

    dtype: torch.dtype = torch.float32
    """Type of the output, as exported."""

    windows: bool = False
    """Whether views of n rows as (1, n) mean one window of n rows, not a new dimension."""

    def flat(self, name: str) -> Value:
        """An image-dependent argument with its layout known; its pixels may be flattened."""
        found = self.arguments[name]
        if not isinstance(found, Value):
            raise Blocked(f"argument {name!r} does not come from the image")
        if found.axes is None:
            raise Blocked(f"argument {name!r} comes from an op that is not local")
        return found

    def value(self, name: str) -> Value:
        """An image-dependent argument, with its layout known and y and x apart."""
        found = self.flat(name)
        if found.pixels is not None:
            raise Blocked(f"works on flattened pixels, axes {found.axes} of shape {found.shape}")
        return found

    def image(self, name: str) -> Value:
        """An argument that must be laid out (b, c, y, x)."""
        value = self.value(name)
        if value.axes != IMAGE_AXES:
            raise Blocked(
                f"expects axes (batch, channel, y, x), got {tuple(value.axes or ())} "
                f"of shape {value.shape}"
            )
        return value

    def constant(self, name: str) -> Tensor | None:
        """A weight-like argument; an image-dependent one blocks."""
        found = self.arguments[name]
        if isinstance(found, Value):
            raise Blocked(f"argument {name!r} depends on the image (data-dependent weights)")
        assert found is None or isinstance(found, Tensor)
        return found

    def pair(self, name: str) -> tuple[int, int]:
        """An integer list of length 1 or 2 as (y, x)."""
        found = self.arguments[name]
        if isinstance(found, int):
            return found, found
        return (found[0], found[0]) if len(found) == 1 else (found[0], found[1])


Builder = Callable[[OpCall], Built]

_BUILDERS: dict[Callable[..., Any], Builder] = {}


def register(*targets: Callable[..., Any]) -> Callable[[Builder], Builder]:
    """Register a builder for ATen overloads; a second registration is a mistake."""

    def decorate(builder: Builder) -> Builder:
        for target in targets:
            if target in _BUILDERS:
                raise ValueError(f"{target} has a rule already")
            _BUILDERS[target] = builder
        return builder

    return decorate


def build(call: OpCall) -> Built:
    """Turn a call into its rule; raise :class:`Blocked` with the reason if there is none."""
    builder = _BUILDERS.get(call.target)
    if builder is None:
        raise Blocked("no footprint rule covers this op, so no halo can be proved")
    return builder(call)


def registered() -> tuple[Callable[..., Any], ...]:
    """All overloads that have a builder."""
    return tuple(_BUILDERS)


def window_of(tensor: Tensor, held: Box, want: Box, axes: Axes = IMAGE_AXES) -> Tensor:
    """View of ``want`` inside a tensor that holds ``held``."""
    if held == want:
        return tensor
    for label, inner, outer in (("y", want.y, held.y), ("x", want.x, held.x)):
        if inner != outer:
            start = inner.start - outer.start if not inner.is_empty else 0
            tensor = tensor.narrow(axes.index(label), start, inner.size)
    return tensor


def pixels_per_axis(values: Sequence[Value]) -> tuple[int, int]:
    """The common grid of several values; different grids block."""
    grids = {value.grid for value in values}
    if len(grids) != 1:
        raise Blocked(f"inputs lie on different grids (y, x): {sorted(grids)}")
    return grids.pop()


def atoms(label: str) -> list[str]:
    """What a dimension consists of: "b", "c", "y", "x", or how many channels."""
    return _ATOM.findall(label)


def apart(axes: Axes) -> Axes:
    """Labels of the dimensions as they are kept: flattened pixels apart."""
    found = (atom for label in axes for atom in atoms(label))
    return tuple("c" if atom.isdigit() else atom for atom in found)


def whole_shape(shape: tuple[int, ...], axes: Axes, grid: tuple[int, int]) -> tuple[int, ...]:
    """Whole-image sizes of the dimensions as they are kept."""
    sizes: list[int] = []
    for label, size in zip(axes, shape, strict=True):
        fixed = {"b": 1, "y": grid[0], "x": grid[1]}
        parts = [int(atom) if atom.isdigit() else fixed.get(atom, size) for atom in atoms(label)]
        sizes += parts if len(parts) > 1 else [size]
    return tuple(sizes)


def kept_dim(axes: Axes, dim: int) -> int:
    """Where a dimension of a flattened layout is kept."""
    return len(apart(axes[: dim % len(axes)]))


def labels_of(value: Value, dims: Iterable[int] | None) -> list[str]:
    """Labels of some dimensions; of all when none are named."""
    assert value.axes is not None
    chosen = list(dims or ())
    return [value.axes[d % len(value.axes)] for d in chosen] if chosen else list(value.axes)


def place(rule: Rule, convert: Callable[[Tensor], Tensor]) -> Rule:
    """Copy of a rule with every tensor it holds converted (device, precision, layout)."""
    fields = {
        name: _converted(getattr(rule, name), convert)
        for name in getattr(rule, "__dataclass_fields__", {})
    }
    return type(rule)(**fields)


def _converted(value: Any, convert: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return convert(value)
    if type(value) is tuple:
        return tuple(_converted(item, convert) for item in value)
    return value
