"""Small files in formats of scanners that OpenSlide knows as such, written by the tests."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import tifffile
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    Pixels = np.ndarray[Any, np.dtype[np.uint8]]

NM = 500
"""Nanometres per px of the files that say so."""

PX_SIZE: dict[str, Any] = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
MARGIN = 200
"""Px of empty glass below and to the right of an SCN file's scanned area."""

_SCN = """<image name="{name}"><creationDate>2020-01-01T00:00:00.00Z</creationDate>
<device model="Leica SCN400" version="1"/><pixels sizeX="{w}" sizeY="{h}">
<dimension sizeX="{w}" sizeY="{h}" r="0" ifd="{ifd}"/></pixels>
<view sizeX="{nw}" sizeY="{nh}" offsetX="{x}" offsetY="{y}" spacingZ="0"/>
<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings>
<illuminationSettings><numericalAperture>0.4</numericalAperture>
<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings>
</image>"""


def write_svs(path: Path, pixels: Pixels, **options: Any) -> None:
    """An Aperio file of one level, 0.5 micrometres per px."""
    height, width = pixels.shape[:2]
    options = {"compression": "jpeg", "compressionargs": {"level": 95}} | options
    tifffile.imwrite(
        path, pixels, tile=(128, 128), photometric="rgb", metadata=None, **options,
        description=f"Aperio Image Library v11.2.1\r\n{width}x{height} [0,0 {width}x{height}] "
        f"(128x128) JPEG/RGB Q=95|AppMag = 20|MPP = 0.5000",
    )  # fmt: skip


def write_scn(path: Path, pixels: Pixels, at: tuple[int, int]) -> None:
    """A Leica file whose scanned area begins at px ``at`` (y, x) of a larger glass."""
    height, width = pixels.shape[:2]
    glass = (height + at[0] + MARGIN, width + at[1] + MARGIN)
    macro = pixels[:64, :64]
    images = (
        {"name": "macro", "ifd": 0, "w": 64, "h": 64, "x": 0, "y": 0}
        | {"nw": glass[1] * NM, "nh": glass[0] * NM},
        {"name": "main", "ifd": 1, "w": width, "h": height, "x": at[1] * NM, "y": at[0] * NM}
        | {"nw": width * NM, "nh": height * NM},
    )
    text = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" '
        f'uuid="urn:uuid:1"><collection name="c" uuid="urn:uuid:2" sizeX="{glass[1] * NM}" '
        f'sizeY="{glass[0] * NM}"><barcode/>'
        f"{''.join(_SCN.format(**image) for image in images)}</collection></scn>"
    )
    options: dict[str, Any] = {"photometric": "rgb", "compression": "jpeg", "metadata": None}
    options |= PX_SIZE
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        tif.write(macro, tile=(64, 64), description=text, **options)
        tif.write(pixels, tile=(128, 128), **options)


def write_ndpi(
    path: Path,
    pixels: Pixels,
    *,
    restart: int | None = None,
    declared: tuple[int, int] | None = None,
) -> None:
    """A Hamamatsu file of one JPEG.

    Parameters
    ----------
    restart
        JPEG blocks between restart markers; None writes none.
    declared
        Height and width that the file claims instead of its own.
    """
    stream = io.BytesIO()
    markers = {} if restart is None else {"restart_marker_blocks": restart}
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0, **markers)
    jpeg = bytearray(stream.getvalue())
    frame = jpeg.index(b"\xff\xc0")
    height, width = declared or pixels.shape[:2]
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    make = b"Hamamatsu\0"
    start = (16 + len(jpeg) + len(make) + 7) // 8 * 8

    def long(value: int) -> tuple[int, int, bytes]:
        return 4, 1, struct.pack("<I", value)

    tags: dict[int, tuple[int, int, bytes]] = {
        256: long(width), 257: long(height), 258: long(8), 259: long(7), 262: long(6),
        271: (2, len(make), struct.pack("<I", 16 + len(jpeg))), 273: long(16), 277: long(3),
        278: long(height), 279: long(len(jpeg)), 65420: long(1),
        65421: (11, 1, struct.pack("<f", 20.0)), 65427: (2, 2, b"r\0\0\0"),
    }  # fmt: skip
    tags |= {code: (9, 1, bytes(4)) for code in (65422, 65423, 65424)}
    directory = struct.pack("<H", len(tags))
    for code, (kind, count, value) in sorted(tags.items()):
        directory += struct.pack("<HHI", code, kind, count) + value
    # NDPI is a TIFF whose offsets have 64 bits: the upper halves of values follow the directory.
    directory += bytes(8 + 4 * len(tags))
    head = b"II*\0" + struct.pack("<Q", start) + bytes(4)
    path.write_bytes((head + jpeg + make).ljust(start, b"\0") + directory)


def write_trestle(path: Path, pixels: Pixels) -> None:
    """A Trestle file of one level without overlaps."""
    tifffile.imwrite(
        path, pixels, tile=(128, 128), photometric="rgb", compression="jpeg", metadata=None,
        resolution=(NM / 1000, NM / 1000), software="MedScan",
        description="OverlapsXY=0 0;Objective Power=20",
    )  # fmt: skip
