"""How is the truth opened?  As a slide of one channel whose values are class numbers.

Besides what :func:`~gigafcn.slide.opening.open_slide` reads: PNGs with a palette, whose numbers
(not colours) are the classes, and OME-Zarr images with one label image, which is then the truth.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gigafcn.errors import SlideError
from gigafcn.output.label_codes import WITHOUT_CLASS, codes_of
from gigafcn.slide.array import ArraySlide
from gigafcn.slide.opening import open_mask
from gigafcn.slide.orientation import TAG, orientation_of, tell_turn, upright
from gigafcn.slide.picture import MOST_PX
from gigafcn.slide.traits import Traits

if TYPE_CHECKING:
    from gigafcn.slide.opening import Source
    from gigafcn.slide.protocol import Slide


_CODES = frozenset((*codes_of("uint8"), *codes_of("uint16")))


def open_truth(source: Source, *, orient: bool = False) -> Slide:
    """Open a mask of class numbers; ``orient`` turns it as it says itself.

    Raises
    ------
    SlideError
        When it cannot be opened, or is no mask.
    """
    if _has_palette(source):
        slide = upright(_palette(source)) if orient else _palette(source)
    else:
        slide = open_mask(_labels_within(source), orient=orient)
    tell_turn(
        slide.name, slide.traits.orientation, turned=slide.traits.turned,
        remedy="as the slide of this map, which was not turned with --orient",
    )  # fmt: skip
    if slide.channels != 1 or slide.dtype.kind == "f":
        what = f"{slide.channels} channels of {slide.dtype}"
        slide.close()
        raise SlideError(
            f"truth {source if isinstance(source, str | os.PathLike) else slide.name} has {what}; "
            f"a truth has one channel of whole numbers, the classes: convert colours to numbers"
        )
    return slide


def _has_palette(source: Source) -> bool:
    if not isinstance(source, str | os.PathLike) or not Path(source).is_file():
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(source, formats=("PNG", "BMP")) as image:
                return image.mode == "P" and image.width * image.height <= MOST_PX
    except (OSError, ValueError, SyntaxError):
        return False


def _palette(source: Source) -> Slide:
    assert isinstance(source, str | os.PathLike)
    path = Path(source)
    try:
        with Image.open(path) as image:
            traits = Traits("picture", orientation=orientation_of(image.getexif().get(TAG)))
            return ArraySlide(np.asarray(image), name=path.stem, source=str(path), traits=traits)
    except (OSError, ValueError, SyntaxError) as error:
        raise SlideError(f"{path} cannot be read as a picture: {error}; export it again") from error


def _labels_within(source: Source) -> Source:
    """The label image of an OME-Zarr image that has one."""
    if not isinstance(source, str | os.PathLike) or "://" in os.fspath(source):
        return source
    names = _label_names(Path(source) / "labels")
    if len(names) > 1:
        raise SlideError(
            f"truth {source} has {len(names)} label images; name one, such as "
            f"{Path(source) / 'labels' / names[0]}"
        )
    return Path(source) / "labels" / names[0] if names else source


def numbers_without_class(source: Source) -> tuple[int, ...]:
    """Numbers in the labels of a map of gigafcn that are no class: failed and left out."""
    within = _labels_within(source)
    if not isinstance(within, str | os.PathLike) or "://" in os.fspath(within):
        return ()
    try:
        document = json.loads((Path(within) / "zarr.json").read_bytes())
        told = document["attributes"]["ome"]["image-label"]["properties"]
        named = {int(one["label-value"]) for one in told if one.get("class") in WITHOUT_CLASS}
        return tuple(sorted(named & _CODES))  # a model may have a class "failed"
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return ()


def _label_names(folder: Path) -> list[str]:
    """Label images of an OME-Zarr image, 0.5 (zarr.json) or 0.4 (.zattrs)."""
    for document, within in (("zarr.json", "attributes"), (".zattrs", None)):
        try:
            found = json.loads((folder / document).read_bytes())
            attributes = found.get(within, {}) if within else found
            names = attributes.get("ome", attributes).get("labels", [])
            return [str(name) for name in names]
        except (OSError, ValueError, AttributeError):
            continue
    return []
