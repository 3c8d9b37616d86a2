"""Linear layers as convolutions: weights are moved, never retrained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gigafcn.convert.values import Constant, PatchValue, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gigafcn.convert.draft import Draft
    from gigafcn.convert.trunk import Call

aten = torch.ops.aten


def _linear(call: Call, draft: Draft) -> PatchValue:
    return _converted(
        call.arguments["input"], call.arguments["weight"], call.arguments["bias"], draft
    )


def _addmm(call: Call, draft: Draft) -> PatchValue:
    if (call.arguments["alpha"], call.arguments["beta"]) != (1, 1):
        raise RefusedError("adds a multiple of its product")
    return _converted(
        call.arguments["mat1"], _transposed(call.arguments["mat2"]), call.arguments["self"], draft
    )


def _matmul(call: Call, draft: Draft) -> PatchValue:
    values = list(call.arguments.values())
    return _converted(values[0], _transposed(values[1]), None, draft)


def _transposed(weight: Any) -> Any:
    if not isinstance(weight, Constant) or weight.tensor.dim() != 2:
        raise RefusedError("multiplies two tensors that depend on the image (attention)")
    return Constant(weight.tensor.t())


def _converted(value: Any, weight: Any, bias: Any, draft: Draft) -> PatchValue:
    if not isinstance(value, PatchValue) or not isinstance(weight, Constant):
        raise RefusedError("multiplies by a matrix that depends on the image")
    letters = value.dims[-1]
    if "c" not in letters and value.channels > 1:
        raise RefusedError("mixes the positions of each channel")
    kernel = _kernel(weight.tensor, value, letters)
    ref = draft.emit(
        aten.conv2d.default,
        value.ref,
        draft.as_kernel(weight, kernel),
        bias,
        [1, 1],
        [0, 0],
        list(value.lattice.rate),
        1,
    )
    inputs, outputs = weight.tensor.shape[1], kernel.shape[0]
    pooled = "" if value.pooling is None else ", adaptive pooling included"
    size = f"{kernel.shape[2]} x {kernel.shape[3]}"
    draft.changed(f"linear {inputs} to {outputs} is a convolution {size}{pooled}")
    grid = [1 if letter in letters else n for letter, n in zip("yx", value.grid, strict=True)]
    return replace(
        value,
        ref=ref,
        dims=(*value.dims[:-1], ("c",)),
        channels=outputs,
        grid=(grid[0], grid[1]),
        pooling=None,
        bins=None,
    )


def _kernel(weight: Tensor, value: PatchValue, letters: tuple[str, ...]) -> Tensor:
    """The weight (out, c, y, x) of the convolution, from one over a flattened map."""
    inner = [letter for letter in letters if letter in "cyx"]
    split = weight.reshape(weight.shape[0], *(value.size(letter) for letter in inner))
    present = [letter for letter in "cyx" if letter in inner]
    split = split.permute(0, *(1 + inner.index(letter) for letter in present))
    kernel = split.reshape(weight.shape[0], *(value.size(n) if n in inner else 1 for n in "cyx"))
    if value.pooling is None:
        return kernel
    if not {"y", "x"} <= set(inner):
        raise RefusedError("reads single positions after adaptive pooling")
    rows, columns = (m.to(weight.dtype) for m in value.pooling)
    return torch.einsum("ocij,iy,jx->ocyx", kernel, rows, columns)


def _convolution(call: Call, draft: Draft) -> PatchValue:
    """A convolution of one pixel, as some heads have them after pooling."""
    value: PatchValue = call.arguments["input"]
    weight = call.arguments["weight"]
    if value.dims != (("b",), ("c",), ("y",), ("x",)) or value.seen_grid != (1, 1):
        raise RefusedError("convolves what adaptive pooling left")
    if not isinstance(weight, Constant) or weight.tensor.shape[2:] != (1, 1):
        raise RefusedError("convolves one pooled pixel with a kernel larger than it")
    arguments = call.arguments
    if any(n for n in arguments["padding"] if isinstance(n, int)):
        raise RefusedError("pads one pooled pixel")
    ref = draft.emit(
        aten.conv2d.default,
        value.ref,
        weight,
        arguments["bias"],
        [1, 1],
        [0, 0],
        [1, 1],
        arguments["groups"],
    )
    return replace(value, ref=ref, channels=weight.tensor.shape[0])


MATRIX_PRODUCTS: dict[Any, Callable[[Call, Draft], PatchValue]] = {
    aten.linear.default: _linear,
    aten.addmm.default: _addmm,
    aten.mm.default: _matmul,
    aten.matmul.default: _matmul,
}

HANDLERS = MATRIX_PRODUCTS | {aten.conv2d.default: _convolution}
