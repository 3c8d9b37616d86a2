"""Rules of matrix products: local where they mix channels alone, refused where they mix pixels."""

from __future__ import annotations

from dataclasses import replace

import torch

from gigafcn.graph.rules.pointwise import pointwise
from gigafcn.graph.rules.registry import Axes, Blocked, Built, OpCall, Value, register

aten = torch.ops.aten


@register(aten.linear.default)
def _linear(call: OpCall) -> Built:
    value = call.flat("input")
    assert value.axes is not None
    if value.axes[-1] != "c":
        raise Blocked(f"a linear layer over {value.axes[-1]!r} mixes pixels")
    return pointwise(call, broadcasts=False)


MIXING = "matrix product between positions, as in attention: it needs the whole image"


@register(aten.matmul.default, aten.mm.default)
def _matmul(call: OpCall) -> Built:
    """Local as a linear layer, or as products of channels at each pixel."""
    left, right = list(call.arguments.values())[:2]
    if not isinstance(left, Value):
        raise Blocked(MIXING)
    call.flat("self")
    axes = left.axes or ()
    if isinstance(right, Value):
        if set(axes[-2:]) != {"c"} or len(axes) < 3 or right.axes != axes:
            raise Blocked(MIXING)
    elif right.dim() != 2 or axes[-1] != "c":
        raise Blocked(f"a matrix product over {axes[-1]!r} mixes pixels")
    # mm takes no more than two dimensions, of which flattened pixels kept apart have more.
    plain = replace(call, target=aten.matmul.default, arguments={"self": left, "other": right})
    return pointwise(plain, broadcasts=False, axes=axes)


@register(aten.bmm.default, aten.baddbmm.default, aten.addmm.default)
def _matrix_product(call: OpCall) -> Built:
    raise Blocked(MIXING)


@register(aten.scaled_dot_product_attention.default)
def _attention(call: OpCall) -> Built:
    """Local within windows, whose pixels are channels of the window."""
    axes = call.flat("query").axes or ()
    given = [call.arguments[name] for name in ("query", "key", "value")]
    if set(axes[-2:]) != {"c"} or any(not isinstance(v, Value) or v.axes != axes for v in given):
        raise Blocked("attention between positions: every pixel reads every other")
    if call.arguments["dropout_p"]:
        raise Blocked("dropout of attention is random")
    return pointwise(call)


@register(aten.embedding.default)
def _embedding(call: OpCall) -> Built:
    """A row of a table for the number at each pixel."""
    axes = call.flat("indices").axes or ()
    return pointwise(call, broadcasts=False, axes=(*axes, "c"))


@register(aten.einsum.default)
def _einsum(call: OpCall) -> Built:
    """Local if batch, y and x keep one letter each in all operands and the result."""
    equation = call.arguments["equation"].replace(" ", "")
    if "." in equation or "->" not in equation:
        raise Blocked(f"einsum {equation!r}: only named axes and a named result are followed")
    terms, result = equation.split("->")
    operands = list(zip(terms.split(","), call.arguments["tensors"], strict=True))
    letters: dict[str, str] = {}
    for term, operand in operands:
        if isinstance(operand, Value) and operand.axes is not None:
            _agree(equation, letters, term, operand.axes)
    fixed = {letter for letter, label in letters.items() if label != "c"}
    pixels = [term for term, operand in operands if isinstance(operand, Value)]
    weights = [term for term, operand in operands if not isinstance(operand, Value)]
    if not all(fixed <= set(term) for term in [*pixels, result]) or fixed & set("".join(weights)):
        raise Blocked(f"einsum {equation!r} mixes pixels")
    if len(operands) == 1 and set(terms) == set(result):
        raise Blocked(f"einsum {equation!r} only reorders axes; use permute")
    return pointwise(call, broadcasts=False, axes=tuple(letters.get(a, "c") for a in result))


def _agree(equation: str, letters: dict[str, str], term: str, axes: Axes) -> None:
    """Note what each letter stands for; one letter for two axes blocks."""
    for letter, label in zip(term, axes, strict=True):
        if letters.setdefault(letter, label) != label:
            raise Blocked(f"einsum {equation!r} mixes {letters[letter]} and {label}")
    spatial = [label for label in axes if label != "c"]
    if len({letter for letter in term if letters[letter] != "c"}) < len(spatial):
        raise Blocked(f"einsum {equation!r} takes a diagonal of pixels")
