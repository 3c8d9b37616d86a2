"""A request that cannot be carried out ends with code 2, before anything is replaced or written."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from PIL import Image

from tests.cli.refusals import MODEL, contents, refused
from tests.commands import gigafcn

if TYPE_CHECKING:
    from pathlib import Path


def refused_request(folder: Path, *words: str) -> str:
    """The line with which mapping the slide with these options is refused."""
    return refused(2, "infer", "slide.tif", *MODEL, *words, cwd=folder)


def test_a_finished_map_is_replaced_only_when_asked(folder: Path) -> None:
    assert gigafcn("infer", "slide.tif", *MODEL, cwd=folder).code == 0
    assert gigafcn("infer", "slide.tif", *MODEL, cwd=folder).code == 0  # nothing left to do
    assert refused_request(folder, "--dtype", "float32") == (
        "output slide.zarr belongs to another run: dtype was 'auto', now 'float32'; choose "
        "another name or replace it with --overwrite"
    )
    ended = gigafcn("infer", "slide.tif", *MODEL, "--overwrite", "--dtype", "float32", cwd=folder)
    assert ended.code == 0
    assert zarr.open_array(folder / "slide.zarr" / "0").dtype == np.float32


def test_a_map_to_which_somebody_added_something_is_never_replaced(folder: Path) -> None:
    assert gigafcn("infer", "slide.tif", *MODEL, cwd=folder).code == 0
    (folder / "slide.zarr" / "notes.txt").write_text("mine")
    message = refused_request(folder, "--overwrite")
    assert "holds notes.txt, which gigafcn did not write" in message


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_what_gigafcn_did_not_write_is_never_replaced(
    overwrite: tuple[str, ...], folder: Path
) -> None:
    zarr.create_array(str(folder / "slide.zarr"), data=np.zeros((3, 3)))
    message = refused_request(folder, *overwrite)
    assert "output slide.zarr exists and was not written by gigafcn" in message
    (folder / "maps").write_text("a file")
    assert "maps" in refused_request(folder, "-o", "maps", *overwrite)


def test_a_picture_of_somebody_else_is_never_replaced(folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder / "slide.png")
    message = refused_request(folder, "--overwrite")
    assert message.startswith("slide.png exists and was not written by gigafcn")


def test_the_own_picture_of_a_map_that_is_gone_is_replaced(folder: Path) -> None:
    assert gigafcn("infer", "slide.tif", *MODEL, cwd=folder).code == 0
    shutil.rmtree(folder / "slide.zarr")
    assert gigafcn("infer", "slide.tif", *MODEL, cwd=folder).code == 0


def test_no_map_or_picture_takes_the_place_of_its_slide(folder: Path) -> None:
    Image.new("RGB", (30, 30)).save(folder / "photo.png")
    message = refused(2, "infer", "photo.png", *MODEL, cwd=folder)
    assert message.startswith("the map's picture would take the place of the slide, photo.png")
    zarr.create_array(str(folder / "a.zarr"), data=np.zeros((30, 30, 3), np.uint8))
    message = refused(2, "infer", "a.zarr", *MODEL, "-o", "a.zarr", "--overwrite", cwd=folder)
    assert "the map of a.zarr would take the slide's own place; give -o" in message


def test_the_map_of_a_zarr_slide_gets_a_name_of_its_own(folder: Path) -> None:
    zarr.create_array(
        str(folder / "a.zarr"), data=np.eye(30, dtype=np.uint8)[..., None].repeat(3, 2)
    )
    ended = gigafcn("infer", "a.zarr", *MODEL, cwd=folder)
    assert ended.code == 0
    assert "a-map.zarr, picture a-map.png" in ended.out


def test_an_output_in_a_place_that_cannot_be_made_is_refused(folder: Path) -> None:
    message = refused_request(folder, "-o", "slide.tif/maps")
    assert "output slide.tif/maps/slide.zarr cannot be created" in message


def test_too_little_memory_is_refused_and_the_least_that_would_do_does(folder: Path) -> None:
    message = refused_request(folder, "--memory", "1MiB")
    assert "the memory of 1 MiB is too small" in message
    found = re.search(r"give --memory (\d+MiB) or more", message)
    assert found is not None
    ended = gigafcn("infer", "slide.tif", *MODEL, "--memory", found.group(1), cwd=folder)
    assert ended.code == 0


def test_a_tile_that_does_not_fit_the_memory_is_refused(folder: Path) -> None:
    message = refused_request(folder, "--tile", "256", "--memory", "100MiB")
    assert "tiles of 256 x 256 px (y, x) take" in message
    assert "the memory is 100 MiB; take a smaller --tile or more --memory" in message


def test_a_tile_of_nothing_is_refused(folder: Path) -> None:
    assert refused_request(folder, "--tile", "0") == "--tile: must be more than 0, got 0"


def test_a_region_outside_the_slide_is_refused(folder: Path) -> None:
    message = refused_request(folder, "--region", "400,0,30,30")
    assert "is not inside the image of 300 x 420 px (y, x)" in message


def test_a_level_that_is_not_there_is_refused(folder: Path) -> None:
    assert "slide has levels 0 to 0, not 1" in refused_request(folder, "--level", "1")


def test_names_for_other_classes_than_the_models_are_refused(folder: Path) -> None:
    message = refused_request(folder, "--classes", "a,b")
    assert message.startswith("model tiny has no class 'a': its classes are class 0, class 1, ")
    assert message.endswith("or 3 names, one per class in this order, to name them anew")


def test_a_file_that_describes_a_model_is_no_config(folder: Path) -> None:
    (folder / "model.toml").write_text('factory = "nets.py:tiny"\n')
    message = refused_request(folder, "--config", "model.toml")
    assert message == ("--config model.toml: this describes a model: pass it as --model model.toml")


def test_several_slides_need_a_model_of_ones_own(folder: Path) -> None:
    shutil.copy(folder / "slide.tif", folder / "other.tif")
    message = refused(2, "infer", "slide.tif", "other.tif", cwd=folder)
    assert message.startswith("2 slides but no model; give --model")


def test_an_unknown_flag_is_refused_with_the_nearest_one(folder: Path) -> None:
    message = refused_request(folder, "--overwrit")
    assert message == "unknown option: --overwrit. Did you mean --overwrite?"


def test_one_mistake_does_not_touch_an_earlier_map(folder: Path) -> None:
    assert gigafcn("infer", "slide.tif", *MODEL, cwd=folder).code == 0
    before = contents(folder)
    assert (
        gigafcn("infer", "slide.tif", *MODEL, "--overwrite", "--level", "9", cwd=folder).code == 2
    )
    assert contents(folder) == before
