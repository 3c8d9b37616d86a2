"""How needs compose: the published law, and why a single size and stride are not enough."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gigafcn.geometry import Span
from gigafcn.graph.rules.window import window_need
from tests.sweeping import local_net

spans = st.builds(
    lambda start, size: Span(start, start + size), st.integers(-50, 50), st.integers(1, 40)
)
kernels = st.integers(1, 9)
strides = st.integers(1, 5)
paddings = st.integers(0, 6)


@given(spans, kernels, strides, kernels, strides)
def test_two_windows_compose_by_the_published_law(
    out: Span, k: int, s: int, k_inner: int, s_inner: int
) -> None:
    """f_{k,s} after g_{k',s'} is a window of k' + (k-1) s' and stride s s' (Long 2015)."""
    between = window_need(out, kernel=k, stride=s, padding=0, dilation=1)
    stepwise = window_need(between, kernel=k_inner, stride=s_inner, padding=0, dilation=1)
    at_once = window_need(
        out, kernel=k_inner + (k - 1) * s_inner, stride=s * s_inner, padding=0, dilation=1
    )
    assert stepwise == at_once


@given(spans, st.lists(st.tuples(kernels, strides, paddings, st.integers(1, 4)), max_size=6))
def test_any_chain_of_windows_is_one_window(
    out: Span, chain: list[tuple[int, int, int, int]]
) -> None:
    """Padding and dilation included; the chain is listed from the image to the output."""
    reach, stride, padding = 1, 1, 0
    for k, s, p, d in chain:
        reach, padding, stride = reach + d * (k - 1) * stride, padding + p * stride, stride * s
    need = out
    for k, s, p, d in reversed(chain):
        need = window_need(need, kernel=k, stride=s, padding=p, dilation=d)
    assert need == window_need(out, kernel=reach, stride=stride, padding=padding, dilation=1)


@given(spans, spans, kernels, strides, paddings)
def test_a_larger_output_never_needs_less(a: Span, b: Span, k: int, s: int, p: int) -> None:
    whole = window_need(a.hull(b), kernel=k, stride=s, padding=p, dilation=1)
    for part in (a, b):
        assert whole.contains(window_need(part, kernel=k, stride=s, padding=p, dilation=1))


def test_with_upsampling_the_reach_depends_on_the_output_phase() -> None:
    _, graph = local_net("unet_r18", (672, 640))
    above, below = [], []
    for row in range(320, 352):
        need = graph.need(Span(row, row + 1), 0)
        above.append(row - need.start)
        below.append(need.stop - row - 1)
    assert (above[0], below[-1]) == (281, 250)
    assert (max(above), max(below)) == (311, 280)


def test_a_need_of_several_rows_is_the_hull_of_the_needs_of_each() -> None:
    _, graph = local_net("unet_r18", (672, 640))
    rows = [graph.need(Span(row, row + 1), 0) for row in range(330, 350)]
    assert graph.need(Span(330, 350), 0) == Span.hull_of(rows)


def test_far_from_the_edges_needs_shift_with_the_period() -> None:
    _, graph = local_net("unet_r18", (672, 640))
    for start in (317, 320, 333):
        need = graph.need(Span(start, start + 5), 0, clip=False)
        assert graph.need(Span(start + 32, start + 37), 0, clip=False) == need.shift(32)
