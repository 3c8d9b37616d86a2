"""What if a worker process dies before it is up?

Dask's nannies start a worker anew when its process ends, but one that ends while it starts makes
its nanny give up, and nobody replaces that.  A run would wait for ever once all are gone, so the
driver looks for nannies that gave up and has the cluster start new ones.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from distributed import SpecCluster
from distributed.core import Status

from gigafcn.errors import RunError

if TYPE_CHECKING:
    from concurrent.futures import Future as Promise

    from distributed import Client

GIVEN_UP = (Status.closed, Status.failed)
FRUITLESS = 10
"""Times that workers are replaced while no task gets done."""


class Reviver:
    """Replaces worker processes of a cluster that gigafcn started; of any other, does nothing."""

    def __init__(self, client: Client) -> None:
        cluster = client.cluster
        self._cluster = cluster if isinstance(cluster, SpecCluster) else None
        self._under_way: Promise[None] | None = None
        self._done = self._fruitless = 0

    def look(self, done: int) -> None:
        """Replace what is gone.

        Parameters
        ----------
        done
            Tasks done so far.

        Raises
        ------
        RunError
            If workers end again and again before anything is done.
        """
        cluster = self._cluster
        if cluster is None or (self._under_way is not None and not self._under_way.done()):
            return
        gone = [name for name, nanny in list(cluster.workers.items()) if nanny.status in GIVEN_UP]
        if not gone:
            return
        self._fruitless = 0 if done > self._done else self._fruitless + 1
        self._done = done
        if self._fruitless > FRUITLESS:
            raise RunError(
                f"worker processes ended {FRUITLESS} times while they started; the system may "
                f"have ended them for lack of memory, which --memory and fewer --workers avoid"
            )
        loop: Any = cluster.loop  # tornado's, around the one of asyncio
        replacing = _replaced(cluster, gone)
        self._under_way = asyncio.run_coroutine_threadsafe(replacing, loop.asyncio_loop)


async def _replaced(cluster: SpecCluster, gone: list[Any]) -> None:
    """Forget nannies, and start what the cluster should have instead."""
    for name in gone:
        cluster.workers.pop(name, None)
    with suppress(Exception):  # whoever ends while it starts again is found by the next look
        await cluster._correct_state()
