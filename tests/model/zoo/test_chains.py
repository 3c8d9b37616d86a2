"""The law of composition, f_{k,s} after g_{k',s'} = (f g)_{k' + (k - 1) s', s s'}, on real nets.

``tests/graph/test_composition.py`` holds it against the rules; here random chains of layers are
built, exported and analysed, and the analysis must say what the law says.
"""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import gigafcn


class Window(NamedTuple):
    """What a chain of layers amounts to."""

    kernel: int
    stride: int
    padding: int

    def after(self, first: Window) -> Window:
        """This window applied to what ``first`` gives: the law."""
        return Window(
            first.kernel + (self.kernel - 1) * first.stride,
            self.stride * first.stride,
            first.padding + self.padding * first.stride,
        )


class Layer(NamedTuple):
    """A layer of a random chain."""

    kind: str
    kernel: int
    stride: int
    padding: int
    dilation: int

    def build(self) -> nn.Module:
        """The layer as torch has it."""
        settings = (self.kernel, self.stride, self.padding, self.dilation)
        return nn.Conv2d(2, 2, *settings) if self.kind == "conv" else nn.MaxPool2d(*settings)

    @property
    def window(self) -> Window:
        """Kernel with its gaps, stride, padding."""
        return Window(self.dilation * (self.kernel - 1) + 1, self.stride, self.padding)


layers = st.builds(
    lambda kind, k, s, p, d: Layer(kind, k, s, min(p, k // 2), d),
    st.sampled_from(["conv", "conv", "pool"]),
    st.integers(1, 5),
    st.sampled_from([1, 1, 2, 3]),
    st.integers(0, 2),
    st.integers(1, 3),
)
chains = st.lists(layers, min_size=1, max_size=5).filter(
    lambda chain: reduce(lambda a, b: a * b.stride, chain, 1) <= 12
)


@settings(max_examples=12)
@given(chains)
def test_the_footprint_of_a_random_chain_is_that_of_the_law(chain: list[Layer]) -> None:
    whole = reduce(lambda first, layer: layer.window.after(first), chain, Window(1, 1, 0))
    found = gigafcn.analyze(nn.Sequential(*(layer.build() for layer in chain)).eval(), channels=2)
    assert found.stride == (Fraction(whole.stride),) * 2
    # Output j reads [j s - p, j s - p + k); its cell is [j s, (j + 1) s).
    before, after = whole.padding, whole.kernel - whole.padding - whole.stride
    assert found.halo == (before, after, before, after)
    assert found.layers[-1].footprint == (whole.kernel, whole.kernel)


@given(st.lists(layers, min_size=3, max_size=6), st.data())
def test_the_law_is_associative(chain: list[Layer], data: st.DataObject) -> None:
    windows = [layer.window for layer in chain]
    middle = data.draw(st.integers(1, len(chain) - 1))
    head = reduce(lambda first, window: window.after(first), windows[:middle])
    tail = reduce(lambda first, window: window.after(first), windows[middle:])
    assert tail.after(head) == reduce(lambda first, window: window.after(first), windows)
