"""What "fp32" means: 24 bits, as asked for, and the same each time.

Torch may be told to round what is multiplied to 11 bits (TF32) or 8 (bf16), on CUDA, where
convolutions do so unless told otherwise, and on processors; and CUDA may take another algorithm at
each call.  All would be far outside of what makes a map exact.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def as_asked() -> Iterator[None]:
    """Compute without gradients, in the full precision of the tensors, repeatably."""
    with torch.inference_mode(), _UNROUNDED:
        yield


class _Unrounded:
    """Torch rounds no operand while any thread is within.

    Its settings are of the whole process: the first thread that comes changes them, the last that
    goes puts them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._before = ExitStack()

    def __enter__(self) -> None:
        """Change torch's settings, if nobody has."""
        with self._lock:
            if not self._within:
                _change(self._before)
            self._within += 1

    def __exit__(self, *_: object) -> None:
        """Put them back, if nobody else needs them."""
        with self._lock:
            self._within -= 1
            if not self._within:
                self._before.close()


_UNROUNDED = _Unrounded()


def _change(before: ExitStack) -> None:
    """Say it the old way and the new: torch refuses to compute where the two contradict."""
    cudnn: Any = torch.backends.cudnn
    ops = _ops()
    for op in ops:
        before.callback(_put_back, op, op.fp32_precision)
    for name, value in (("benchmark", False), ("deterministic", True)):
        before.callback(setattr, cudnn, name, getattr(cudnn, name))
        setattr(cudnn, name, value)
    with suppress(RuntimeError):  # who said it the new way may not be asked the old
        before.callback(setattr, cudnn, "allow_tf32", cudnn.allow_tf32)
    with suppress(RuntimeError):
        was = torch.get_float32_matmul_precision()
        before.callback(torch.set_float32_matmul_precision, was)
    cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    for op in ops:
        op.fp32_precision = "ieee"


def _ops() -> list[Any]:
    """What torch may round the operands of."""
    backends: Any = torch.backends  # torch does not declare these
    cuda, cpu = backends.cudnn, backends.mkldnn
    ops = [backends.cuda.matmul, cuda.conv, cuda.rnn]
    return [*ops, cpu.matmul, cpu.conv, cpu.rnn]


def _put_back(op: Any, precision: str) -> None:
    """What an op did before; as it inherited it, if it did."""
    op.fp32_precision = "none"
    if op.fp32_precision != precision:
        op.fp32_precision = precision


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads of the CPU, and give the caller's setting back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
