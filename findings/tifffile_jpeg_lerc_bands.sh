#!/usr/bin/env bash
# tifffile reads other bands than GDAL wrote: JPEG of bands that are no colours, and LERC with NaN.
#
# Source: GeoTIFFs written by GDAL (rasterio 1.4.4). Versions: tifffile 2026.3.3, imagecodecs 2026.3.6.
# Expected, and what GDAL reads back:
#   1. three bands, PhotometricInterpretation 1 (min-is-black), JPEG, px-interleaved: the bands as
#      stored, to within a few grey levels; TIFF Technical Note 2 says that the tag rules, not the stream
#   2. the same as RGB (2), band-interleaved: the bands
#   3. one band of float32 with NaN, LERC: NaN where it was written
#   4. three bands of float32 with NaN at different px, LERC: each px in its band
# Found: 1. turned from YCbCr to RGB, off by up to 255, without a word; 2. an error, "Bogus JPEG
# colorspace"; 3. 0 in place of NaN; 4. the bands (c, y, x) reshaped to (y, x, c), so mixed up.
# Exits with 1 if any of that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tifffile==2026.3.3 imagecodecs==2026.3.6 rasterio==1.4.4 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys, warnings
import numpy as np, rasterio, tifffile
warnings.simplefilter("ignore")

def write(name, bands, **how):
    profile = dict(driver="GTiff", height=bands.shape[1], width=bands.shape[2], count=len(bands))
    with rasterio.open(name, "w", dtype=bands.dtype.name, **profile, **how) as raster:
        raster.write(bands)
    with rasterio.open(name) as raster:
        return raster.read()

def off(a, b):
    return int(np.abs(a.astype(int) - b.astype(int)).max())

y, x = np.mgrid[:128, :128] * 2
bands = np.stack([x, y, 255 - x]).astype(np.uint8)
gdal = write("a.tif", bands, compress="jpeg", photometric="MINISBLACK", interleave="pixel")
found = np.moveaxis(tifffile.imread("a.tif"), -1, 0)
print("1. min-is-black JPEG: GDAL off by", off(gdal, bands), "- tifffile off by", off(found, bands))
same = [off(gdal, bands) < 10 and off(found, bands) > 200]

gdal = write("b.tif", bands, compress="jpeg", photometric="RGB", interleave="band")
try:
    found = f"off by {off(tifffile.imread('b.tif'), bands)}"
except Exception as error:
    found = f"{type(error).__name__}: {error}"
print("2. band-interleaved RGB JPEG: GDAL off by", off(gdal, bands), "- tifffile", found)
same.append("Bogus" in found)

floats = np.arange(3 * 40 * 50, dtype=np.float32).reshape(3, 40, 50) + 1
floats[0, :, :10] = np.nan
gdal = write("c.tif", floats[:1], compress="lerc")
found = tifffile.imread("c.tif")
print("3. LERC: NaN px of GDAL", int(np.isnan(gdal).sum()), "- of tifffile", int(np.isnan(found).sum()),
      "with", float(found[0, 0]), "there")
same.append(np.isnan(gdal).sum() == 400 and not np.isnan(found).any())

gdal = write("d.tif", floats, compress="lerc", interleave="pixel")
found = tifffile.imread("d.tif")
print("4. LERC, px (0, 20) of three bands: written", floats[:, 0, 20], "GDAL", gdal[:, 0, 20],
      "tifffile", found[0, 20])
same.append(not np.array_equal(found[0, 20], floats[:, 0, 20]))

print("as found before" if all(same) else f"changed: {same}")
sys.exit(not all(same))
PYTHON
