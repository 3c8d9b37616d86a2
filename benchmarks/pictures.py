"""Which pictures does the README show of results?  This makes them, in docs/images.

    python benchmarks/pictures.py [FOLDER [CMU-1-Small-Region.svs]]

Draws the demonstration slide (2048 px), maps it with the bundled model, exports the map, and shows
what is in the exported files; FOLDER keeps slide, map and exports, and is used again.  The first
picture, of a map over its slide, is of the public slide, when that is given.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import tifffile
from PIL import Image, ImageDraw, ImageFont

from gigafcn import evaluate_map, export_map, infer, open_slide
from gigafcn.evaluate import write_plot
from gigafcn.geometry import Box
from gigafcn.train.demonstration_slide import write_demonstration_slide

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SIZE_PX = 2048
MOST_BYTES = 190_000
VIEW = Box(440, 1000, 800, 1540)  # of the slide, for the outlines
ZOOM = 2
INK, PAPER, GAP = (29, 36, 51), (255, 255, 255), 24


def main() -> None:
    """Make every picture."""
    if len(sys.argv) > 1:
        make(Path(sys.argv[1]))
        if len(sys.argv) > 2:
            save("result", result(Path(sys.argv[1]), Path(sys.argv[2])))
        return
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))


def make(folder: Path) -> None:
    """Make every picture from the slide and map in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    slide, mapped = folder / "slide.tiff", folder / "slide.zarr"
    if not slide.exists():
        write_demonstration_slide(slide, SIZE_PX)
    if not mapped.exists():
        infer(slide, "demonstration", mapped)
    save("export-heat-map", heat_map(slide, mapped))
    save("export-outlines", outlines(slide, mapped))
    save("export-ome-tiff", levels(mapped))
    save("evaluate", plot(mapped, folder / "slide_truth.tiff"))


def result(folder: Path, slide: Path) -> Image.Image:
    """``gigafcn infer CMU-1-Small-Region.svs``: the picture beside the map."""
    mapped = folder / f"{slide.stem}.zarr"
    infer(slide, "demonstration", mapped)
    return Image.open(mapped.with_suffix(".png")).convert("RGB")


def heat_map(slide: Path, mapped: Path) -> Image.Image:
    """``gigafcn export slide.zarr --to jpeg --class nuclei --slide slide.tiff``."""
    exported = export_map(
        mapped,
        "png",
        overwrite=True,
        classes=("nuclei",),
        slide=str(slide),
        colormap="inferno",
        max_px=800,
    )
    return Image.open(exported.path).convert("RGB")


def outlines(slide: Path, mapped: Path) -> Image.Image:
    """The polygons of the GeoJSON, drawn over a part of the slide."""
    path = export_map(mapped, "geojson", overwrite=True, min_area=2.0).path
    opened = open_slide(slide)
    picture = Image.fromarray(opened.read(VIEW)).resize(
        (VIEW.x.size * ZOOM, VIEW.y.size * ZOOM), Image.Resampling.LANCZOS
    )
    opened.close()
    draw = ImageDraw.Draw(picture)
    features = json.loads(path.read_text())["features"]
    nuclei = [f["properties"]["classification"]["name"] == "nuclei" for f in features]
    for is_nucleus, feature in sorted(zip(nuclei, features, strict=True), key=lambda f: f[0]):
        colour = (255, 214, 0) if is_nucleus else (0, 120, 110)
        for ring in feature["geometry"]["coordinates"]:
            corners = (np.array(ring) - (VIEW.x0, VIEW.y0)) * ZOOM
            draw.line([(x, y) for x, y in corners], fill=colour, width=3)
    return picture


def levels(mapped: Path) -> Image.Image:
    """The levels of the OME-TIFF side by side, channels in the colours that it names."""
    path = export_map(mapped, "ome-tiff", overwrite=True).path
    with tifffile.TiffFile(path) as tif:
        assert tif.ome_metadata is not None
        root = ElementTree.fromstring(tif.ome_metadata)
        names = [dict(e.attrib) for e in root.iter() if e.tag.endswith("}Channel")]
        images = [blended(level.asarray(), names) for level in tif.series[0].levels]
    sides = [700 >> number for number in range(len(images))]
    width = sum(sides) + GAP * (len(sides) + 1)
    picture = Image.new("RGB", (width, sides[0] + 2 * GAP + 30), PAPER)
    draw, font, x = ImageDraw.Draw(picture), ImageFont.load_default(17), GAP
    for number, (image, side) in enumerate(zip(images, sides, strict=True)):
        shown = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
        picture.paste(shown, (x, GAP + 30))
        text = f"level {number}: {image.shape[1]} px"
        draw.text((x, GAP), text, fill=INK, font=font)
        x += side + GAP
    return picture


def blended(scores: NDArray[np.uint8], channels: list[dict[str, str]]) -> NDArray[np.uint8]:
    """Sum of the channels (c, y, x), each in its colour, the background in white."""
    total = np.zeros((*scores.shape[1:], 3))
    for values, channel in zip(scores, channels, strict=True):
        packed = int(channel["Color"]) % 2**32
        colour = [packed >> shift & 255 for shift in (24, 16, 8)]
        total += values[..., None] / 255 * np.array(colour)
    return np.asarray(np.clip(total, 0, 255), np.uint8)


def plot(mapped: Path, truth: Path) -> Image.Image:
    """``gigafcn evaluate slide.zarr slide_truth.tiff --boundary 3 --plot plot.png``."""
    found = evaluate_map(mapped, truth, boundary_px=3)
    path = mapped.with_name("plot.png")
    write_plot(path, found, title="slide.zarr against slide_truth.tiff", overwrite=True)
    return Image.open(path).convert("RGB")


def save(name: str, picture: Image.Image) -> None:
    """Write a JPEG of at most 190 kB."""
    for quality in range(90, 20, -5):
        buffer = io.BytesIO()
        picture.save(buffer, "jpeg", quality=quality, optimize=True)
        if buffer.tell() <= MOST_BYTES:
            break
    path = IMAGES / f"{name}.jpg"
    path.write_bytes(buffer.getvalue())
    print(f"{path}: {picture.width} x {picture.height} px, {buffer.tell()} bytes, q{quality}")


if __name__ == "__main__":
    main()
