"""A converted network while it is being written: its steps, its weights, what became of layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gigafcn.convert.network import FullyConvolutional, Ref, Step, Weight
from gigafcn.convert.values import Constant

if TYPE_CHECKING:
    from collections.abc import Mapping

aten = torch.ops.aten


@dataclass(slots=True)
class Draft:
    """Collects steps; one layer is written at a time."""

    steps: list[Step] = field(default_factory=list)
    reshaped: dict[str, Tensor] = field(default_factory=dict)
    """Weights that have another shape than in the original, by name."""

    constants: dict[str, Tensor] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """Names of weights used as they are."""

    layer: str = ""
    """Path of the layer that steps belong to."""

    changes: list[str] = field(default_factory=list)
    """What became of layers, for the report."""

    def emit(
        self,
        op: Any,
        *arguments: Any,
        options: Mapping[str, Any] | None = None,
        output: int | None = None,
    ) -> Ref:
        """Add a step; constants and lists are taken as they come."""
        plain = tuple((name, self._plain(value)) for name, value in (options or {}).items())
        values = tuple(self._plain(argument) for argument in arguments)
        self.steps.append(Step(str(op), self.layer, values, plain, output))
        return Ref(len(self.steps) - 1)

    def _plain(self, argument: Any) -> Any:
        if isinstance(argument, Constant):
            return self._constant(argument)
        if isinstance(argument, Tensor):
            return self._constant(Constant(argument))
        if isinstance(argument, list | tuple):
            return tuple(self._plain(item) for item in argument)
        return argument

    def _constant(self, constant: Constant) -> Weight:
        name = constant.name
        if name is not None and self.reshaped.get(name, constant.tensor) is constant.tensor:
            self.used.add(name)
            return Weight(name)
        name = f"gigafcn_constant_{len(self.constants)}"
        self.constants[name] = constant.tensor.detach()
        return Weight(name)

    def as_kernel(self, constant: Constant, kernel: Tensor) -> Constant:
        """A weight in the shape of a convolution's, under its own name if nothing else has it."""
        name = constant.name
        if name is None or name in self.used or name in self.reshaped:
            return Constant(kernel)
        self.reshaped[name] = kernel
        return Constant(kernel, name)

    def changed(self, what: str) -> None:
        """Note what became of the current layer."""
        self.changes.append(f"{self.layer or 'model'}: {what}")

    def finished(
        self, original: nn.Module, result: Ref, captured: Mapping[str, Tensor]
    ) -> FullyConvolutional:
        """The network that ends in ``result``, with the original's weights in their own memory.

        Parameters
        ----------
        captured
            Tensors that the original uses but does not register, by name.
        """
        if result.step != len(self.steps) - 1:
            result = self.emit(aten.alias.default, result)
        weights: dict[str, Tensor] = {}
        for name, tensor in original.state_dict(keep_vars=True).items():
            if name in self.reshaped:
                kernel = self.reshaped[name].detach()
                weights[name] = nn.Parameter(kernel, requires_grad=tensor.requires_grad)
            elif isinstance(tensor, Tensor):
                weights[name] = tensor
        missing = {name: captured[name] for name in self.used - weights.keys()}
        layers = dict.fromkeys(step.layer for step in self.steps)
        return FullyConvolutional(
            self.steps, weights, constants=missing | self.constants, layers=layers
        )
