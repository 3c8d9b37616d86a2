"""What is a converted network made of?

A list of steps, each one ATen op with its arguments filled in, run in order under the names of the
layers of the network that was converted.  Parameters and buffers keep their names and their
memory, so a layer is called in the converted network what it was called in the original.  Steps
are plain data: the network can be copied, pickled and exported like any other module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

IMAGE = -1
"""Number of the image among the results of steps."""


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for the result of an earlier step, or for the image."""

    step: int


@dataclass(frozen=True, slots=True)
class Weight:
    """Stands for a parameter, a buffer or another constant."""

    name: str


@dataclass(frozen=True, slots=True)
class Size:
    """Stands for the size of one dimension of an earlier result, times a ratio."""

    of: Ref
    dim: int
    times: int = 1
    over: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One op."""

    op: str
    """ATen overload, e.g. "aten.conv2d.default"."""

    layer: str
    """Path of the layer that it belongs to."""

    arguments: tuple[Any, ...]
    """By position, with stand-ins."""

    options: tuple[tuple[str, Any], ...] = ()
    """By name."""

    output: int | None = None
    """Which result of an op with several."""


class Layer(nn.Module):
    """Holds the weights of a layer under their names; runs an op in its name."""

    def forward(self, op: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Whatever the op returns."""
        return op(*arguments, **options)


class FullyConvolutional(nn.Module):
    """A patch classifier that maps (b, c, y, x) to scores (b, classes, y', x').

    Parameters
    ----------
    steps
        Ops in order; the last one makes the scores.
    weights
        Parameters and buffers by name.
    constants
        Other tensors by name; not part of the state dict.
    layers
        Paths of layers that steps name.
    """

    def __init__(
        self,
        steps: Iterable[Step],
        weights: Mapping[str, Tensor],
        *,
        constants: Mapping[str, Tensor],
        layers: Iterable[str],
    ) -> None:
        super().__init__()
        self._steps = tuple(steps)
        for path in layers:
            self._layer(path)
        for name, tensor in weights.items():
            self._hold(name, tensor, persistent=True)
        for name, tensor in constants.items():
            self._hold(name, tensor, persistent=False)
        self.eval()

    def _layer(self, path: str) -> nn.Module:
        """The layer at a path, made if need be."""
        layer: nn.Module = self
        for name in path.split(".") if path else ():
            if name not in layer._modules:
                layer.add_module(name, Layer())
            layer = layer.get_submodule(name)
        return layer

    def _hold(self, name: str, tensor: Tensor, *, persistent: bool) -> None:
        path, _, last = name.rpartition(".")
        layer = self._layer(path)
        if isinstance(tensor, nn.Parameter):
            layer.register_parameter(last, tensor)
        else:
            layer.register_buffer(last, tensor, persistent=persistent)

    def forward(self, image: Tensor) -> Tensor:
        """Scores (b, classes, y', x') of an image (b, c, y, x) of at least the patch's size."""
        results: dict[int, Any] = {IMAGE: image}
        for number, step in enumerate(self._steps):
            run = self.get_submodule(step.layer) if step.layer else Layer()
            arguments = self._filled(step.arguments, results)
            options = {name: self._filled(value, results) for name, value in step.options}
            result = run(operator(step.op), *arguments, **options)
            results[number] = result if step.output is None else result[step.output]
        scores: Tensor = results[len(self._steps) - 1]
        return scores

    def _filled(self, argument: Any, results: Mapping[int, Any]) -> Any:
        match argument:
            case Ref(step):
                return results[step]
            case Weight(name):
                path, _, last = name.rpartition(".")
                return getattr(self.get_submodule(path), last)
            case Size(of, dim, times, over):
                return results[of.step].shape[dim] * times // over
            case tuple():
                return [self._filled(item, results) for item in argument]
            case _:
                return argument


def operator(name: str) -> Callable[..., Any]:
    """The ATen overload of a name such as "aten.conv2d.default"."""
    namespace, packet, overload = name.split(".")
    found: Callable[..., Any] = getattr(getattr(getattr(torch.ops, namespace), packet), overload)
    return found
