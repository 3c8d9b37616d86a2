"""How does a run stop that is asked to?

Batch systems and clouds send SIGTERM some seconds before they take a machine away.  Asked once, a
run begins no more tiles and has some seconds for those under way, which are then abandoned; asked
again, or between its tiles, it ends at once.  Either way its output can be gone on with.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

GRACE_S = 20.0
"""Kubernetes and SLURM wait 30 s after SIGTERM, spot machines of the clouds 30 to 120 s."""


class StopRequest:
    """Whether, why and until when a run is to stop; asked by a signal handler of its thread.

    Parameters
    ----------
    grace_s
        Seconds for tiles that are being computed.
    """

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self.grace_s = grace_s
        self._reason: BaseException | None = None
        self._until = float("inf")
        self._heeded = False

    def ask(self, reason: BaseException) -> None:
        """Ask to stop for a reason, which is raised when the run stops, perhaps right here."""
        if self._reason is not None or not self._heeded:
            raise reason
        self._reason, self._until = reason, time.monotonic() + self.grace_s

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Within, tiles are computed, and who computes them looks whether to stop."""
        self._heeded = True
        try:
            yield
        finally:
            self._heeded = False

    @property
    def asked(self) -> bool:
        """Whether no more tiles are to be begun."""
        return self._reason is not None

    def stop(self) -> None:
        """Raise the reason, if there is one."""
        if self._reason is not None:
            raise self._reason

    def stop_if_overdue(self) -> None:
        """Raise the reason once the seconds of grace are over."""
        if time.monotonic() >= self._until:
            self.stop()
