"""What a view does to the labels of a tensor's dimensions.

A view splits and merges dimensions that stand side by side.  Channels may be regrouped at will.
y or x may be merged with channels behind it, or have channels split off.  y and x (and the batch)
may be flattened into one dimension and taken apart again into the same.  Any other mix would move
pixels about, and blocks.
"""

from __future__ import annotations

from gigafcn.graph.rules.registry import Blocked, Value

FLAT = (["y", "x"], ["b", "y", "x"])
"""Labels that may be flattened into one dimension."""


class Viewed:
    """Labels of a view's dimensions, and how many pixels of one side make one of the other."""

    def __init__(self, source: Value, out_shape: tuple[int, ...]) -> None:
        assert source.axes is not None
        self.source, self.axes, self.out_shape = source, source.axes, out_shape
        self.shape = source.shape
        self.labels: list[str] = []
        self.merged = [1, 1]
        """Output pixels (y, x) per input pixel."""

        self.split = [1, 1]
        """Input pixels (y, x) per output pixel."""

        for inner, outer in groups(self.shape, out_shape):
            self.labels += self._group(inner, outer)

    def _group(self, inner: list[int], outer: list[int]) -> list[str]:
        # Channels of size 1 carry nothing; batch, y and x keep their place whatever their size.
        kinds = [self.axes[i] for i in inner if self.shape[i] != 1 or self.axes[i] != "c"]
        if all(kind == "c" for kind in kinds):
            return ["c"] * len(outer)
        real = [o for o in outer if self.out_shape[o] != 1] or outer[:1]
        if not real:
            raise Blocked(f"{self._mixing(kinds)}: it drops {' and '.join(kinds)}")
        if kinds in FLAT and len(real) == 1:
            return self._labelled(outer, real, ["".join(kinds)])
        if len(kinds) == 1 and len(kinds[0]) > 1:
            return self._taken_apart(kinds, outer, real)
        return self._labelled(outer, real, [self._regrouped(kinds, inner, real)])

    def _labelled(self, outer: list[int], real: list[int], labels: list[str]) -> list[str]:
        """Labels for the first dimensions of size above 1, channels for the others."""
        given = dict(zip(real, labels, strict=False))
        return [given.get(o, "c") for o in outer]

    def _taken_apart(self, kinds: list[str], outer: list[int], real: list[int]) -> list[str]:
        """Flattened pixels as y and x again, or as one dimension still."""
        letters = list(kinds[0])
        sizes = {"b": 1, "y": self.source.grid[0], "x": self.source.grid[1]}
        wanted = [sizes[letter] for letter in letters]
        # The batch, and y or x of one pixel, are dimensions of size 1 among the others.
        last = outer[len(outer) - len(letters) :]
        if [self.out_shape[o] for o in last] == wanted:
            return ["c"] * (len(outer) - len(letters)) + letters
        if len(real) == 1:
            return self._labelled(outer, real, kinds)
        raise Blocked(f"{self._mixing(kinds)}, and not back to {wanted} px")

    def _regrouped(self, kinds: list[str], inner: list[int], real: list[int]) -> str:
        """The one label among channels, and how its pixels are merged with them or split."""
        place = kinds[0]
        alone = [kind for kind in kinds if kind != "c"] == [place]
        if not alone or (len(kinds) > 1 and len(real) > 1):
            raise Blocked(self._mixing(kinds))
        size = next(self.shape[i] for i in inner if self.axes[i] == place)
        changed = len(kinds) > 1 or len(real) > 1
        if changed and place not in ("y", "x"):
            raise Blocked(self._mixing(kinds))
        if len(kinds) > 1:
            self.merged["yx".index(place)] = self.out_shape[real[0]] // size
        elif len(real) > 1:
            self.split["yx".index(place)] = size // self.out_shape[real[0]]
        return place

    def _mixing(self, kinds: list[str]) -> str:
        mixed = f"reshapes {self.shape} to {self.out_shape}: {' and '.join(kinds)} would mix"
        if {"y", "x"} <= set("".join(kinds)):
            return f"{mixed} (pixels become features or tokens)"
        return mixed


def groups(shape: tuple[int, ...], out_shape: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Smallest runs of input and output dimensions with equal products, in order."""
    groups: list[tuple[list[int], list[int]]] = []
    i = o = 0
    while i < len(shape) or o < len(out_shape):
        inner, outer = [i][: len(shape) - i], [o][: len(out_shape) - o]
        size = shape[i] if inner else 1
        out_size = out_shape[o] if outer else 1
        i, o = i + len(inner), o + len(outer)
        while size != out_size:
            if size < out_size:
                size *= shape[i]
                inner.append(i)
                i += 1
            else:
                out_size *= out_shape[o]
                outer.append(o)
                o += 1
        groups.append((inner, outer))
    return groups
