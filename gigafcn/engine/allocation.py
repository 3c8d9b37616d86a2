"""Keep memory that was freed, since the next window needs it again.

glibc gives large blocks back to the system as soon as they are freed, and every page of the next
one is then fetched and zeroed anew: a fifth of the time of a small net on 512 px windows, a third
once threads compete for memory.  Elsewhere than on Linux with glibc, nothing happens.
"""

from __future__ import annotations

import ctypes
import gc
import sys

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of glibc's ``mallopt``."""

KEPT_BYTES = 1 << 30
"""Freed memory at the end of the heap that is kept."""

ARENAS = 2
"""Heaps that threads share.  With one for each, as many as eight per processor, every thread that
a tile begins may leave pieces in another: 1080 MiB at the eighth tile instead of 820."""

LARGEST_BYTES = 32 << 20
"""Blocks up to this come from the heap, not from the system; glibc allows no more."""


def share_heaps() -> None:
    """Let threads share a few heaps; counts only before this process has many threads."""
    library = _glibc()
    if library is not None:
        library.mallopt(_ARENA_MAX, ARENAS)


def keep_freed_memory() -> None:
    """Let this process keep what it frees, but for what :func:`return_freed_memory` gives back."""
    library = _glibc()
    if library is not None:
        library.mallopt(_MMAP_THRESHOLD, LARGEST_BYTES)
        library.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)


def return_freed_memory() -> None:
    """Give freed memory back to the system."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def release_memory(device: str) -> None:
    """Give back what a failed attempt held on a device, in cycles and in torch's own pool."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
