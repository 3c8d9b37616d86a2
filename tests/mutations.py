"""Ways in which a ``need`` can be wrong; the suite must notice every one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gigafcn.geometry import Span

if TYPE_CHECKING:
    from collections.abc import Callable

TOO_SMALL: dict[str, Callable[[Span], Span]] = {
    "starts one late": lambda need: Span(need.start + 1, need.stop),
    "stops one early": lambda need: Span(need.start, need.stop - 1),
}
WRONG_PHASE: dict[str, Callable[[Span], Span]] = {
    "one further": lambda need: need.shift(1),
    "one nearer": lambda need: need.shift(-1),
}
TOO_LARGE: dict[str, Callable[[Span], Span]] = {
    "starts one early": lambda need: Span(need.start - 1, need.stop),
    "stops one late": lambda need: Span(need.start, need.stop + 1),
}


def mutated(rule: type[Any], change: Callable[[Span], Span]) -> Callable[..., Span]:
    """The rule's ``need`` with one mistake; an empty need stays empty."""
    right = rule.need

    def need(self: Any, out: Span, axis: int) -> Span:
        found: Span = right(self, out, axis)
        return found if found.is_empty else change(found)

    return need
