"""The table of systems in docs/systems.md: what each takes to tile, and tiles against the whole.

python -m benchmarks.systems            # measure, print the page
python -m benchmarks.systems --write    # and write it to docs/systems.md

Halo, stride, period and the differences do not depend on the widths but for rounding; the nets run
at a sixteenth of them.  Parameters are counted at the published widths.  Each net also maps a drawn
slide through the command line.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

import gigafcn
from benchmarks.machine import machine
from gigafcn.engine.whole import whole_run
from gigafcn.geometry import Box
from gigafcn.model.zoo import ZOO, build
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from gigafcn.train.demonstration_slide import write_demonstration_slide
from gigafcn.train.drawing import World, draw_region

if TYPE_CHECKING:
    from gigafcn.train.stain import Picture

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "systems.md"

DIVISOR = 16
IMAGE_PX = (539, 603)
"""Of the picture mapped for the differences: 3 x 3 tiles of 256 px for maps of its size."""

SLIDE_PX = 1024
"""Side of the drawn slide that the command line maps."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one system."""

    name: str
    parameters: int
    footprint: gigafcn.Footprint
    tiles: int
    map_error: float
    """Largest difference of the tiled map from the module in double, against the largest score."""

    module_error: float
    """The same of the module in float32 on the whole image."""

    seconds: float
    """Of the command line on the slide."""


def row(name: str, slide: Path) -> Row:
    """Analyse, map and compare one system."""
    system = ZOO[name]
    net = build(f"{name}/{DIVISOR}")
    with torch.device("meta"):
        parameters = sum(p.numel() for p in system.make(1).parameters())
    picture = draw_region(World.random(3), Box(0, 0, *IMAGE_PX)).picture[..., : system.channels]
    tiles, map_error, module_error = differences(net, np.ascontiguousarray(picture))
    seconds = by_command_line(name, slide, system.channels)
    footprint = gigafcn.analyze(net, system.channels)
    return Row(name, parameters, footprint, tiles, map_error, module_error, seconds)


def differences(net: nn.Module, picture: Picture) -> tuple[int, float, float]:
    """Number of tiles, and errors of the tiled map and of the module itself in float32."""
    chosen: dict[str, Any] = {"activation": "none", "dtype": "float32", "tile": 256}
    request = prepare(picture, net, Options(**chosen))
    with torch.inference_mode():
        single = whole_run(net, request.image, request.plan).double()
        plan = request.plan
        precise = prepare(picture, net, Options(**chosen, precision="fp64")).plan
        truth = whole_run(copy.deepcopy(net).double(), request.image, precise)
    with tempfile.TemporaryDirectory() as folder:
        result = gigafcn.infer(picture, net, Path(folder) / "m.zarr", **chosen)
        scores = np.asarray(gigafcn.open_map(result.path).scores[0][...])
    largest = float(truth.abs().max())
    tiled = torch.from_numpy(scores)[None].double()
    tiles = -(-plan.box.y.size // plan.tile[0]) * -(-plan.box.x.size // plan.tile[1])
    return (
        tiles,
        float((tiled - truth).abs().max()) / largest,
        float((single - truth).abs().max()) / largest,
    )


def by_command_line(name: str, slide: Path, channels: int) -> float:
    """Seconds that ``gigafcn infer`` takes, starting Python included."""
    words = [sys.executable, "-m", "gigafcn", "infer", str(slide), "--quiet", "--overwrite"]
    words += ["--model", f"zoo:{name}/{DIVISOR}", "-o", str(slide.with_name(f"{name}.zarr"))]
    words += ["--channels", "0"] if channels == 1 else []
    start = time.perf_counter()
    subprocess.run(words, check=True, cwd=ROOT)
    return time.perf_counter() - start


def page(rows: list[Row]) -> str:
    """The whole page."""
    return "\n".join([*_systems(), *_measured(rows), ""])


def _systems() -> list[str]:
    """What there is."""
    lines = [
        "# Systems of the literature",
        "",
        "Written by `python -m benchmarks.systems --write`; do not edit. Each name is a model: "
        "`gigafcn inspect zoo:fcn8s`, `gigafcn infer slide.svs --model zoo:fcn8s`. A number behind "
        f"it divides the published widths: `zoo:fcn8s/{DIVISOR}`. The nets are untrained: their "
        "weights are random numbers from a fixed seed.",
        "",
        "| name | what it is | after | published with (y, x) | map |",
        "|---|---|---|---|---|",
    ]
    for name, system in ZOO.items():
        size = f"{system.size[0]} x {system.size[1]} x {system.channels}"
        output = " x ".join(map(str, system.output))
        lines.append(f"| `{name}` | {system.what} | {system.paper or '-'} | {size} | {output} |")
    return lines


def _measured(rows: list[Row]) -> list[str]:
    """What was measured of the dense ones, and what the columns mean."""
    found = machine()
    return [
        "",
        "`classifier` and `vgg16` end in linear layers, so they take one size; "
        "`gigafcn.convert.to_fully_convolutional` makes maps of them. All others are local:",
        "",
        "| name | parameters | halo top, bottom | tile of whole periods | stride | period "
        "| tiles | map - exact | module - exact | `infer` |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(line(row) for row in rows),
        "",
        "Halo in input px, worst over the output phases and for tiles of whole periods; left and "
        "right are as top and bottom. For nets that lose a margin (`valid`, `pixel_classifier`, "
        "`vgg16_dense`, `unet`) the cell of map px j begins at px j * stride of the padded image, "
        "so that they see below it. *map - exact*: the largest difference between the tiled "
        f"map and the module in float64 on the whole picture of {IMAGE_PX[0]} x {IMAGE_PX[1]} px, "
        "as part of the largest score; *module - exact*: the same for the untouched module in "
        f"float32, which no tiling has seen. `infer`: the command line on a drawn slide of "
        f"{SLIDE_PX} x {SLIDE_PX} px, start included. Parameters are of the published widths, all "
        f"else of a sixteenth of them; measured on {found['cores']} cores of an "
        f"{found['processor']}, torch {found['torch']}.",
        "",
        "SegNet and DeconvNet put values where maxima stood. Where two values tie, as on plain "
        "background, rounding decides which place wins, in the module as in the sweep; a value "
        "then moves by a px, which no bound on rounding covers. See "
        "[unpooling](ideas/unpooling.md).",
    ]


def line(row: Row) -> str:
    """A system's line of the table."""
    found = row.footprint
    halo, aligned = found.halo, found.halo_aligned
    return (
        f"| `{row.name}` | {row.parameters:,} | {halo[0]}, {halo[1]} | {aligned[0]}, {aligned[1]} "
        f"| {found.stride[0]} | {found.period[0]} | {row.tiles} | {row.map_error:.1e} "
        f"| {row.module_error:.1e} | {row.seconds:.1f} s |"
    )


def main() -> None:
    """Measure all systems; print the page or write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", nargs="*", default=[n for n, s in ZOO.items() if s.dense])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder) / "slide.tif"
        write_demonstration_slide(slide, size=SLIDE_PX, seed=0)
        text = page([row(name, slide) for name in chosen.only])
    if chosen.write:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
