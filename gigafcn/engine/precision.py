"""What "fp32" means on a GPU: 24 bits, as asked for, and the same each time.

Convolutions of CUDA round their inputs to 11 bits (TF32) unless told otherwise, and may take
another algorithm at each call.  Both would be far outside of what makes a map exact.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def as_asked() -> Iterator[None]:
    """Compute without gradients, in the full precision of the tensors, repeatably."""
    whole = torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled,
        benchmark=False,
        deterministic=True,
        allow_tf32=False,
    )
    with torch.inference_mode(), whole:
        yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads of the CPU, and give the caller's setting back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
