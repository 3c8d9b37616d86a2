"""Torch rounds nothing that it multiplies, while anybody says so.

Torch may be told to round what is multiplied to 11 bits (TF32) or 8 (bf16), on CUDA, where
convolutions do so unless told otherwise, and on processors; and CUDA may take another algorithm at
each call.  Torch has two ways to say it, and refuses to compute, or to export a model, where the
older one, of CUDA's convolutions or of all products, contradicts the newer one, of each op.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from typing import Any

import torch

_BACKENDS: Any = torch.backends
"""Torch does not declare what all of them have."""


class _Unrounded:
    """A context in which torch's settings are those of exact maps.

    They are of the whole process: the first thread that enters changes them, the last that leaves
    puts them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._before = ExitStack()

    def __enter__(self) -> None:
        """Change torch's settings, if nobody has."""
        with self._lock:
            if not self._within:
                with ExitStack() as before:
                    _change(before)
                    self._before = before.pop_all()
            self._within += 1

    def __exit__(self, *_: object) -> None:
        """Put them back, if nobody else needs them."""
        with self._lock:
            self._within -= 1
            if not self._within:
                self._before.close()


UNROUNDED = _Unrounded()


def _change(before: ExitStack) -> None:
    cudnn = _BACKENDS.cudnn
    ops = [_BACKENDS.cuda.matmul, cudnn.conv, cudnn.rnn]
    ops += [_BACKENDS.mkldnn.matmul, _BACKENDS.mkldnn.conv, _BACKENDS.mkldnn.rnn]
    for op in ops:
        before.callback(_put_back, op, op.fp32_precision)
    for name, value in (("benchmark", False), ("deterministic", True)):
        before.callback(setattr, cudnn, name, getattr(cudnn, name))
        setattr(cudnn, name, value)
    before.callback(setattr, cudnn, "allow_tf32", _convolutions_before())
    before.callback(torch.set_float32_matmul_precision, _products_before())
    cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    for op in ops:
        op.fp32_precision = "ieee"


def _convolutions_before() -> bool:
    """The older setting of CUDA's convolutions, asked for where the newer does not contradict."""
    cudnn = _BACKENDS.cudnn
    with suppress(RuntimeError):
        return bool(cudnn.allow_tf32)
    cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "tf32"
    with suppress(RuntimeError):
        return bool(cudnn.allow_tf32)
    return False


def _products_before() -> str:
    """The older setting of products, asked for where the newer does not contradict."""
    with suppress(RuntimeError):
        return torch.get_float32_matmul_precision()
    for cuda, cpu in (("ieee", "ieee"), ("tf32", "tf32"), ("tf32", "bf16")):
        _BACKENDS.cuda.matmul.fp32_precision = cuda
        _BACKENDS.mkldnn.matmul.fp32_precision = cpu
        with suppress(RuntimeError):
            return torch.get_float32_matmul_precision()
    return "highest"


def _put_back(op: Any, precision: str) -> None:
    """What an op did before; as it inherited it, if it did."""
    op.fp32_precision = "none"
    if op.fp32_precision != precision:
        op.fp32_precision = precision
