"""What napari's OME-Zarr reader makes of a map: run by a test in a process of its own.

    python -W ignore -m tests.output.napari_layers MAP...

Prints for each map a line of JSON: of each layer its kind and the world coordinates of its first
and last px.  napari and its plugins warn while they are loaded, which the tests' own process takes
for errors; so they are only loaded in the function.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def layers(root: str) -> list[dict[str, Any]]:
    """World coordinates (y, x) of the first and last px of each layer."""
    from napari.layers import Layer
    from napari.layers.utils.stack_utils import split_channels
    from napari_ome_zarr import napari_get_reader

    found = []
    for data, meta, kind in napari_get_reader(root)(root):
        axis = meta.pop("channel_axis", None)
        parts = [(data, meta, kind)] if axis is None else split_channels(data, axis, **meta)
        for values, own, what in parts:
            layer = Layer.create(values, own, what)
            finest = layer.data[0] if layer.multiscale else layer.data
            corner = [n - 1 for n in finest.shape[-2:]]
            found.append(
                {
                    "kind": what,
                    "first": list(layer.data_to_world((0, 0))),
                    "last": list(layer.data_to_world(corner)),
                }
            )
    return found


if __name__ == "__main__":
    for root in sys.argv[1:]:
        sys.stdout.write(json.dumps(layers(root)) + "\n")
