"""The recipes of configs/deploy: sound shell and YAML, run here with stand-ins for SLURM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import gigafcn as command

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "configs/deploy"
SCRIPTS = sorted(DEPLOY.glob("*.sh"))
ASKED = ("-m", "nets.py:tiny", "--trust", "--tile", "256", "--device", "cpu")

SLOW_GIGAFCN = """
sleep 60 > /dev/null 2>&1 &
trap "kill $!; sleep 0.2; exit 75" TERM
echo started > started
wait
"""


def named(path: Path) -> str:
    return path.name


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """A folder of commands: the real gigafcn and dask, and stand-ins for SLURM's."""
    stubs = tmp_path / "bin"
    stubs.mkdir()
    for name, body in {
        "gigafcn": f'exec {sys.executable} -m gigafcn "$@"',
        "dask": f'exec {sys.executable} -m dask "$@"',
        "srun": 'exec "$@"',
        "scontrol": f'echo "$@" >> {tmp_path}/requeued',
    }.items():
        replace(stubs, name, body)
    return stubs


def replace(stubs: Path, name: str, body: str) -> None:
    """Let a command be a script."""
    (stubs / name).write_text(f"#!/bin/bash\n{body}\n")
    (stubs / name).chmod(0o755)


def begun(words: list[str], stubs: Path, folder: Path, **variables: str) -> subprocess.Popen[str]:
    """A script of somebody's node, with some variables of SLURM or Kubernetes."""
    environment = {k: v for k, v in os.environ.items() if k != "GIGAFCN_MODEL"}
    environment |= {"PATH": f"{stubs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)} | variables
    return subprocess.Popen(
        ["bash", *words], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def ran(words: list[str], stubs: Path, folder: Path, **variables: str) -> None:
    """Run a script to its good end."""
    process = begun(words, stubs, folder, **variables)
    said = process.communicate(timeout=180)[0]
    assert process.returncode == 0, said


def stored(path: Path) -> dict[str, bytes]:
    """Every object of a finished map but the root document, which tells how long it took."""
    assert (path / "zarr.json").is_file()
    files = [p for p in path.rglob("*") if p.is_file() and p != path / "zarr.json"]
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


JOB = {
    "SLURM_JOB_ID": "77",
    "SLURM_MEM_PER_CPU": "4096",
    "SLURM_CPUS_PER_TASK": "1",
    "SLURM_ARRAY_JOB_ID": "77",
    "SLURM_ARRAY_TASK_ID": "2",
}


@pytest.mark.parametrize("script", SCRIPTS, ids=named)
def test_a_script_is_sound(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([shellcheck, script], capture_output=True, text=True, check=False)
    assert found.stdout + found.stderr == ""


@pytest.mark.parametrize("script", ["slurm.sh", "slurm-array.sh"])
def test_slurm_is_told_when_to_warn_and_that_the_job_may_be_queued_again(script: str) -> None:
    text = (DEPLOY / script).read_text()
    options = [line.split()[1] for line in text.splitlines() if line.startswith("#SBATCH")]
    # Only to the batch shell, which tells gigafcn: workers must outlive it.
    assert "--signal=B:TERM@120" in options
    assert {"--requeue", "--open-mode=append"} <= set(options)
    first_command = next(
        n for n, line in enumerate(text.splitlines()) if line and not line.startswith("#")
    )
    last_option = max(n for n, line in enumerate(text.splitlines()) if line.startswith("#SBATCH"))
    assert last_option < first_command  # SLURM reads no further


@pytest.mark.dask
def test_the_slurm_job_makes_the_map_of_one_process_over_tls_and_leaves_nothing_else(
    folder: Path, stubs: Path
) -> None:
    ran([str(DEPLOY / "slurm.sh"), "slide.tif", *ASKED, "-o", "out.zarr"], stubs, folder, **JOB)
    assert command("infer", "slide.tif", *ASKED, "-o", "alone.zarr", cwd=folder).code == 0
    assert stored(folder / "out.zarr") == stored(folder / "alone.zarr")
    assert not list(folder.glob(".gigafcn-*"))
    assert not (stubs.parent / "requeued").exists()


@pytest.mark.parametrize(
    ("script", "first", "job"),
    [("slurm.sh", "slide.tif", "77"), ("slurm-array.sh", "list", "77_2")],
)
def test_a_job_whose_time_is_up_is_queued_again(
    script: str, first: str, job: str, folder: Path, stubs: Path
) -> None:
    (folder / "list").write_text("slide.tif\nslide.tif\n")
    replace(stubs, "gigafcn", SLOW_GIGAFCN)
    replace(stubs, "dask", "exec sleep 60 > /dev/null 2>&1")
    process = begun([str(DEPLOY / script), first], stubs, folder, **JOB)
    while not (folder / "started").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=30)[0]
    assert process.returncode == 75, said
    assert (stubs.parent / "requeued").read_text() == f"requeue {job}\n"
    assert not list(folder.glob(".gigafcn-*"))


def test_a_job_that_failed_is_not_queued_again(folder: Path, stubs: Path) -> None:
    (folder / "list").write_text("slide.tif\nslide.tif\n")
    replace(stubs, "gigafcn", "exit 3")
    process = begun([str(DEPLOY / "slurm-array.sh"), "list"], stubs, folder, **JOB)
    process.communicate(timeout=30)
    assert process.returncode == 3
    assert not (stubs.parent / "requeued").exists()


def test_a_task_of_the_array_maps_its_own_slide(folder: Path, stubs: Path) -> None:
    (folder / "slide.tif").rename(folder / "second one.tif")
    (folder / "list").write_text("first.tif\nsecond one.tif\n")
    ran([str(DEPLOY / "slurm-array.sh"), "list", *ASKED, "-o", "maps"], stubs, folder, **JOB)
    assert (folder / "maps/second one.zarr/zarr.json").is_file()


@pytest.mark.dask
def test_the_recipe_of_one_node_starts_workers(folder: Path, stubs: Path) -> None:
    words = [str(DEPLOY / "node.sh"), "slide.tif", *ASKED, "-o", "out.zarr"]
    ran(words, stubs, folder, WORKERS="1")
    assert (folder / "out.zarr/zarr.json").is_file()


def job_of_kubernetes() -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text())["spec"]
    return spec


def test_the_kubernetes_job_has_an_index_per_slide_and_knows_our_exit_codes() -> None:
    spec = job_of_kubernetes()
    assert spec["completionMode"] == "Indexed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy asks for it
    (container,) = spec["template"]["spec"]["containers"]
    rules = spec["podFailurePolicy"]["rules"]
    codes = {r["action"]: r["onExitCodes"] for r in rules if "onExitCodes" in r}
    assert codes["Ignore"]["values"] == [75]
    assert codes["FailIndex"]["values"] == [2, 3, 4]
    assert {c["containerName"] for c in codes.values()} == {container["name"]}
    volumes = {v["name"] for v in spec["template"]["spec"]["volumes"]}
    assert {m["name"] for m in container["volumeMounts"]} == volumes


def test_a_pod_maps_the_slide_of_its_index(folder: Path, stubs: Path) -> None:
    (container,) = job_of_kubernetes()["template"]["spec"]["containers"]
    (folder / "slides.txt").write_text(f"/nowhere.svs\n{folder}/slide.tif\n")
    # The paths inside the container, here.
    script = container["args"][0].replace("/lists/", f"{folder}/")
    script = script.replace("-m /models/model.toml", " ".join(ASKED))
    script = script.replace("/maps", str(folder / "maps"))
    assert container["command"] == ["bash", "-c"]
    ran(["-c", script], stubs, folder, JOB_COMPLETION_INDEX="1")
    assert (folder / "maps/slide.zarr/zarr.json").is_file()
    grace = int(script.split("--grace ")[1].split()[0])
    assert grace < job_of_kubernetes()["template"]["spec"]["terminationGracePeriodSeconds"]
