"""From a torch module to a :class:`ModelGraph`: export, constant folding, rules, layout labels.

The module itself is exported in eval mode with its real weights, its input a fake tensor of the
whole image's size, so nothing is allocated.  The empty decomposition table keeps the ops whole
whose geometry matters.  What depends on no pixel is computed here once; what depends on pixels
gets a rule or becomes a blocker that names layer, op and reason.
"""

from __future__ import annotations

import logging
import operator
import warnings
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export.graph_signature import InputKind, OutputKind

from gigafcn.errors import ModelError
from gigafcn.graph.model_graph import Blocker, ModelGraph, Node
from gigafcn.graph.rules import IMAGE_AXES, Blocked, OpCall, Rule, Value, build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.export import ExportedProgram

MAX_CONSTANT = 1 << 24
"""Largest constant, in elements, that is computed while tracing."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Outcome of tracing: the graph, or why there is none that can be tiled."""

    graph: ModelGraph | None
    """None when there are blockers."""

    blockers: tuple[Blocker, ...]


def trace(module: nn.Module, channels: int, size: tuple[int, int]) -> Trace:
    """Trace a module for one image size.

    Parameters
    ----------
    module
        In eval mode; maps (1, channels, y, x) to one tensor (1, c, y', x').
    channels
        Input channels.
    size
        Image size (y, x) in px; nothing of that size is allocated.

    Raises
    ------
    ModelError
        If the module cannot be exported at this size, or does not return one map.
    """
    program = _export(module, channels, size)
    builder = _Builder(program)
    for node in program.graph.nodes:
        builder.add(node)
    return builder.finish(size)


def _export(module: nn.Module, channels: int, size: tuple[int, int]) -> ExportedProgram:
    shape = (1, channels, *size)
    try:
        with _quiet(), torch.no_grad():
            with FakeTensorMode(allow_non_fake_inputs=True):
                parameter = next(module.parameters(), None)
                dtype = torch.float32 if parameter is None else parameter.dtype
                example = torch.empty(shape, dtype=dtype)
            program = torch.export.export(module, (example,), strict=False)
            decomposed: ExportedProgram = program.run_decompositions({})
            return decomposed
    except Exception as error:  # torch.export documents no common base
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{type(module).__name__} cannot be exported for an input of shape {shape}: "
            f"{type(error).__name__}: {reason}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's own log of a failed export from the user: the error says it in one line."""
    names = (
        "torch._subclasses.fake_tensor",
        "torch.export",
        "torch._dynamo",
        "torch.fx.experimental.symbolic_shapes",
    )
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    # A partial graph is printed, not logged.
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.disabled = True
        try:
            yield
        finally:
            for logger, disabled in zip(loggers, before, strict=True):
                logger.disabled = disabled


@dataclass(slots=True)
class _Builder:
    """Walks the exported nodes once and collects graph nodes and blockers."""

    program: ExportedProgram
    nodes: list[Node] = field(default_factory=list)
    blockers: list[Blocker] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict)
    """Meaning of each exported node: a Value, a constant, or a list of either."""

    outputs: list[Any] = field(default_factory=list)

    def add(self, node: torch.fx.Node) -> None:
        if node.op == "placeholder":
            self._placeholder(node)
        elif node.op == "get_attr":
            self.known[node.name] = getattr(self.program.graph_module, str(node.target))
        elif node.op == "call_function":
            self._call(node)
        elif node.op == "output":
            returned = node.args[0]
            assert isinstance(returned, tuple | list)
            specs = self.program.graph_signature.output_specs
            self.outputs = [
                self._resolve(item)
                for item, spec in zip(returned, specs, strict=True)
                if spec.kind is OutputKind.USER_OUTPUT
            ]

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
        self.known[node.name] = constant.detach()

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
        elif not any(_depends(argument) for argument in (*args, *kwargs.values())):
            self._constant(node, args, kwargs)
        else:
            self._pixels(node, args, kwargs)

    def _constant(self, node: torch.fx.Node, args: list[Any], kwargs: dict[str, Any]) -> None:
        assert callable(node.target)
        size = getattr(node.meta.get("val"), "numel", lambda: 0)()
        if size > MAX_CONSTANT:
            reason = f"a constant of {size} elements that grows with the image"
            self._block(node, reason)
            self.known[node.name] = Value(-1, tuple(node.meta["val"].shape), None)
            return
        with torch.no_grad():
            self.known[node.name] = node.target(*args, **kwargs)

    def _pixels(self, node: torch.fx.Node, args: list[Any], kwargs: dict[str, Any]) -> None:
        outputs: Any = node.meta.get("val")
        several = isinstance(outputs, list | tuple)
        values = [
            self._one(node, args, kwargs, index, tuple(output.shape))
            for index, output in enumerate(outputs if several else [outputs])
            if not several or _used(node, index)
        ]
        if several:
            used = [index for index in range(len(outputs)) if _used(node, index)]
            self.known[node.name] = dict(zip(used, values, strict=True))
        else:
            self.known[node.name] = values[0]

    def _one(
        self,
        node: torch.fx.Node,
        args: list[Any],
        kwargs: dict[str, Any],
        index: int,
        shape: tuple[int, ...],
    ) -> Value:
        """Build one output of a call; a blocked one yields a value without a known layout."""
        try:
            call = OpCall(node.target, _arguments(node, args, kwargs), shape, index)  # type: ignore[arg-type]
            built = build(call)
        except Blocked as blocked:
            # What only repeats an earlier blocker's consequence is not news.
            if not _follows_blocker((*args, *kwargs.values())):
                self._block(node, str(blocked))
            return Value(-1, shape, None)
        if built.rule is None:
            return built.inputs[0]
        return self._append(node, built.rule, built.inputs, built.axes, shape)

    def _append(
        self,
        node: torch.fx.Node,
        rule: Rule,
        inputs: tuple[Value, ...],
        axes: tuple[str, ...],
        shape: tuple[int, ...],
    ) -> Value:
        sources = tuple(value.node for value in inputs)
        self.nodes.append(
            Node(node.name, str(node.target), _layer(node), rule, sources, shape, axes)
        )
        return Value(len(self.nodes) - 1, shape, axes)

    def _block(self, node: torch.fx.Node, reason: str) -> None:
        blocker = Blocker(_layer(node), str(node.target), reason)
        if blocker not in self.blockers:
            self.blockers.append(blocker)

    def finish(self, size: tuple[int, int]) -> Trace:
        if self.blockers:
            return Trace(None, tuple(self.blockers))
        values = [v for v in self.outputs if isinstance(v, Value)]
        if len(values) != 1:
            shapes = ", ".join(str(v.shape) for v in values) or "none that depends on the image"
            raise ModelError(
                f"the model must return one map, it returns {len(values)} tensors "
                f"(shapes: {shapes}); wrap it in a module that returns the one you want"
            )
        value = values[0]
        if value.axes != IMAGE_AXES:
            raise ModelError(
                f"the model returns shape {value.shape} with axes {value.axes}, "
                f"expected (batch, channel, y, x)"
            )
        return Trace(_pruned(self.nodes, value.node, size), ())


def _depends(argument: Any) -> bool:
    if isinstance(argument, list | tuple):
        return any(_depends(item) for item in argument)
    return isinstance(argument, Value)


def _follows_blocker(arguments: tuple[Any, ...]) -> bool:
    """Whether an argument already comes from a blocked op."""
    return any(
        _follows_blocker(tuple(a)) if isinstance(a, list | tuple) else _unknown(a)
        for a in arguments
    )


def _unknown(argument: Any) -> bool:
    return isinstance(argument, Value) and argument.axes is None


def _used(node: torch.fx.Node, index: int) -> bool:
    return any(user.target is operator.getitem and user.args[1] == index for user in node.users)


def _arguments(node: torch.fx.Node, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Every argument of an ATen call by its schema name."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        raise Blocked("is not an ATen op")
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
    return next((str(path) for path, _ in reversed(stack.values())), "")


def _pruned(nodes: list[Node], output: int, size: tuple[int, int]) -> ModelGraph:
    """Keep what the output depends on; the image always stays node 0."""
    live = {0, output}
    for index in range(output, 0, -1):
        if index in live:
            live.update(nodes[index].inputs)
    order = sorted(live)
    position = {old: new for new, old in enumerate(order)}
    kept = tuple(
        Node(n.name, n.op, n.layer, n.rule, tuple(position[i] for i in n.inputs), n.shape, n.axes)
        for n in (nodes[index] for index in order)
    )
    return ModelGraph(kept, position[output], size)
