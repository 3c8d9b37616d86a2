"""Where tasks run, and what a worker process is shielded from."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import sys
import threading
import time
from asyncio import Future
from typing import Any

import psutil
import pytest

from gigafcn.schedule.cluster import Equipment, local_client, visible_gpus


def environment() -> tuple[int, str | None, set[Any]]:
    """Process, threads, and the signals held back, of whoever calls this."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return os.getpid(), os.environ.get("OMP_NUM_THREADS"), {int(number) for number in held}


def test_without_workers_tasks_run_in_this_process() -> None:
    with local_client(None, Equipment()) as client:
        assert client.submit(os.getpid, pure=False).result() == os.getpid()


@pytest.mark.dask
def test_a_worker_process_has_its_threads_and_leaves_stopping_to_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # would win
    with local_client(1, Equipment(3)) as client:
        process, threads, held = client.submit(environment, pure=False).result()
    assert process != os.getpid()
    assert threads == "3"
    # A task runs in a thread of its own, which holds back what its process does.
    assert {signal.SIGINT, signal.SIGTERM} <= held


def looks_at_stacks() -> int:
    """How often somebody looks at the stacks of all threads while whoever calls this works."""
    looks = []
    look = sys._current_frames

    def counted() -> dict[int, Any]:
        looks.append(time.monotonic())
        return look()

    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(sys, "_current_frames", counted)
        time.sleep(0.3)
    return len(looks)


@pytest.mark.parametrize("workers", [None, pytest.param(1, marks=pytest.mark.dask)])
def test_nobody_looks_at_the_stacks_of_threads_where_python_may_hang(workers: int | None) -> None:
    # To do so, Python 3.11 takes a lock that new threads need, and may wait for them meanwhile.
    with local_client(workers, Equipment()) as client:
        assert client.submit(looks_at_stacks, pure=False).result() == 0


def listening() -> list[str]:
    """Addresses at which whoever calls this takes connections."""
    connections = psutil.Process().net_connections()
    return [c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN]


def test_a_run_in_this_process_opens_no_port() -> None:
    before = listening()
    with local_client(None, Equipment()):
        assert listening() == before


@pytest.mark.dask
def test_worker_processes_listen_on_this_machine_only() -> None:
    with local_client(1, Equipment()) as client:
        assert set(client.submit(listening, pure=False).result()) == {"127.0.0.1"}
        assert set(listening()) == {"127.0.0.1"}


def test_signals_reach_this_process_as_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with local_client(None, Equipment()):
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_an_interrupt_while_the_cluster_starts_is_not_lost() -> None:
    # Sent to this very thread while it holds signals back: the cluster is up when it arrives.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt), local_client(None, Equipment()):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def test_what_distributed_forgets_when_its_loop_stops_is_not_printed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def forget(error: Exception, loop: Any) -> None:
        Future(loop=loop).set_exception(error)

    with caplog.at_level(logging.ERROR, "asyncio"), local_client(None, Equipment()) as client:
        loop: Any = client.loop
        for error in (TimeoutError("Timeout"), ValueError("of ours")):
            client.sync(forget, error, loop.asyncio_loop)
        gc.collect()
    assert "of ours" in caplog.text
    assert "Timeout" not in caplog.text


def gpus_of_process() -> str | None:
    """The GPUs that whoever calls this sees."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.dask
def test_each_worker_process_gets_a_gpu_of_its_own_and_a_limit_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8f2a")
    equipment = Equipment(memory=2**30, gpus=visible_gpus(2, os.environ))
    with local_client(2, equipment) as client:
        seen = client.run(gpus_of_process)
        limits = {w["memory_limit"] for w in client.scheduler_info()["workers"].values()}
    assert sorted(seen.values()) == ["3", "GPU-8f2a"]
    assert limits == {2**30}


def test_more_workers_than_gpus_share_them() -> None:
    equipment = Equipment(gpus=("0", "1"))
    found = [equipment.environment(i)["CUDA_VISIBLE_DEVICES"] for i in range(4)]
    assert found == ["0", "1", "0", "1"]


def test_without_a_choice_of_gpus_none_is_named() -> None:
    assert "CUDA_VISIBLE_DEVICES" not in Equipment().environment(0)


def test_the_dashboard_is_for_this_machine_only(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), local_client(None, Equipment(), dashboard=True):
        assert set(listening()) == {"127.0.0.1"}
    assert re.search(r"dashboard: http://127.0.0.1:\d+/status", caplog.text)
