#!/usr/bin/env bash
# torch 2.13.0, CPU with AVX-512: a compiled convolution of a one-channel image with a stride along x alone,
# whose result is one px wide, gives other numbers than the same module uncompiled.
#
# Expected: torch.compile with inductor's freezing (weights laid out for oneDNN once) gives the module's answer up
#   to rounding, some 1e-6.
# Happens:  Conv2d(1, 8, 5, stride=(1, 8)) of a 20 x 8 px image differs by more than 1e-3, often by many times the
#   largest value. With two channels, with a stride along both axes or with a result of two columns all is well.
# Why it matters: convolutions computed strip by strip or column by column meet such shapes at an image's edge.
# Source:   torch.ops.mkldnn._reorder_convolution_weight and _convolution_pointwise, which inductor's freezing calls
#   (torch/_inductor/fx_passes/mkldnn_fusion.py); found by comparing random convolutions with F.conv2d.
# Needs:    a C++ compiler, as torch.compile does. Processors without AVX-512 were not seen to do it.
#
# Ends with 0 if it happens as described, 1 if not, 2 if the processor has no AVX-512.
set -euo pipefail
grep -q avx512f /proc/cpuinfo || { echo "this processor has no AVX-512: not tried"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet torch==2.13.0 numpy==2.4.6 setuptools==80.9.0
cat > try.py <<'PY'
import sys

import torch
import torch._inductor.config as inductor
from torch import nn

inductor.freezing = True
print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())


def difference(channels: int, stride: tuple[int, int], width: int) -> float:
    torch.manual_seed(0)
    torch._dynamo.reset()
    net = nn.Conv2d(channels, 8, 5, stride=stride).eval()
    image = torch.randn(1, channels, 20, width)
    with torch.no_grad():
        whole, compiled = net(image), torch.compile(net)(image)
    found = float((compiled - whole).abs().max())
    print(f"channels {channels}, stride {stride}, image 20 x {width}: result {tuple(whole.shape)}, "
          f"largest value {float(whole.abs().max()):.3g}, differs by {found:.3g}")
    return found


wrong = difference(1, (1, 8), 8)
right = [difference(2, (1, 8), 8), difference(1, (8, 8), 8), difference(1, (1, 8), 16)]
sys.exit(0 if wrong > 1e-3 and max(right) < 1e-4 else 1)
PY
PYTHONWARNINGS=ignore env/bin/python try.py
