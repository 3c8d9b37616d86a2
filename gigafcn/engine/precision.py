"""How a run computes: without gradients, in the precision asked for, in so many threads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from gigafcn.unrounded import UNROUNDED

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def as_asked() -> Iterator[None]:
    """Compute without gradients, in the full precision of the tensors, repeatably."""
    with torch.inference_mode(), UNROUNDED:
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
