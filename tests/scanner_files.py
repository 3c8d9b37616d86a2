"""Small files in formats of scanners that OpenSlide knows as such, written by the tests."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

FIELD = 128
"""Px of a side of the fields of MIRAX and the tiles of DICOM files."""

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


def write_philips(path: Path, pixels: Pixels) -> None:
    """A Philips TIFF of one level."""
    spacing = (
        '<Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030" '
        f'PMSVR="IDoubleArray">&quot;{NM / 1e6}&quot; &quot;{NM / 1e6}&quot;</Attribute>'
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES" Group="0x301D" Element="0x1003" '
        'PMSVR="IDataObjectArray"><Array><DataObject ObjectType="DPScannedImage">'
        '<Attribute Name="PIM_DP_IMAGE_TYPE" Group="0x301D" Element="0x1004" PMSVR="IString">WSI'
        f"</Attribute>{spacing}"
        '<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE" Group="0x1001" '
        'Element="0x8B01" PMSVR="IDataObjectArray"><Array>'
        f'<DataObject ObjectType="PixelDataRepresentation">{spacing}</DataObject>'
        "</Array></Attribute></DataObject></Array></Attribute></DataObject>"
    )
    tifffile.imwrite(
        path, pixels, tile=(128, 128), photometric="rgb", compression="jpeg", metadata=None,
        software="Philips DP v1.0", description=text,
    )  # fmt: skip


_SLIDEDAT = """[GENERAL]
SLIDE_ID = {name}
SLIDE_VERSION = 01.02
IMAGENUMBER_X = {across}
IMAGENUMBER_Y = {down}
OBJECTIVE_MAGNIFICATION = 20
CameraImageDivisionsPerSide = 1
[HIERARCHICAL]
HIER_COUNT = 1
HIER_0_NAME = Slide zoom level
HIER_0_COUNT = 1
HIER_0_VAL_0_SECTION = LAYER_0_LEVEL_0_SECTION
NONHIER_COUNT = 0
INDEXFILE = Index.dat
[DATAFILE]
FILE_COUNT = 1
FILE_0 = Data0000.dat
[LAYER_0_LEVEL_0_SECTION]
OVERLAP_X = 0
OVERLAP_Y = 0
MICROMETER_PER_PIXEL_X = {px}
MICROMETER_PER_PIXEL_Y = {px}
IMAGE_FILL_COLOR_BGR = {background}
DIGITIZER_WIDTH = {side}
DIGITIZER_HEIGHT = {side}
IMAGE_FORMAT = JPEG
IMAGE_CONCAT_FACTOR = 0
"""


def write_mrxs(
    path: Path,
    pixels: Pixels,
    missing: Collection[tuple[int, int]] = (),
    background: int = 0xFFFFFF,
) -> None:
    """A MIRAX file of whole fields of 128 px, some of which were not scanned.

    Parameters
    ----------
    missing
        Fields (row, column).
    background
        Colour of what was not scanned, as blue, green, red.
    """
    down, across = pixels.shape[0] // FIELD, pixels.shape[1] // FIELD
    folder, name = path.with_suffix(""), "S" * 32
    folder.mkdir()
    path.write_bytes(b"")
    head = b"01.02" + name.encode()
    data, records = bytearray(head), b""
    for index in range(down * across):
        y, x = divmod(index, across)
        if (y, x) not in missing:
            field = pixels[y * FIELD : (y + 1) * FIELD, x * FIELD : (x + 1) * FIELD]
            stream = _jpeg(field)
            records += struct.pack("<4i", index, len(data), len(stream), 0)
            data += stream
    (folder / "Data0000.dat").write_bytes(data)
    root = len(head) + 8
    page = struct.pack("<2i", len(records) // 16, 0) + records
    index_data = struct.pack("<5i", root, root + 12 + len(page), root + 4, 0, root + 12) + page
    (folder / "Index.dat").write_bytes(head + index_data + bytes(16))
    (folder / "Slidedat.ini").write_text(
        _SLIDEDAT.format(
            name=name, across=across, down=down, px=NM / 1000, side=FIELD, background=background
        )
    )


def write_dicom(path: Path, pixels: Pixels) -> None:
    """A DICOM whole-slide image of one level."""
    side, (height, width) = FIELD, pixels.shape[:2]
    down, across = -(-height // side), -(-width // side)
    grown = ((0, down * side - height), (0, across * side - width), (0, 0))
    padded = np.pad(pixels, grown, mode="edge")
    frames = [
        _jpeg(padded[y * side : (y + 1) * side, x * side : (x + 1) * side])
        for y in range(down)
        for x in range(across)
    ]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    spacing, shared, path_of_light = Dataset(), Dataset(), Dataset()
    spacing.PixelSpacing, spacing.SliceThickness = [NM / 1e6, NM / 1e6], 0.001
    shared.PixelMeasuresSequence = [spacing]
    path_of_light.OpticalPathIdentifier = "1"
    values: dict[str, Any] = {
        "SOPClassUID": meta.MediaStorageSOPClassUID, "SOPInstanceUID": "1.2.3.4",
        "StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.2",
        "FrameOfReferenceUID": "1.2.3.3", "Modality": "SM",
        "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        "DimensionOrganizationType": "TILED_FULL", "SamplesPerPixel": 3,
        "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0,
        "Rows": side, "Columns": side, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7,
        "PixelRepresentation": 0, "NumberOfFrames": len(frames),
        "TotalPixelMatrixColumns": width, "TotalPixelMatrixRows": height,
        "TotalPixelMatrixFocalPlanes": 1, "NumberOfOpticalPaths": 1,
        "SharedFunctionalGroupsSequence": [shared], "OpticalPathSequence": [path_of_light],
        "PixelData": encapsulate(frames),
    }  # fmt: skip
    dataset = Dataset()
    dataset.file_meta = meta
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)


def _jpeg(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()
