"""From a torch module to a :class:`ModelGraph`: export, rules, the output that is the map.

The module is exported once for an image size (:mod:`gigafcn.graph.export`), its ops become nodes
(:mod:`gigafcn.graph.builder`), and for each output the nodes that it depends on make a graph, or
their blockers the reason why there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gigafcn.errors import ModelError
from gigafcn.graph.builder import BuiltProgram, built_program
from gigafcn.graph.calls import Calls, calls_of
from gigafcn.graph.drawing import DRAWS
from gigafcn.graph.export import exported, functional, in_eval_mode, precision_of
from gigafcn.graph.model_graph import Blocker, ModelGraph, Node
from gigafcn.graph.outputs import Output, chosen_output
from gigafcn.graph.rules import IMAGE_AXES
from gigafcn.graph.writes import NeedsFunctionalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


@dataclass(frozen=True, slots=True)
class Trace:
    """Outcome of tracing: the graph of one output, or why there is none that can be tiled."""

    graph: ModelGraph | None
    """None when there are blockers."""

    blockers: tuple[Blocker, ...]
    """Ops that the output depends on and that need the whole image."""

    outputs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """Name and shape of every image-dependent tensor that the model returns."""

    output: str = ""
    """Name of the one that this is a trace of."""

    program: TracedProgram | None = field(default=None, compare=False, repr=False)
    """All outputs, from which another one can be chosen without tracing again."""


@dataclass(frozen=True, slots=True)
class TracedProgram:
    """All that a module computes for one image size."""

    built: BuiltProgram
    size: tuple[int, int]
    """Image size (y, x) in px."""

    module: nn.Module
    """The user's."""

    calls: Calls
    """What calls of it showed."""

    def choose(self, output: str | int | None = None) -> Trace:
        """Graph of one output, or its blockers.

        Raises
        ------
        ModelError
            If there is no such output, or it is not laid out as a map.
        QuestionError
            If none was named and several may be the map.
        """
        chosen = chosen_output(self.built.outputs, output)
        live = _ancestors(self.built.nodes, chosen.value.node)
        # The same layer may be blocked by one reason several times.
        found = dict.fromkeys(self.built.blockers[i] for i in live if i in self.built.blockers)
        graph = None if found else self._graph(chosen, live)
        outputs = tuple((o.name, o.value.shape) for o in self.built.outputs)
        return Trace(graph, tuple(found), outputs, chosen.name, self)

    def steady(self, output: str | int | None = None) -> Trace:
        """As :meth:`choose`; an output that is another at the next call is refused.

        Ops that draw random numbers are blockers like others.

        Raises
        ------
        UnsteadyError
            Naming what the module writes, or what draws that no op shows.
        """
        found = self.choose(output)
        drawn = any(blocker.reason == DRAWS for blocker in found.blockers)
        if not drawn and (self.calls.hidden or self.calls.names_unlike().get(found.output)):
            raise self.calls.refusal(self.module)
        return found

    def _graph(self, chosen: Output, live: Sequence[int]) -> ModelGraph:
        value = chosen.value
        if value.axes != IMAGE_AXES:
            raise ModelError(
                f"the model's output {chosen.name!r} has shape {value.shape} with axes "
                f"{value.axes}, expected (batch, channel, y, x)"
            )
        position = {old: new for new, old in enumerate(live)}
        nodes = (self.built.nodes[index] for index in live)
        kept = tuple(replace(n, inputs=tuple(position[i] for i in n.inputs)) for n in nodes)
        return ModelGraph(kept, position[value.node], self.size)


def _ancestors(nodes: Sequence[Node], output: int) -> list[int]:
    """Nodes that the output depends on, itself included; the image always stays node 0."""
    live = {0, output}
    for index in range(output, 0, -1):
        if index in live:
            live.update(nodes[index].inputs)
    return sorted(live)


def traced_program(module: nn.Module, channels: int, size: tuple[int, int]) -> TracedProgram:
    """Export a module for one image size and give every op its rule.

    Parameters
    ----------
    module
        Maps (1, channels, y, x) to one tensor or several; switched to eval mode if it is not.
    channels
        Input channels.
    size
        Image size (y, x) in px; nothing of that size is allocated.

    Raises
    ------
    ModelError
        If the module cannot be exported at this size, or mixes precisions.
    """
    in_eval_mode(module)
    calls = calls_of(module, channels, size)
    try:
        program = exported(calls.to_trace(module), channels, size)
    except ModelError as error:
        if calls.drawn or any(calls.names_unlike().values()):
            raise calls.refusal(module) from error
        raise
    precision = precision_of(module)
    try:
        built = built_program(program, precision)
    except NeedsFunctionalError:
        built = built_program(functional(program), precision)
    return TracedProgram(built, size, module, calls)


def trace(
    module: nn.Module, channels: int, size: tuple[int, int], output: str | int | None = None
) -> Trace:
    """Trace a module for one image size.

    Parameters
    ----------
    module
        Maps (1, channels, y, x) to one tensor or several (1, c, y', x'); switched to eval mode
        if it is not.
    channels
        Input channels.
    size
        Image size (y, x) in px; nothing of that size is allocated.
    output
        Name or index of the output that is the map; None decides by their names.

    Raises
    ------
    ModelError
        If the module cannot be exported at this size, or does not return such a map.
    QuestionError
        If several outputs may be the map.
    """
    return traced_program(module, channels, size).choose(output)
