"""Spans behave as the sets of integers they stand for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gigafcn.geometry import EMPTY, Span

spans = st.builds(Span, st.integers(-30, 30), st.integers(-30, 30))


def positions(span: Span) -> set[int]:
    return set(range(span.start, span.stop))


@given(spans)
def test_size_is_the_number_of_positions(span: Span) -> None:
    assert span.size == len(positions(span))
    assert span.is_empty == (not positions(span))


@given(spans, spans)
def test_an_intersection_holds_the_common_positions(a: Span, b: Span) -> None:
    assert positions(a.intersect(b)) == positions(a) & positions(b)
    assert a.intersect(b) == EMPTY or not a.intersect(b).is_empty


@given(spans, st.integers(0, 40))
def test_clipping_keeps_the_positions_inside_the_tensor(span: Span, size: int) -> None:
    assert positions(span.clip(size)) == positions(span) & set(range(size))


@given(spans, spans)
def test_a_hull_is_the_smallest_span_with_all_positions(a: Span, b: Span) -> None:
    union = positions(a) | positions(b)
    expected = set(range(min(union), max(union) + 1)) if union else set()
    assert positions(a.hull(b)) == expected


@given(st.lists(spans, max_size=5))
def test_a_hull_of_many_is_the_smallest_span_with_all_positions(many: list[Span]) -> None:
    union = set().union(*(positions(s) for s in many))
    expected = set(range(min(union), max(union) + 1)) if union else set()
    assert positions(Span.hull_of(many)) == expected


@given(spans, spans)
def test_a_span_contains_another_if_it_has_all_its_positions(a: Span, b: Span) -> None:
    assert a.contains(b) == (positions(b) <= positions(a))


@given(spans, st.integers(-9, 9))
def test_shifting_moves_every_position(span: Span, by: int) -> None:
    assert positions(span.shift(by)) == {p + by for p in positions(span)}


@given(st.integers(-9, 9), st.integers(0, 9), st.integers(0, 9))
def test_a_relative_slice_picks_the_positions_from_a_list(
    origin: int, skip: int, size: int
) -> None:
    held = list(range(origin, origin + 30))
    span = Span(origin + skip, origin + skip + size)
    assert held[span.relative_to(origin)] == sorted(positions(span))
