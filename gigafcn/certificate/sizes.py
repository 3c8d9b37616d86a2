"""At which image sizes can a model be tried, and what does its graph look like there?

Trying a model needs small images: a few px wide across the axis in question, just long enough
along it.  Exporting again for each takes seconds, so the graph is brought to such a size by
arithmetic where sizes follow from strides.  What the module then returns tells whether they do;
if not, or if something is found wrong, the module is exported at that very size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gigafcn.errors import NonLocalError
from gigafcn.graph.reach import enlarged
from gigafcn.graph.strides import node_strides
from gigafcn.graph.trace import trace

if TYPE_CHECKING:
    from gigafcn.analysis import Footprint
    from gigafcn.graph.model_graph import ModelGraph

Pair = tuple[int, int]


@dataclass(slots=True)
class SizedGraphs:
    """The graph of one footprint at any image size that differs by whole periods from its own."""

    footprint: Footprint
    always_export: bool = False
    """Derive no graph by arithmetic."""

    _known: dict[Pair, ModelGraph] = field(default_factory=dict)
    _exported: set[Pair] = field(default_factory=set)

    @property
    def own(self) -> ModelGraph:
        """The graph that the footprint was found with."""
        assert self.footprint.graph is not None
        return self.footprint.graph

    def at(self, size: Pair) -> ModelGraph:
        """The graph for images of a size.

        Raises
        ------
        ModelError
            If the model cannot be exported there.
        """
        if size not in self._known:
            derived = None if self.always_export else _brought(self.own, size)
            if derived is None:
                return self.exported(size)
            self._known[size] = derived
        return self._known[size]

    def exported(self, size: Pair) -> ModelGraph:
        """The graph as exported for images of a size.

        Raises
        ------
        ModelError
            If the model cannot be exported there.
        """
        if size not in self._exported:
            known = self.footprint
            found = trace(known.module, known.channels, size, known.output or None)
            if found.graph is None:
                raise NonLocalError(
                    f"the model is local for images of {self.own.size} px (y, x) but not of "
                    f"{size} px: {found.blockers[0]}"
                )
            self._known[size] = found.graph
            self._exported.add(size)
        return self._known[size]

    def is_derived(self, size: Pair) -> bool:
        """Whether the graph at a size was found by arithmetic."""
        return size in self._known and size not in self._exported

    def admissible(self, at_least: Pair) -> Pair:
        """The smallest size that is no smaller, and at which every tensor has pixels."""
        sizes = [self._admissible(n, axis) for axis, n in enumerate(at_least)]
        return sizes[0], sizes[1]

    def _admissible(self, at_least: int, axis: int) -> int:
        own, period = self.own.size[axis], self.footprint.period[axis]
        strides = node_strides(self.own, axis)
        # A tensor of n px and stride s keeps one if the image loses (n - 1) * s px at most.
        least = own - min(
            int((node.grid[axis] - 1) * stride)
            for node, stride in zip(self.own.nodes, strides, strict=True)
        )
        return own - (own - max(at_least, least)) // period * period


def _brought(graph: ModelGraph, size: Pair) -> ModelGraph | None:
    """The graph at another size, or None; sizes of every tensor follow from strides."""
    if size == graph.size:
        return graph
    found = enlarged(graph, size)
    if found is None or any(min(node.grid) < 1 for node in found.nodes):
        return None
    return found
