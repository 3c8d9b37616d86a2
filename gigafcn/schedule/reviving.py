"""What if a worker process dies before it is up?

Dask's nannies start a worker anew when its process ends.  But one that ends while it starts makes
its nanny give up, one that takes long to start is dropped by the cluster, and nobody replaces
either.  A run would wait for ever once all are gone, so the driver looks for nannies that are
missing or have no process, and puts new ones in their place.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from distributed import Nanny, SpecCluster
from distributed.core import Status

from gigafcn.errors import RunError

if TYPE_CHECKING:
    from concurrent.futures import Future as Promise

    from distributed import Client

GIVEN_UP = (Status.closed, Status.failed)
BARE_S = 10.0
"""Without a process, after which a nanny has given up without knowing."""

CLOSE_S, START_S = 5, 60
FRUITLESS = 10
"""Times that workers are replaced while no task gets done."""


class Reviver:
    """Replaces worker processes of a cluster that gigafcn started; of any other, does nothing."""

    def __init__(self, client: Client) -> None:
        cluster = client.cluster
        self._cluster = cluster if isinstance(cluster, SpecCluster) else None
        self._under_way: Promise[None] | None = None
        self._bare_since: dict[Any, float] = {}
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
        # The cluster itself drops a worker that was lost for longer than it likes.
        gone = self._gone(dict(cluster.workers)) | (set(cluster.worker_spec) - set(cluster.workers))
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

    def _gone(self, workers: dict[Any, Any]) -> set[Any]:
        """Names of those that gave up, or have been without a process for too long."""
        now = time.monotonic()
        bare = {name for name, nanny in workers.items() if _is_bare(nanny)}
        self._bare_since = {name: self._bare_since.get(name, now) for name in bare}
        late = {name for name, since in self._bare_since.items() if now - since >= BARE_S}
        return late | {name for name, nanny in workers.items() if nanny.status in GIVEN_UP}


def _is_bare(nanny: Any) -> bool:
    """Whether a nanny has no living process, as for a moment before each start."""
    if not isinstance(nanny, Nanny):
        return False
    process: Any = nanny.process and nanny.process.process
    return process is None or not process.is_alive()


async def _replaced(cluster: SpecCluster, gone: set[Any]) -> None:
    """Put new nannies in the place of those that are gone."""
    for name in gone:
        if name in cluster.workers:
            await _closed(cluster, cluster.workers.pop(name))
        spec = cluster.worker_spec[name]
        nanny = spec["cls"](cluster.scheduler_address, **{"name": name, **spec["options"]})
        cluster._created.add(nanny)
        # Also one that does not come up is in its place, where the next look finds it.
        cluster.workers[name] = nanny
        with suppress(Exception):
            await asyncio.wait_for(nanny.start(), START_S)


async def _closed(cluster: SpecCluster, nanny: Any) -> None:
    """End a nanny as far as it lets itself be ended."""
    with suppress(Exception):
        await asyncio.wait_for(nanny.close(), CLOSE_S)
    cluster._created.discard(nanny)
