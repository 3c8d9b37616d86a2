"""What a plan says of memory is a promise: a process that maps takes no more."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gigafcn.plan.projection import BASE_BYTES

MAPPED = """
import json, sys, tempfile
from pathlib import Path
from torch import nn
import gigafcn
import numpy as np
from benchmarks.machine import peak_bytes
from tests.run.small_nets import conv

memory, folder = int(sys.argv[1]), Path(tempfile.mkdtemp())
net = nn.Sequential(conv(3, 48), conv(48, 48), nn.Conv2d(48, 3, 1)).eval()
image = np.random.default_rng(0).integers(0, 256, (1800, 2400, 3), np.uint8)
before = peak_bytes()
planned = gigafcn.plan_run(image, net, memory=memory).memory_bytes
gigafcn.infer(image, net, folder / "map.zarr", memory=memory)
print(json.dumps([before, planned, peak_bytes()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_a_run_keeps_to_its_memory_and_to_what_its_plan_says() -> None:
    memory = BASE_BYTES + (68 << 20)  # hardly more than the least that would do
    done = subprocess.run(
        [sys.executable, "-c", MAPPED, str(memory)], capture_output=True, check=True, text=True
    )
    before, planned, peak = json.loads(done.stdout)
    assert planned <= memory
    assert peak <= planned
    assert peak > before + (100 << 20), "a net so small that it shows nothing"
