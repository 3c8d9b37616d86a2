"""What a user does first, from the command line: map, plan, inspect, demo."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import torch
import zarr

from tests.cli.nets import tiny
from tests.cli.refusals import MODEL, contents
from tests.commands import ended, gigafcn, started
from tests.run.whole import run_whole, scores_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.run.whole import Array


def expected_map(folder: Path) -> Array:
    """The whole run of the tiny net on the slide."""
    pixels = tifffile.imread(folder / "slide.tif")
    return run_whole(tiny(), pixels, activation="softmax", scale=1 / 255, dtype=torch.float32)


def test_the_program_maps_a_slide_with_the_bundled_model_and_says_so(folder: Path) -> None:
    done = ended(started("infer", "slide.tif", cwd=folder))
    assert done.code == 0
    assert done.err == (
        "gigafcn: warning: no model given, so the bundled demonstration model maps background, "
        "tissue and nuclei; it is no diagnostic tool. Give your own with --model\n"
    )
    assert done.out.startswith("420 x 300 px in ")
    for part in (" Mpx/s while mapping, halo ", "exact, model demonstration, bottleneck "):
        assert part in done.out
    assert done.out.splitlines()[0].endswith(": slide.zarr, picture slide.png")
    assert {"slide.zarr", "slide.png"} <= {path.name for path in folder.iterdir()}


def test_a_map_holds_what_the_model_says(folder: Path) -> None:
    done = gigafcn("infer", "slide.tif", *MODEL, "--dtype", "float32", "--tile", "256", cwd=folder)
    assert done.code == 0
    scores = scores_of(folder / "slide.zarr")
    # One convolution of 27 terms in float32, in another order.
    np.testing.assert_allclose(scores, expected_map(folder), atol=1e-6)


def test_a_region_is_written_x_y_width_height(folder: Path) -> None:
    words = ("--dtype", "float32", "--region", "300,20,100,60")
    assert gigafcn("infer", "slide.tif", *MODEL, *words, cwd=folder).code == 0
    scores = scores_of(folder / "slide.zarr")
    np.testing.assert_allclose(scores, expected_map(folder)[:, 20:80, 300:400], atol=1e-6)


def test_options_come_from_a_file_and_flags_override_it(folder: Path) -> None:
    (folder / "run.toml").write_text(
        '[infer]\nmodel = "nets.py:tiny"\ntrust = true\noutput = "maps"\ndtype = "float16"\n'
    )
    words = ("--config", "run.toml", "--dtype", "float32")
    assert gigafcn("infer", "slide.tif", *words, cwd=folder).code == 0
    assert zarr.open_array(folder / "maps" / "slide.zarr" / "0").dtype == np.float32


def test_json_lines_tell_progress_and_the_result(folder: Path) -> None:
    done = gigafcn("infer", "slide.tif", *MODEL, "--tile", "256", "--json", cwd=folder)
    assert done.code == 0
    *progress, result = done.events
    assert {event["event"] for event in progress} == {"progress"}
    assert {event["slide"] for event in progress} == {"slide.tif"}
    computed = [event for event in progress if event["stage"] == "compute"]
    assert computed[-1]["pixels_done"] == computed[-1]["pixels"] == 300 * 420
    assert (result["event"], result["slide"]) == ("result", "slide.tif")
    assert (result["map"], result["shape"]) == ("slide.zarr", [3, 300, 420])
    assert result["summary"]["picture"] == "slide.png"


def test_quiet_means_silence(folder: Path) -> None:
    done = gigafcn("infer", "slide.tif", *MODEL, "--quiet", cwd=folder)
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.dask
def test_worker_processes_find_slide_and_model_by_name(folder: Path) -> None:
    words = ("--dtype", "float32", "--tile", "256", "--workers", "1")
    done = gigafcn("infer", "slide.tif", *MODEL, *words, cwd=folder)
    assert done.code == 0, done
    scores = scores_of(folder / "slide.zarr")
    np.testing.assert_allclose(scores, expected_map(folder), atol=1e-6)


def test_a_plan_is_a_table_or_json_and_writes_nothing(folder: Path) -> None:
    before = contents(folder)
    table = gigafcn("plan", "slide.tif", *MODEL, "--tile", "256", cwd=folder)
    assert table.code == 0
    assert "4 of 256 x 256 px" in table.out
    plan = gigafcn("plan", "slide.tif", *MODEL, "--tile", "256", "--json", cwd=folder)
    (event,) = plan.events
    assert (event["event"], event["tiles"], event["image"]) == ("plan", 4, [300, 420])
    assert contents(folder) == before


def test_inspect_shows_the_bundled_model_layer_by_layer(folder: Path) -> None:
    done = gigafcn("inspect", "demonstration", cwd=folder)
    assert (done.code, done.err) == (0, "")
    for line in ("encode_fine.0", "carried rows", "halo: top, bottom, left, right", "period: y, x"):
        assert line in done.out


def test_inspect_gives_the_same_as_json(folder: Path) -> None:
    (event,) = gigafcn("inspect", "nets.py:tiny", "--trust", "--json", cwd=folder).events
    assert (event["local"], event["halo"], event["stride"]) == (True, [1, 1, 1, 1], [1.0, 1.0])
    assert [layer["op"] for layer in event["layers"]] == ["conv2d"]


def test_the_demo_draws_maps_and_scores_and_can_be_repeated(folder: Path) -> None:
    for _ in range(2):
        done = gigafcn("demo", "--size", "512", cwd=folder)
        assert (done.code, done.err) == (0, "")
    assert "mean IU" in done.out
    assert "gigafcn-demo/slide.zarr, picture gigafcn-demo/slide.png" in done.out
    names = {path.name for path in (folder / "gigafcn-demo").iterdir()}
    assert names == {
        "slide.tiff", "slide_truth.tiff", "slide.zarr", "slide.zarr.run", "slide.png",
    }  # fmt: skip
    map_document = json.loads((folder / "gigafcn-demo/slide.zarr/zarr.json").read_text())
    assert map_document["attributes"]["gigafcn"]["model"]["name"] == "demonstration"
