#!/usr/bin/env bash
# napari-ome-zarr 0.9.0 and 0.10.0 drop the translation of an OME-Zarr 0.5 image; 0.8.2 keeps it.
#
# Expected: a multiscale image whose level 0 has the coordinate transformations scale and translation (as the
#   OME-Zarr 0.5 specification demands: one scale, then at most one translation) is shown at that translation.
# Happens:  the layer that 0.9.0 and 0.10.0 give to napari has the scale and no translation, so a region of a slide, or
#   a map of a part of it, lies at the corner of the world instead of over its slide. Nothing is warned of.
# Source:   the reader's own code (napari_ome_zarr, ome_zarr.reader); the specification is https://ngff.openmicroscopy.org/0.5/
#
# Ends with 0 if it happens as described, 1 if not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > try.py <<'PY'
import json
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
import numpy as np
import zarr
from napari_ome_zarr import napari_get_reader

group = zarr.open_group("image.zarr", mode="w", zarr_format=3)
axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
datasets = []
for level, step in enumerate((1, 2)):
    group.create_array(str(level), data=np.ones((64 // step, 96 // step), np.uint8), chunks=(32, 32))
    first = (step - 1) / 2 * 0.5
    datasets.append({
        "path": str(level),
        "coordinateTransformations": [
            {"type": "scale", "scale": [0.5 * step] * 2},
            {"type": "translation", "translation": [100 + first, 200 + first]},
        ],
    })
image = {"name": "image", "axes": axes, "datasets": datasets}
group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}

[(_, meta, kind)] = napari_get_reader("image.zarr")("image.zarr")
place = {key: np.asarray(meta[key]).tolist() for key in ("scale", "translate") if key in meta}
print("napari-ome-zarr", version("napari-ome-zarr"), kind, json.dumps(place))
sys.exit(0 if np.allclose(meta.get("translate", 0), (100, 200)) else 3)
PY
found=()
for release in 0.8.2 0.9.0 0.10.0; do
    python3 -m venv "env-$release"
    "env-$release/bin/pip" install --quiet "napari-ome-zarr==$release" zarr==3.1.6 ome-zarr==0.12.2 || true
    if "env-$release/bin/python" -W ignore try.py; then found+=(kept); else found+=(dropped); fi
done
echo "translation: ${found[*]} (0.8.2, 0.9.0, 0.10.0)"
[ "${found[*]}" = "kept dropped dropped" ]
