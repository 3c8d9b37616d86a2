"""Memory and processors are those that this process was granted, not those of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from gigafcn.schedule.resources import (
    available_cpus,
    available_memory,
    threads_per_worker,
    waiting_policy,
)

MIB = 1 << 20
GROUPS = Path("/sys/fs/cgroup/memory")


def tree(root: Path, files: dict[str, str]) -> Path:
    """Write files of /proc and /sys below ``root``."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return root


def said_by_child(code: str, *before: str) -> int:
    """A number printed by Python code in a process of its own."""
    words = [*before, sys.executable, "-c", code]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def test_a_version_2_limit_leaves_what_is_not_used_plus_cached_files(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/job/step",
            "sys/fs/cgroup/job/step/memory.max": str(100 * MIB),
            "sys/fs/cgroup/job/step/memory.current": str(60 * MIB),
            "sys/fs/cgroup/job/step/memory.stat": f"anon 5\ninactive_file {20 * MIB}",
        },
    )
    assert available_memory(tmp_path) == 60 * MIB


def test_the_tightest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/job/step",
            "sys/fs/cgroup/job/step/memory.max": "max",
            "sys/fs/cgroup/job/step/memory.current": str(1 * MIB),
            "sys/fs/cgroup/job/memory.max": str(50 * MIB),
            "sys/fs/cgroup/job/memory.current": str(10 * MIB),
        },
    )
    assert available_memory(tmp_path) == 40 * MIB


def test_a_version_1_limit_counts(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/job\n1:cpu,cpuacct:/job",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(30 * MIB),
            "sys/fs/cgroup/memory/job/memory.usage_in_bytes": str(10 * MIB),
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "100000",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000",
        },
    )
    assert available_memory(tmp_path) == 20 * MIB
    assert available_cpus(tmp_path) == 1


def test_an_unlimited_group_leaves_what_the_machine_has_free(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "0",
        },
    )
    assert 0 < available_memory(tmp_path) <= psutil.virtual_memory().total


def test_a_quota_of_one_and_a_half_processors_feeds_two_threads_at_most(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {"proc/self/cgroup": "0::/job", "sys/fs/cgroup/job/cpu.max": "150000 100000"},
    )
    assert available_cpus(tmp_path) == min(2, len(os.sched_getaffinity(0)))


def test_affinity_limits_the_processors() -> None:
    code = "from gigafcn.schedule.resources import available_cpus; print(available_cpus())"
    first = str(min(os.sched_getaffinity(0)))
    assert said_by_child(code, "taskset", "-c", first) == 1


def test_threads_are_shared_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads_per_worker(1) == available_cpus()
    assert threads_per_worker(1000) == 1


def test_on_a_busy_machine_waiting_threads_give_their_processor_away_unless_the_user_chose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0 * (os.cpu_count() or 1), 0.0, 0.0))
    assert waiting_policy({}) == {"OMP_WAIT_POLICY": "PASSIVE"}
    for chosen in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        assert waiting_policy({chosen: "1"}) == {}
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert waiting_policy({}) == {}


def test_the_program_says_so_before_it_loads_torch() -> None:
    code = (
        "import os, sys; os.getloadavg = lambda: (1e3, 0.0, 0.0); "
        "from gigafcn.cli import main; main(['--version']); "
        "print(int('torch' not in sys.modules and os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'))"
    )
    clean = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=clean)
    assert done.stdout.split()[-1] == b"1"


@pytest.mark.skipif(
    not os.access(GROUPS, os.W_OK) or not (GROUPS / "memory.limit_in_bytes").exists(),
    reason="setting a real memory limit takes root and writable version 1 control groups",
)
def test_a_real_memory_limit_is_seen_by_a_process_under_it() -> None:
    group = GROUPS / f"gigafcn-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(512 * MIB), encoding="utf-8")
        enter = f"echo $$ > {group}/cgroup.procs && exec "
        code = "from gigafcn.schedule.resources import available_memory; print(available_memory())"
        command = f'{enter} "{sys.executable}" -c "{code}"'
        assert 0 < said_by_child_of_shell(command) < 512 * MIB
    finally:
        group.rmdir()


def said_by_child_of_shell(command: str) -> int:
    """A number printed by a shell command."""
    return int(subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout)
