"""How is a patch classifier rewritten as a network for images of any size?

It is exported at the patch's size and its ops are walked in order.  Those with a local rule stay
as they are (:mod:`gigafcn.convert.trunk`).  The first op without one begins the head, whose ops
have counterparts of their own (:mod:`gigafcn.convert.head`) or keep the network from being
converted.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch.export.graph_signature import InputKind, OutputKind

from gigafcn.convert.draft import Draft
from gigafcn.convert.head import patch_call
from gigafcn.convert.layout import as_map, as_patch_value
from gigafcn.convert.network import IMAGE, Ref
from gigafcn.convert.trunk import Call, map_call
from gigafcn.convert.values import Constant, Lattice, Map, PatchValue, RefusedError
from gigafcn.errors import ModelError
from gigafcn.graph.export import WRAPPED, exported, functional, precision_of
from gigafcn.graph.rules import IMAGE_AXES, Blocked, Value

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from gigafcn.convert.network import FullyConvolutional

aten = torch.ops.aten

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A converted network, not yet checked."""

    module: FullyConvolutional
    stride: Pair
    """Image px (y, x) per px of its map."""

    changes: tuple[str, ...]
    """What became of layers of the head, by path."""


class NotConvertibleError(Exception):
    """Names the layer and the op that keep a network from being converted, and why."""


def exported_classifier(module: nn.Module, channels: int, patch: Pair) -> ExportedProgram:
    """The ops of a classifier for one patch.

    Raises
    ------
    ModelError
        If the module cannot be exported for such a patch.
    """
    return functional(exported(module, channels, patch))


def rewritten(
    module: nn.Module, program: ExportedProgram, output_stride: int | None, crop: Pair = (0, 0)
) -> Rewritten:
    """Rewrite a classifier of patches.

    Parameters
    ----------
    program
        Its ops.
    output_stride
        Px to which strides go; what is beyond becomes dilation. None keeps all strides.
    crop
        Px (y, x) to leave out at the map's end: those of patches that a padded map has beyond.

    Raises
    ------
    ModelError
        If the module returns no scores.
    NotConvertibleError
        If an op has no counterpart.
    """
    walk = _Walk(program, precision_of(module), output_stride)
    for node in program.graph.nodes:
        walk.add(node)
    scores = walk.scores()
    ref, lattice = scores.ref, scores.lattice
    for axis, beyond in enumerate(crop):
        # After a resize there are positions at which no patch starts.
        step = int(lattice.period[axis] / lattice.stride[axis])
        if step > 1:
            ref = walk.draft.emit(aten.slice.Tensor, ref, 2 + axis, 0, None, step)
        if beyond:
            ref = walk.draft.emit(aten.slice.Tensor, ref, 2 + axis, 0, -beyond)
    network = walk.draft.finished(module, ref, walk.captured)
    return Rewritten(network, lattice.period, tuple(walk.draft.changes))


@dataclass(slots=True)
class _Walk:
    program: ExportedProgram
    precision: torch.dtype
    output_stride: int | None
    draft: Draft = field(default_factory=Draft)
    known: dict[str, Any] = field(default_factory=dict)
    captured: dict[str, Any] = field(default_factory=dict)
    """Constants of the program that are no parameters, by name."""

    returned: list[Any] = field(default_factory=list)

    def add(self, node: torch.fx.Node) -> None:
        """Take the next node of the program."""
        if node.op == "placeholder":
            self._placeholder(node)
        elif node.op == "get_attr":
            tensor = getattr(self.program.graph_module, str(node.target))
            self.known[node.name] = Constant(tensor)
        elif node.op == "call_function":
            self._call(node)
        elif node.op == "output":
            results = node.args[0]
            assert isinstance(results, tuple | list)
            specs = self.program.graph_signature.output_specs
            self.returned = [
                self._resolve(item)
                for item, spec in zip(results, specs, strict=True)
                if spec.kind is OutputKind.USER_OUTPUT
            ]

    def _placeholder(self, node: torch.fx.Node) -> None:
        spec = next(s for s in self.program.graph_signature.input_specs if s.arg.name == node.name)
        if spec.kind is InputKind.USER_INPUT:
            value = Value(0, tuple(node.meta["val"].shape), IMAGE_AXES)
            one = Fraction(1)
            self.known[node.name] = Map(Ref(IMAGE), value, Lattice((one, one)))
            return
        target = str(spec.target)
        name = target.removeprefix(f"{WRAPPED}.")
        tensor = self.program.state_dict.get(target)
        if tensor is None:
            tensor = self.captured[name] = self.program.constants[target]
        self.known[node.name] = Constant(tensor.detach(), name)

    def _resolve(self, argument: Any) -> Any:
        if isinstance(argument, torch.fx.Node):
            return self.known[argument.name]
        if isinstance(argument, list | tuple):
            return [self._resolve(item) for item in argument]
        return argument

    def _call(self, node: torch.fx.Node) -> None:
        args = [self._resolve(argument) for argument in node.args]
        kwargs = {name: self._resolve(argument) for name, argument in node.kwargs.items()}
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            return
        if node.target is operator.getitem:
            self.known[node.name] = args[0][args[1]]
            return
        if not _depends([*args, *kwargs.values()]):
            self._constant(node, args, kwargs)
            return
        self.draft.layer = _layer(node)
        result = node.meta.get("val")
        if isinstance(result, list | tuple):
            used = [i for i in range(len(result)) if _is_used(node, i)]
            self.known[node.name] = {i: self._one(node, args, kwargs, i) for i in used}
        else:
            self.known[node.name] = self._one(node, args, kwargs, None)

    def _constant(self, node: torch.fx.Node, args: list[Any], kwargs: dict[str, Any]) -> None:
        assert callable(node.target)
        with torch.no_grad():
            options = {name: _tensors(value) for name, value in kwargs.items()}
            result = node.target(*_tensors(args), **options)
        if isinstance(result, list | tuple):
            self.known[node.name] = [Constant(item) for item in result]
        else:
            self.known[node.name] = Constant(result)

    def _one(
        self, node: torch.fx.Node, args: list[Any], kwargs: dict[str, Any], index: int | None
    ) -> Map | PatchValue:
        """One result of a call."""
        try:
            call = self._described(node, args, kwargs, index)
            call = replace(call, arguments=_as_maps(call.arguments, self.draft))
            reason = None
            if not _holds(PatchValue, list(call.arguments.values())):
                try:
                    return map_call(call, self.draft, self.output_stride)
                except Blocked as blocked:
                    reason = str(blocked)
            return patch_call(call, self.draft, reason)
        except RefusedError as refused:
            place = f"{_layer(node) or 'model'}: {node.target}"
            raise NotConvertibleError(f"{place}: {refused}") from refused

    def _described(
        self, node: torch.fx.Node, args: list[Any], kwargs: dict[str, Any], index: int | None
    ) -> Call:
        schema = getattr(node.target, "_schema", None)
        result = node.meta.get("val")
        tensor = result if index is None else result[index]  # type: ignore[index]
        if schema is None or not isinstance(tensor, torch.Tensor):
            raise RefusedError("reads the value of a pixel into Python")
        filled = {
            a.name: args[i] if i < len(args) else kwargs.get(a.name, a.default_value)
            for i, a in enumerate(schema.arguments)
        }
        return Call(
            target=node.target,
            arguments=filled,
            shape=tuple(tensor.shape),
            index=index or 0,
            several=index is not None,
            precision=self.precision,
            dtype=tensor.dtype,
        )

    def scores(self) -> PatchValue:
        """The one output, a vector of scores for a patch."""
        images = [r for r in self.returned if isinstance(r, Map | PatchValue)]
        if len(images) != 1:
            raise ModelError(
                f"a classifier of patches returns one tensor of scores, this model returns "
                f"{len(images)}; wrap it in a module that returns the one you want"
            )
        found = images[0]
        if isinstance(found, Map):
            shape = found.value.shape
            try:
                found = as_patch_value(found, self.draft)
            except RefusedError as refused:
                raise _no_classifier(shape) from refused
        dims = [d for d in range(len(found.dims)) if found.shape[d] > 1]
        is_vector = all(found.is_only(d, "c") for d in dims) and len(dims) <= 1
        if not is_vector or found.pooling is not None:
            raise _no_classifier(found.shape)
        return found


def _no_classifier(shape: tuple[int, ...]) -> ModelError:
    return ModelError(
        f"the model returns shape {shape} for one patch, so it is no classifier of patches "
        f"(batch, classes)"
    )


def _as_maps(argument: Any, draft: Draft) -> Any:
    """Arguments in which patch values that are maps again are taken as such."""
    if isinstance(argument, list | tuple):
        return [_as_maps(item, draft) for item in argument]
    if isinstance(argument, dict):
        return {name: _as_maps(item, draft) for name, item in argument.items()}
    return as_map(argument, draft) if isinstance(argument, PatchValue) else argument


def _depends(argument: Any) -> bool:
    return _holds(Map | PatchValue, argument)


def _holds(kind: Any, argument: Any) -> bool:
    if isinstance(argument, list | tuple):
        return any(_holds(kind, item) for item in argument)
    if isinstance(argument, dict):
        return any(_holds(kind, item) for item in argument.values())
    return isinstance(argument, kind)


def _tensors(argument: Any) -> Any:
    if isinstance(argument, list | tuple):
        return [_tensors(item) for item in argument]
    return argument.tensor if isinstance(argument, Constant) else argument


def _is_used(node: torch.fx.Node, index: int) -> bool:
    return any(user.target is operator.getitem and user.args[1] == index for user in node.users)


def _layer(node: torch.fx.Node) -> str:
    """Path of the innermost layer of the original that made an op."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next((str(path) for path, _ in reversed(stack.values())), "")
    return path.removeprefix(WRAPPED).removeprefix(".")
