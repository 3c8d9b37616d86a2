"""From an exported program to nodes with rules, constants, and blockers.

What depends on no pixel is computed here once; what depends on pixels gets a rule or becomes a
blocker that names layer, op and reason.  A blocked op stays in the list of nodes, so that it is
known later which outputs it stands in the way of.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.export.graph_signature import InputKind

from gigafcn.graph.drawing import DRAWS, draws
from gigafcn.graph.export import WRAPPED
from gigafcn.graph.model_graph import Blocker, Node
from gigafcn.graph.outputs import Output, named_outputs
from gigafcn.graph.rules import IMAGE_AXES, Blocked, OpCall, Value, apart, build, whole_shape
from gigafcn.graph.rules.constants import FILLED, filled
from gigafcn.graph.rules.regroup import may_be_windows
from gigafcn.graph.writes import Memory, NeedsFunctionalError, written_as_new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch.export import ExportedProgram

    from gigafcn.graph.rules import Built

MAX_CONSTANT = 1 << 24
"""Largest constant, in elements, that is computed while tracing."""


@dataclass(frozen=True, slots=True)
class BuiltProgram:
    """All that a module computes, for all of its outputs."""

    nodes: tuple[Node, ...]
    """The image first; blocked ops have no rule."""

    blockers: dict[int, Blocker]
    """By index of the blocked node."""

    outputs: tuple[Output, ...]


def built_program(program: ExportedProgram, precision: torch.dtype) -> BuiltProgram:
    """Walk an exported program, reading views of n rows as (1, n) in the way that blocks less.

    Such a view may add a dimension or cut one window of n rows; each reading that no op objects to
    is right.

    Raises
    ------
    NeedsFunctionalError
        If the program writes into tensors in a way that is not followed here.
    """
    built = _walked(program, precision, windows=False)
    if not built.blockers or not any(may_be_windows(node.rule) for node in built.nodes):
        return built
    other = _walked(program, precision, windows=True)
    return other if len(other.blockers) < len(built.blockers) else built


def _walked(program: ExportedProgram, precision: torch.dtype, *, windows: bool) -> BuiltProgram:
    builder = _Builder(program, precision, Memory(program), windows)
    for node in program.graph.nodes:
        builder.add(node)
    outputs = named_outputs(program, builder.returned)
    return BuiltProgram(tuple(builder.nodes), builder.blockers, outputs)


@dataclass(slots=True)
class _Builder:
    program: ExportedProgram
    precision: torch.dtype
    memory: Memory
    windows: bool
    """How views of n rows as (1, n) are read, see :class:`OpCall`."""

    nodes: list[Node] = field(default_factory=list)
    blockers: dict[int, Blocker] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    """Meaning of each exported node: a Value, a constant, or several of either by index."""

    returned: list[Any] = field(default_factory=list)

    def add(self, node: torch.fx.Node) -> None:
        """Take the next node of the program."""
        self.memory.add(node)
        if node.op == "placeholder":
            self._placeholder(node)
        elif node.op == "get_attr":
            self.known[node.name] = getattr(self.program.graph_module, str(node.target))
        elif node.op == "call_function":
            self._call(node)
        elif node.op == "output":
            results = node.args[0]
            assert isinstance(results, tuple | list)
            self.returned = [self._resolve(item) for item in results]

    def _placeholder(self, node: torch.fx.Node) -> None:
        spec = next(s for s in self.program.graph_signature.input_specs if s.arg.name == node.name)
        if spec.kind is InputKind.USER_INPUT:
            shape = tuple(node.meta["val"].shape)
            self.nodes.append(Node(node.name, "image", "", None, (), shape, IMAGE_AXES))
            self.known[node.name] = Value(0, shape, IMAGE_AXES)
            return
        target = str(spec.target)
        stored = self.program.state_dict.get(target)
        constant = self.program.constants[target] if stored is None else stored
        if isinstance(constant, FakeTensor):
            reason = "a tensor taken out of the graph (numpy, tolist or a stored copy)"
            self.known[node.name] = self._blocked(node, (), tuple(constant.shape), reason)
        else:
            # A program may also keep what is no tensor, such as a generator.
            self.known[node.name] = constant.detach() if isinstance(constant, Tensor) else constant

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
            return  # the exporter's own note that a cast follows
        if node.target is operator.getitem:
            self.known[node.name] = args[0][args[1]]
        elif draws(node.target, args, kwargs):
            self._drawn(node, args)
        elif self.memory.is_write(node):
            self._write(node, args, kwargs)
        elif node.target in FILLED or not _depends([*args, *kwargs.values()]):
            self._constant(node, args, kwargs)
        else:
            self.known[node.name] = self._pixels(node, node.target, args, kwargs)

    def _drawn(self, node: torch.fx.Node, args: list[Any]) -> None:
        """An op that draws random numbers: no part of a map may depend on it."""
        values, result = tuple(_values(args)), node.meta.get("val")
        if isinstance(result, list | tuple):
            self.known[node.name] = {
                index: self._blocked(node, values, _shape(node, index) or (), DRAWS)
                for index in range(len(result))
            }
            return
        value = self._blocked(node, values, _shape(node, 0) or (), DRAWS)
        if self.memory.is_write(node) and isinstance(node.args[0], torch.fx.Node):
            names = self.memory.overwritten(node, self.known) if _depends(args[0]) else []
            for name in (*names, node.args[0].name):
                self.known[name] = value
        self.known[node.name] = value

    def _write(self, node: torch.fx.Node, args: list[Any], kwargs: dict[str, Any]) -> None:
        """An op that overwrites its first argument: every alias of it has the new value then."""
        if not isinstance(args[0], Value):
            # A large constant is one number in memory, so a write into a part of it would be seen
            # everywhere.
            if _depends([*args, *kwargs.values()]) or _is_repeated(args[0]):
                raise NeedsFunctionalError
            self.memory.check_constant(node)
            self._constant(node, args, kwargs)
            return
        value = self._pixels(node, written_as_new(node), args, kwargs)
        for name in self.memory.overwritten(node, self.known):
            self.known[name] = value
        self.known[node.name] = value

    def _constant(self, node: torch.fx.Node, args: list[Any], kwargs: dict[str, Any]) -> None:
        assert callable(node.target)
        value = FILLED.get(node.target)
        size = getattr(node.meta.get("val"), "numel", lambda: 0)()
        if value is not None and (size > MAX_CONSTANT or _depends(args)):
            result = node.meta["val"]
            number = value(_arguments(node.target, args, kwargs))
            self.known[node.name] = filled(tuple(result.shape), number, result.dtype)
        elif size > MAX_CONSTANT:
            reason = f"a constant of {size} elements that grows with the image"
            shape = tuple(node.meta["val"].shape)
            self.known[node.name] = self._blocked(node, (), shape, reason)
        else:
            with torch.no_grad():
                self.known[node.name] = node.target(*args, **kwargs)

    def _pixels(
        self,
        node: torch.fx.Node,
        target: Any,
        args: list[Any],
        kwargs: dict[str, Any],
    ) -> Any:
        """Value of a call, or the values of its used outputs by index."""
        result = node.meta.get("val")
        if not isinstance(result, list | tuple):
            return self._one(node, target, args, kwargs, 0)
        used = [index for index in range(len(result)) if _used(node, index)]
        return {index: self._one(node, target, args, kwargs, index) for index in used}

    def _one(
        self,
        node: torch.fx.Node,
        target: Callable[..., Any],
        args: list[Any],
        kwargs: dict[str, Any],
        index: int,
    ) -> Value:
        """Build one output of a call; a blocked one yields a value without a known layout."""
        shape = _shape(node, index)
        values = tuple(_values([*args, *kwargs.values()]))
        try:
            if shape is None:
                raise Blocked("reads the value of a pixel into Python (data-dependent)")
            arguments = _arguments(target, args, kwargs)
            dtype = _result(node, index).dtype
            call = OpCall(target, arguments, shape, index, self.precision, dtype, self.windows)
            built = build(call)
        except Blocked as blocked:
            # What only repeats an earlier blocker's consequence is not news.
            news = all(value.axes is not None for value in values)
            return self._blocked(node, values, shape or (), str(blocked) if news else None)
        if built.rule is None:
            return built.inputs[0]
        return self._append(node, built, shape)

    def _append(self, node: torch.fx.Node, built: Built, shape: tuple[int, ...]) -> Value:
        """Add a node, whose pixels are kept apart where the model has flattened them."""
        kept = apart(built.axes)
        pixels = None if kept == built.axes else built.inputs[0].grid
        whole = shape if pixels is None else whole_shape(shape, built.axes, pixels)
        sources = tuple(value.node for value in built.inputs)
        self.nodes.append(
            Node(node.name, str(node.target), _layer(node), built.rule, sources, whole, kept)
        )
        return Value(len(self.nodes) - 1, shape, built.axes, built.rule, pixels)

    def _blocked(
        self,
        node: torch.fx.Node,
        values: tuple[Value, ...],
        shape: tuple[int, ...],
        reason: str | None,
    ) -> Value:
        """A node that cannot be computed box by box; a reason makes it a blocker of its own."""
        layer, op = _layer(node), str(node.target)
        sources = tuple(value.node for value in values)
        self.nodes.append(Node(node.name, op, layer, None, sources, shape, ()))
        index = len(self.nodes) - 1
        if reason is not None:
            self.blockers[index] = Blocker(layer, op, reason)
        return Value(index, shape, None)


def _values(argument: Any) -> Iterable[Value]:
    """All image-dependent values in nested arguments."""
    if isinstance(argument, list | tuple):
        for item in argument:
            yield from _values(item)
    elif isinstance(argument, Value):
        yield argument


def _is_repeated(tensor: Any) -> bool:
    """Whether several elements of a tensor are the same place in memory."""
    if not isinstance(tensor, Tensor):
        return False
    return any(n > 1 and step == 0 for n, step in zip(tensor.shape, tensor.stride(), strict=True))


def _depends(argument: Any) -> bool:
    return next(iter(_values(argument)), None) is not None


def _shape(node: torch.fx.Node, index: int) -> tuple[int, ...] | None:
    """Whole-image sizes of an output, -1 where pixels decide; None if it is a bare number."""
    output = _result(node, index)
    if not isinstance(output, Tensor):
        return None
    return tuple(size if isinstance(size, int) else -1 for size in output.shape)


def _result(node: torch.fx.Node, index: int) -> Any:
    result = node.meta.get("val")
    return result[index] if isinstance(result, list | tuple) else result


def _used(node: torch.fx.Node, index: int) -> bool:
    return any(user.target is operator.getitem and user.args[1] == index for user in node.users)


def _arguments(
    target: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Every argument of an ATen call by its schema name."""
    schema = getattr(target, "_schema", None)
    if schema is None:
        raise Blocked("is no plain tensor op, but a block under autocast or a custom operator")
    filled: dict[str, Any] = {}
    for position, argument in enumerate(schema.arguments):
        if position < len(args):
            filled[argument.name] = args[position]
        else:
            filled[argument.name] = kwargs.get(argument.name, argument.default_value)
    return filled


def _layer(node: torch.fx.Node) -> str:
    """Path of the innermost user module that made this op."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next((str(path) for path, _ in reversed(stack.values())), "")
    return path.removeprefix(WRAPPED).removeprefix(".")
