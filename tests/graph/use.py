"""One op with its arguments filled in, as torch runs it and as tracing sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gigafcn.graph.rules import IMAGE_AXES, OpCall, Value, apart, build, whole_shape
from gigafcn.graph.rules.unpool import MaxPoolIndices

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from gigafcn.graph.rules import Built

CHANNELS = 4
IMAGE = "the image"
"""Stands for the image among an op's arguments."""


@dataclass(frozen=True, slots=True)
class Use:
    """One op with its arguments filled in."""

    target: Callable[..., Any]
    arguments: tuple[Any, ...]
    grid: tuple[int, int]
    """Input size (y, x)."""

    exact: tuple[bool, bool]
    """Per axis, whether the clipped need is claimed to be the exact hull."""

    exact_inside: bool = True
    """Whether an end of the need that lies inside the image is claimed to be exact."""

    index: int = 0
    """Which result of an op that returns several."""

    before: Callable[[Tensor], Tensor] | None = None
    """What makes the op's input of the image, for ops on other layouts."""

    axes: tuple[str, ...] = IMAGE_AXES
    """Layout of the op's input."""

    def __call__(self, image: Tensor) -> Tensor:
        """What torch says of the whole image."""
        result: Any = self.target(*_with(self.arguments, self._given(image)))
        chosen: Tensor = result[self.index] if isinstance(result, tuple | list) else result
        return chosen

    def _given(self, image: Tensor) -> Tensor:
        return image if self.before is None else self.before(image)

    def whole(self, image: Tensor) -> Tensor:
        """The same with pixels that the op sees flattened kept apart."""
        return self._kept(self(image), self.built().axes)

    def once(self, image: Tensor) -> Tensor:
        """What a rule must give: the same, for the inputs of :meth:`inputs`."""
        return self.whole(image)

    def _kept(self, tensor: Tensor, axes: tuple[str, ...]) -> Tensor:
        if apart(axes) == axes:
            return tensor
        return tensor.reshape(-1, *whole_shape(tuple(tensor.shape), axes, self.grid)[1:])

    def inputs(self, image: Tensor) -> list[Tensor]:
        """The rule's inputs on the whole image."""
        return [self._kept(self._given(image), self.axes)] * len(self.built().inputs)

    def built(self) -> Built:
        """The rule as tracing would build it."""
        image = torch.zeros((1, CHANNELS, *self.grid), dtype=torch.float64)
        given, out = self._given(image), self(image)
        dtype = torch.float32 if out.dtype == torch.float64 else out.dtype
        pixels = None if apart(self.axes) == self.axes else self.grid
        value = Value(0, tuple(given.shape), self.axes, None, pixels)
        arguments = self._named(value)
        call = OpCall(self.target, arguments, tuple(out.shape), self.index, dtype=dtype)
        return build(call)

    def _named(self, value: Value) -> dict[str, Any]:
        schema = getattr(self.target, "_schema").arguments  # noqa: B009 - private in torch's stubs
        given = _with(self.arguments, value)
        return {
            a.name: given[i] if i < len(given) else a.default_value for i, a in enumerate(schema)
        }

    def __str__(self) -> str:
        shown = [tuple(a.shape) if isinstance(a, torch.Tensor) else a for a in self.arguments]
        return f"{self.target}{tuple(shown)} on {self.grid}"


@dataclass(frozen=True, slots=True)
class UnpoolUse(Use):
    """Max-unpooling of a pooled tensor of ``grid``, once for every place in a window.

    ``arguments`` are kernel, stride and padding of the pool and the size (y, x) of what it pooled.
    """

    def __call__(self, image: Tensor) -> Tensor:
        """The sum over all places: what any maxima could write."""
        return torch.stack([self._spread(image, at) for at in range(self._places)]).sum(dim=0)

    @property
    def _places(self) -> int:
        return int(self.arguments[0][0] * self.arguments[0][1])

    def indices(self, at: int) -> Tensor:
        """Where maxima lie if each is the ``at``-th of its window, or the nearest to it inside."""
        kernel, stride, padding, size = self.arguments
        place = divmod(at, kernel[1])
        edges = [
            (torch.arange(self.grid[a]) * stride[a] - padding[a] + place[a]).clamp(0, size[a] - 1)
            for a in (0, 1)
        ]
        flat: Tensor = edges[0][:, None] * size[1] + edges[1]
        return flat

    def _spread(self, image: Tensor, at: int) -> Tensor:
        index = self.indices(at).expand(image.shape).contiguous()
        result: Tensor = self.target(image.contiguous(), index, self.arguments[3])
        return result

    def once(self, image: Tensor) -> Tensor:
        """Unpooled from maxima at the last place."""
        return self._spread(image, self._places - 1)

    def inputs(self, image: Tensor) -> list[Tensor]:
        """Values, and maxima at the last place."""
        index = self.indices(self._places - 1).expand(image.shape).contiguous()
        return [image, index]

    def built(self) -> Built:
        """The rule as tracing would build it after the pool."""
        kernel, stride, padding, size = self.arguments
        pool = MaxPoolIndices(kernel, stride, padding, (1, 1), size)
        shape = (1, CHANNELS, *self.grid)
        arguments = {
            "self": Value(0, shape, IMAGE_AXES),
            "indices": Value(1, shape, IMAGE_AXES, pool),
            "output_size": list(size),
        }
        return build(OpCall(self.target, arguments, (1, CHANNELS, *size), 0))


def _with(argument: Any, image: Any) -> Any:
    if isinstance(argument, str) and argument == IMAGE:
        return image
    if isinstance(argument, list | tuple):
        return type(argument)(_with(item, image) for item in argument)
    return argument
