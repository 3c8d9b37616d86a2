"""Does napari show a map where it lies on the slide?  Asks its OME-Zarr reader, without a window.

    pip install '.[napari]'; python benchmarks/napari_layers.py

Maps a region of a drawn image with a net of stride 2, in means of 3 x 3 px, so that scale, lost
margin, region and half-pixel shifts all count; opens the map with napari's reader plugin; and
compares the world coordinates of the first and the last px of each layer with the centres of those
px in micrometres.  Writes benchmarks/results/napari.json; fails if a layer lies elsewhere.

napari brings some 60 packages (290 MB) and plugins of pytest that warn while they are loaded, so
it is no dependency of the tests.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchmarks.machine import machine
from gigafcn import infer, open_map

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
warnings.simplefilter("ignore")  # napari's and its plugins' own

from napari.layers import Layer  # noqa: E402 - after the warnings are silenced
from napari.layers.utils.stack_utils import split_channels  # noqa: E402
from napari_ome_zarr import napari_get_reader  # noqa: E402

RESULT = Path(__file__).with_name("results") / "napari.json"
REGION = (60, 30, 300, 330)  # y0, x0, y1, x1 in px
MPP, STRIDE, MEANS = 0.5, 2, 3


def main() -> None:
    """Make a map, look at it, write what was found."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.zarr"
        pixels = np.random.default_rng(0).integers(0, 256, (360, 420, 3), np.uint8)
        net = nn.Conv2d(3, 3, 3, stride=STRIDE, padding=1)
        wanted = MPP * STRIDE * MEANS
        infer(pixels, net, path, region=REGION, slide_mpp=MPP, save_mpp=wanted, verify=False)
        shape = open_map(path).spec.shape
        found = [layer for root in (path, path / "labels" / "classes") for layer in layers(root)]
    # The centre of a stored px of 6 x 6 px of the slide, 0.5 um each, px centres at whole numbers.
    cell = STRIDE * MEANS
    first = [MPP * (start + (cell - 1) / 2) for start in REGION[:2]]
    last = [a + MPP * cell * (n - 1) for a, n in zip(first, shape, strict=True)]
    names = ("napari", "napari-ome-zarr", "zarr", "gigafcn")
    told = {
        "machine": machine(),
        "versions": {name: version(name) for name in names},
        "expected": {"first": first, "last": last},
        "layers": found,
        "right": all(layer["first"] == first and layer["last"] == last for layer in found),
    }
    RESULT.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))
    assert found, "napari's reader found no layer"
    assert told["right"], "a layer lies elsewhere"


def layers(root: Path) -> list[dict[str, Any]]:
    """World coordinates (y, x) in micrometres of the first and last px of each layer."""
    reader = napari_get_reader(str(root))
    found = []
    for data, meta, kind in reader(str(root)):
        axis = meta.pop("channel_axis", None)
        parts = [(data, meta, kind)] if axis is None else split_channels(data, axis, **meta)
        for values, own, what in parts:
            layer = Layer.create(values, own, what)
            finest = layer.data[0] if layer.multiscale else layer.data
            corner = [n - 1 for n in finest.shape[-2:]]
            found.append(
                {
                    "kind": what,
                    "name": layer.name,
                    "first": [round(float(c), 9) for c in layer.data_to_world((0, 0))],
                    "last": [round(float(c), 9) for c in layer.data_to_world(corner)],
                }
            )
    return found


if __name__ == "__main__":
    main()
