"""One call of a torch op, as its rule sees it, and the table of rules by the op's name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gigafcn.meaning.values import Values, number

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose tensors are replaced by what is known of their values."""

    op: str
    """Name without namespace, overload and the underscore of writing ops."""

    arguments: dict[str, Any]
    """By the schema's names, defaults filled in."""

    shape: tuple[int, ...]
    """Of the result."""

    key: Hashable
    index: int = 0
    """Which of several results."""

    values: dict[str, Any] | None = None
    """Small constant tensors as lists, by argument."""

    @property
    def source(self) -> Values:
        """The first tensor that depends on the image."""
        return next(v for v in self.operands if v.nature != "constant")

    @property
    def operands(self) -> list[Values]:
        """All tensors and, in lists, tensors."""
        found: list[Values] = []
        for argument in self.arguments.values():
            items = argument if isinstance(argument, list | tuple) else [argument]
            found += [item for item in items if isinstance(item, Values)]
        return found

    def operand(self, *names: str) -> Values:
        """The argument of the first of these names; a number is a constant."""
        found = next(self.arguments[name] for name in names if name in self.arguments)
        return found if isinstance(found, Values) else number(found)

    def dim(self, name: str = "dim", rank: int | None = None) -> int:
        """A dimension, counted from the first."""
        rank = len(self.source.shape) if rank is None else rank
        return int(self.arguments[name] or 0) % max(1, rank)

    def dims(self, name: str = "dim") -> list[int]:
        """The dimensions that are reduced."""
        given, rank = self.arguments.get(name), len(self.source.shape)
        given = [given] if isinstance(given, int) else given
        return [d % rank for d in given] if given else list(range(rank))


Rule = "Callable[[Call], Values]"
RULES: dict[str, Callable[[Call], Values]] = {}


def rule(names: str) -> Callable[[Callable[[Call], Values]], Callable[[Call], Values]]:
    """Register the rule of some ops."""

    def registered(function: Callable[[Call], Values]) -> Callable[[Call], Values]:
        for name in names.split():
            RULES[name] = function
        return function

    return registered


def passed(values: Values, call: Call, word: str | None = None) -> Values:
    """The same with the call's name, and a word for what it went through."""
    word = call.op.strip("_") if word is None else word
    through = values.through
    if word and values.activation and word not in through:
        through = (*through, word)
    return replace(values, key=call.key, through=through, rest_of=None)
