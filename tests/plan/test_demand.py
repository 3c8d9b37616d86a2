"""Properties of the demand of every node, step by step, over random graphs of windows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gigafcn.geometry import EMPTY, Span
from gigafcn.graph.rules.window import window_need
from gigafcn.plan.demand import NodeDemand, axis_demand, cut

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Window:
    """Any of the window ops along one axis."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    def need(self, out: Span, axis: int) -> Span:
        return window_need(
            out,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )

    def size(self, size: int) -> int:
        reach = self.dilation * (self.kernel - 1) + 1
        return (size + 2 * self.padding - reach) // self.stride + 1


@dataclass(frozen=True, slots=True)
class Spread:
    """Upsampling by a whole factor that reads ``kernel`` inputs per output; some may read none."""

    factor: int
    kernel: int

    def need(self, out: Span, axis: int) -> Span:
        start = -((self.kernel - 1 - out.start) // self.factor)
        stop = (out.stop - 1) // self.factor + 1
        return Span(start, stop) if start < stop and not out.is_empty else EMPTY

    def size(self, size: int) -> int:
        return (size - 1) * self.factor + self.kernel


@dataclass(frozen=True, slots=True)
class Mirror:
    """Reflected borders: the last outputs read inputs that come earlier."""

    amount: int
    inner: int

    def need(self, out: Span, axis: int) -> Span:
        inner = out.shift(-self.amount).clip(self.inner)
        sources = [_mirrored(o - self.amount, self.inner) for o in range(out.start, out.stop)]
        return inner.hull(Span(min(sources), max(sources) + 1)) if sources else EMPTY

    def size(self, size: int) -> int:
        return size + 2 * self.amount


def _mirrored(position: int, size: int) -> int:
    position = abs(position)
    return 2 * (size - 1) - position if position >= size else position


@dataclass(frozen=True, slots=True)
class Stub:
    """A node as planning sees it."""

    rule: Any
    inputs: tuple[int, ...]
    grid: tuple[int, int]


POINTWISE = Window(1, 1, 0, 1)
windows = st.builds(
    Window, st.integers(1, 5), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3)
)
same_windows = st.builds(
    lambda half, dilation: Window(2 * half + 1, 1, half * dilation, dilation),
    st.integers(0, 2),
    st.integers(1, 3),
)
spreads = st.builds(Spread, st.integers(1, 3), st.integers(1, 4))


def image_of(size: int) -> list[Stub]:
    return [Stub(None, (), (size, size))]


def appended(nodes: list[Stub], rule: Any, *inputs: int) -> None:
    size = rule.size(nodes[inputs[0]].grid[0])
    nodes.append(Stub(rule, inputs, (size, size)))


@st.composite
def graphs(draw: Any, *, mirrors: bool = True) -> list[Stub]:
    """Windows, spreads, mirrored borders, and merges of equal grids; the output is the last."""
    nodes = image_of(draw(st.integers(20, 90)))
    for _ in range(draw(st.integers(1, 10))):
        source = draw(st.integers(0, len(nodes) - 1))
        size = nodes[source].grid[0]
        others = [i for i, node in enumerate(nodes) if node.grid[0] == size and i != source]
        if others and draw(st.booleans()):
            appended(nodes, POINTWISE, source, draw(st.sampled_from(others)))
            continue
        kinds = [windows, same_windows, same_windows, spreads]
        mirror = st.builds(Mirror, st.integers(0, min(5, size - 1)), st.just(size))
        rule = draw(st.one_of(*kinds, *([mirror] if mirrors else [])))
        if 2 <= rule.size(size) <= 400:
            appended(nodes, rule, source)
    return nodes


@st.composite
def demands(draw: Any) -> tuple[list[Stub], tuple[Span, ...], tuple[NodeDemand, ...]]:
    """A graph, the steps of a tile of its output, the demand."""
    nodes = draw(graphs())
    size = nodes[-1].grid[0]
    start = draw(st.integers(0, size - 1))
    tile = Span(start, draw(st.integers(start + 1, size)))
    steps = cut(tile, draw(st.integers(1, 20)), draw(st.integers(1, 4)))
    return nodes, steps, axis_demand(nodes, len(nodes) - 1, steps, 0)


def ends(demand: NodeDemand) -> list[int]:
    """Where each step's computing has got to."""
    found, end = [], demand.hull.start
    for span in demand.new:
        end = end if span.is_empty else span.stop
        found.append(end)
    return found


@settings(max_examples=200)
@given(demands())
def test_each_node_computes_its_hull_once_and_in_order(case: Any) -> None:
    _, _, demand = case
    for node in demand:
        reached = node.hull.start
        for span in node.new:
            if not span.is_empty:
                assert span.start == reached
                reached = span.stop
        assert reached == node.hull.stop


@given(demands())
def test_the_output_computes_the_steps(case: Any) -> None:
    _, steps, demand = case
    assert demand[-1].new == steps


@settings(max_examples=200)
@given(demands())
def test_whatever_a_step_reads_has_been_computed_and_kept(case: Any) -> None:
    nodes, steps, demand = case
    for index, node in enumerate(nodes):
        for step in range(len(steps)):
            new = demand[index].new[step]
            if node.rule is None or new.is_empty:
                continue
            for source in node.inputs:
                held_from = demand[source].keep[step - 1] if step else demand[source].hull.start
                held = Span(held_from, ends(demand[source])[step])
                assert held.contains(node.rule.need(new, 0).clip(nodes[source].grid[0]))


@given(demands())
def test_the_first_kept_position_never_goes_back_nor_beyond_what_is_computed(case: Any) -> None:
    _, _, demand = case
    for node in demand:
        kept = (node.hull.start, *node.keep)
        assert all(a <= b for a, b in pairwise(kept))
        assert all(k <= end for k, end in zip(node.keep, ends(node), strict=True))
        assert node.keep[-1] == ends(node)[-1]


@given(demands())
def test_every_kept_position_is_read_later(case: Any) -> None:
    nodes, steps, demand = case
    for source in range(len(nodes)):
        readers = [(i, n) for i, n in enumerate(nodes) if source in n.inputs]
        for step in range(len(steps)):
            later = EMPTY
            for index, node in readers:
                for new in demand[index].new[step + 1 :]:
                    later = later.hull(node.rule.need(new, 0).clip(nodes[source].grid[0]))
            held = Span(demand[source].keep[step], ends(demand[source])[step])
            assert held.is_empty or held.start == later.start


@given(demands())
def test_largest_figures_are_the_largest_of_all_steps(case: Any) -> None:
    _, _, demand = case
    for node in demand:
        carried = [end - keep for end, keep in zip(ends(node), node.keep, strict=True)]
        assert node.largest_carry == max(carried)
        assert node.carries == (max(carried) > 0)
        assert node.largest_new == max(span.size for span in node.new)


@given(demands())
def test_slabs_hold_what_was_kept_and_what_is_new(case: Any) -> None:
    _, _, demand = case
    for node in demand:
        starts = (node.hull.start, *node.keep)
        assert node.slabs == tuple(map(Span, starts[:-1], ends(node)))


@given(demands())
def test_a_slab_has_room_for_every_step_once_its_kept_rows_are_moved_up(case: Any) -> None:
    _, _, demand = case
    for node in demand:
        first = node.hull.start
        for step, (slab, new) in enumerate(zip(node.slabs, node.new, strict=True)):
            if new.stop - first > node.slab_height:
                first = node.keep[step - 1]
            assert new.is_empty or Span(first, first + node.slab_height).contains(slab)


@given(demands())
def test_nodes_that_the_output_does_not_read_compute_nothing(case: Any) -> None:
    nodes, _, demand = case
    live = {len(nodes) - 1}
    for index in range(len(nodes) - 1, 0, -1):
        live.update(nodes[index].inputs if index in live else ())
    assert all(demand[i].hull.is_empty for i in range(len(nodes)) if i not in live)


@given(st.lists(same_windows, min_size=1, max_size=6), st.integers(1, 9), st.integers(2, 30))
def test_a_chain_carries_just_the_reach_of_its_windows(
    chain: list[Window], strip: int, strips: int
) -> None:
    nodes = image_of(4000)
    for window in chain:
        appended(nodes, window, len(nodes) - 1)
    tile = Span(2000, 2000 + strip * strips)
    demand = axis_demand(nodes, len(nodes) - 1, cut(tile, strip), 0)
    for source, window in enumerate(chain):
        assert demand[source].largest_carry == window.dilation * (window.kernel - 1)
    assert not demand[-1].carries


@settings(max_examples=50)
@given(graphs(mirrors=False), st.integers(1, 4))
def test_what_is_carried_does_not_grow_with_the_tile(nodes: Sequence[Stub], factor: int) -> None:
    large = image_of(40_000)
    for node in nodes[1:]:
        if len({large[i].grid for i in node.inputs}) > 1:
            assume(False)  # grids that met by chance at the small size
        appended(large, node.rule, *node.inputs)
    strip = 36 * factor
    first = large[-1].grid[0] // 3 // strip * strip
    assume(first + 64 * strip < large[-1].grid[0])
    carries = []
    for strips in (16, 32, 64):
        steps = cut(Span(first, first + strips * strip), strip)
        demand = axis_demand(large, len(large) - 1, steps, 0)
        carries.append([node.largest_carry for node in demand])
    assert carries[2] == carries[1]


@given(st.integers(0, 500), st.integers(1, 300), st.integers(1, 60), st.integers(1, 40))
def test_cutting_partitions_a_span_on_multiples_of_the_period(
    start: int, size: int, step: int, period: int
) -> None:
    pieces = cut(Span(start, start + size), step, period)
    assert [p.start for p in pieces] == [start, *(p.stop for p in pieces[:-1])]
    assert pieces[-1].stop == start + size
    assert all(0 < p.size <= max(period, step) for p in pieces)
    assert all(p.stop % period == 0 for p in pieces[:-1])
