"""Which failures of a disk or store pass, and how long are they waited for?

Network file systems and object stores fail for moments.  What may pass is tried a few times, with
growing pauses; what will not pass (no space, no permission, no such file) is raised at once.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, TypeVar

import stamina

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")

ATTEMPTS = 5
LONGEST_S = 60.0
"""After which no further attempt is made."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0

PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.EIO,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
"""Errors of the operating system that may be gone a moment later."""


class StoreError(OSError):
    """An object store refuses, or does not answer, although it was asked several times."""


def is_passing(error: BaseException | None) -> bool:
    """Whether a failure, or what caused it, may be gone a moment later."""
    while error is not None:
        if isinstance(error, StoreError) or (isinstance(error, OSError) and error.errno in PASSING):
            return True
        error = error.__cause__
    return False


def persistently(work: Callable[[], Value]) -> Value:
    """What some work returns, which is tried again while its failures may pass.

    Examples
    --------
    >>> persistently(lambda: 3)
    3
    """
    for attempt in stamina.retry_context(
        on=is_passing,
        attempts=ATTEMPTS,
        timeout=LONGEST_S,
        wait_initial=FIRST_PAUSE_S,
        wait_max=LONGEST_PAUSE_S,
        wait_jitter=FIRST_PAUSE_S,
    ):
        with attempt:
            return work()
    raise AssertionError("the last attempt returns or raises")
