"""What a view does to the labels of a tensor's dimensions.

What a dimension consists of, in order, are its *atoms*: batch, y, x, or channels of a size.  A view
deals the atoms of its input, in order, to the dimensions of its output.  Channels may be regrouped
at will, and the batch of one image goes with anything.  y or x may be merged with channels behind
it, or have channels split off.  y and x may be flattened into one dimension, with channels before
and behind (heads of attention, rows of a window), and taken apart again.  Any other mix would move
pixels about, and blocks.
"""

from __future__ import annotations

import re
from itertools import takewhile
from math import prod
from typing import NamedTuple

from gigafcn.graph.rules.registry import Axes, Blocked, Value, atoms

FLAT = re.compile(r"b?\d*yx\d*")
"""Labels of dimensions into which pixels may be flattened."""


class Atom(NamedTuple):
    """What a dimension consists of, undivided."""

    kind: str
    """ "b", "c", "y" or "x"."""

    size: int


class Viewed:
    """Labels of a view's dimensions, and how many pixels of one side make one of the other.

    Parameters
    ----------
    source, out_shape
        What is viewed, and as what.
    windows
        How to read y of size n that becomes (1, n), which sizes alone do not tell: as one window
        of n rows, or else as a new dimension of size 1 before y.
    """

    def __init__(self, source: Value, out_shape: tuple[int, ...], *, windows: bool = False) -> None:
        assert source.axes is not None
        self.source, self.out_shape, self.windows = source, out_shape, windows
        self.merged = [1, 1]
        """Output pixels (y, x) per input pixel."""

        self.split = [1, 1]
        """Input pixels (y, x) per output pixel."""

        given = [atom for dim, label in enumerate(source.axes) for atom in self._atoms(dim, label)]
        dealt = [
            self._ones(given, out_shape[dim + 1 :])
            if size == 1
            else self._taken(given, size, out_shape[dim + 1 :])
            for dim, size in enumerate(out_shape)
        ]
        if not dealt:
            raise self._mixing(given)
        dealt[-1] += given  # of size 1
        labels = [self._label(taken, last=taken is dealt[-1]) for taken in dealt]
        self.labels = with_batch(tuple(labels), out_shape)

    def _atoms(self, dim: int, label: str) -> list[Atom]:
        """What a dimension consists of; channels of size 1 are nothing."""
        if label == "c":
            size = self.source.shape[dim]
            return [Atom("c", size)] if size > 1 else []
        sizes = {"b": 1, "y": self.source.grid[0], "x": self.source.grid[1]}
        return [
            Atom("c", int(atom)) if atom.isdigit() else Atom(atom, sizes[atom])
            for atom in atoms(label)
        ]

    def _taken(self, given: list[Atom], size: int, following: tuple[int, ...]) -> list[Atom]:
        """The atoms that make a dimension of some size, taken from those given."""
        taken: list[Atom] = []
        while size > 1:
            kind, count = given.pop(0)
            if size % count == 0:
                taken.append(Atom(kind, count))
                size //= count
            elif count % size == 0:
                taken.append(self._part(given, Atom(kind, count), size))
                size = 1
            else:
                raise self._mixing([*taken, Atom(kind, count)])
        ones = leading_ones(given)
        if following[:1] != (1,) and FLAT.fullmatch(spelled([*taken, *ones])):
            del given[: len(ones)]  # of a single window
            taken += ones
        return taken

    def _part(self, given: list[Atom], atom: Atom, size: int) -> Atom:
        """The first part of an atom; the rest, channels whatever it was, is given back."""
        rest = atom.size // size
        given.insert(0, Atom("c", rest))
        if atom.kind != "c":
            self.split["yx".index(atom.kind)] = rest
        return Atom(atom.kind, size)

    def _ones(self, given: list[Atom], following: tuple[int, ...]) -> list[Atom]:
        """The atoms that make a dimension of size 1: one, or more if no such dimensions follow."""
        ones = leading_ones(given)
        if not ones:
            lone = self.windows and bool(given) and given[0].kind in ("y", "x")
            return [self._part(given, given.pop(0), 1)] if lone else []
        count = max(1, len(ones) - len(list(takewhile(lambda size: size == 1, following))))
        while count > 1 and not FLAT.fullmatch(spelled(ones[:count])):
            count -= 1
        del given[:count]
        return ones[:count]

    def _label(self, taken: list[Atom], *, last: bool) -> str:
        """What a dimension made of some atoms is called."""
        real = [atom for atom in taken if atom.kind != "b"]
        letters = "".join(atom.kind for atom in real)
        if not letters:
            return "b" if taken else "c"
        if set(letters) == {"c"}:
            return "c"
        if letters[0] != "c" and set(letters[1:]) <= {"c"}:
            self.merged["yx".index(letters[0])] = prod(atom.size for atom in real[1:])
            return letters[0]
        label = spelled(taken)
        features = last and "c" in letters
        if features or not FLAT.fullmatch(label):
            raise self._mixing(taken)
        return label

    def _mixing(self, taken: list[Atom]) -> Blocked:
        kinds = list(dict.fromkeys(atom.kind for atom in taken))
        shape = f"reshapes {self.source.shape} to {self.out_shape}"
        mixed = f"{shape}: {' and '.join(kinds)} would mix"
        if self.source.pixels is not None:
            return Blocked(f"{mixed}, and not back to {list(self.source.grid)} px")
        if {"y", "x"} <= set(kinds):
            return Blocked(f"{mixed} (pixels become features or tokens)")
        return Blocked(mixed)


def leading_ones(given: list[Atom]) -> list[Atom]:
    """The atoms of size 1 with which a list begins."""
    return list(takewhile(lambda atom: atom.size == 1, given))


def spelled(taken: list[Atom]) -> str:
    """Label of a dimension into which pixels are flattened; channels side by side are one."""
    label, channels = "", 1
    for atom in [*taken, Atom("", 1)]:
        if atom.kind == "c":
            channels *= atom.size
            continue
        label += (str(channels) if channels > 1 else "") + atom.kind
        channels = 1
    return label


def with_batch(axes: Axes, shape: tuple[int, ...]) -> Axes:
    """The labels, the first dimension being the batch if no other is and it has size 1.

    There is one image, so views merge the batch with anything and split it off anywhere.
    """
    if any("b" in label for label in axes) or axes[:1] != ("c",) or shape[0] != 1:
        return axes
    return ("b", *axes[1:])
