"""The table of peers: differences, settings, processes, what is kept and the page."""

from __future__ import annotations

import json
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch
import zarr

from benchmarks.bare import folded
from benchmarks.compare.differences import Map, compared, difference_map
from benchmarks.compare.environments import OWN, python_of
from benchmarks.compare.networks import load_network, save_network
from benchmarks.compare.page import page
from benchmarks.compare.peers.exact_windows import even, largest_tile, middle, peak_of
from benchmarks.compare.peers.task import Task
from benchmarks.compare.process import Peer, PeerFailure
from benchmarks.compare.results import Results
from benchmarks.compare.rows import BARE, EXACT, MONAI, classifier_rows, segmentation_rows
from benchmarks.compare.targets import targets_section
from benchmarks.nets import ResNet18Classifier, ResNet18UNet, randomized
from gigafcn.geometry import Box

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, SIDE = 4, 96


@pytest.fixture
def side() -> int:
    return SIDE


def written(folder: Path, values: Any) -> Path:
    path = folder / "map.zarr"
    array = zarr.create_array(store=str(path), shape=values.shape, dtype="float32")
    array[...] = values
    return path


def scores(size: int) -> Any:
    drawn = np.random.default_rng(0).random((3, size, size), np.float32)
    return drawn / drawn.sum(0)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "net.pt"
    net = randomized(ResNet18UNet(3, WIDTH))
    save_network(path, "ResNet18UNet", WIDTH, net.state_dict(), mean=(0.5, 0.6, 0.7))
    return path


@pytest.fixture
def task(tmp_path: Path, network: Path, side: int) -> Task:
    image = tmp_path / "image.tiff"
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    tifffile.imwrite(image, pixels, tile=(32, 32), compression="deflate", photometric="rgb")
    return Task(str(image), str(network), str(tmp_path / "out.zarr"), "float32", {})


def test_a_map_that_is_the_whole_run_differs_nowhere(tmp_path: Path) -> None:
    whole = scores(64)
    truth = whole.argmax(0).astype(np.uint8)
    found = Map.opened(written(tmp_path, whole), "cyx", None, 64)
    line = compared(found, whole, truth)
    assert (line["largest"], line["mean"], line["labels"], line["mean_iu"]) == (0, 0, 0, 1)


def test_one_wrong_pixel_is_counted_and_shown(tmp_path: Path) -> None:
    whole = scores(60)
    wrong = np.moveaxis(whole.copy(), 0, -1)
    wrong[30, 40] = np.roll(wrong[30, 40], 1)
    found = Map.opened(written(tmp_path, wrong), "yxc", None, 60)
    line = compared(found, whole, whole.argmax(0).astype(np.uint8))
    assert line["labels"] == 1 / 3600
    assert np.argwhere(difference_map(found, whole)).tolist() == [[10, 13]]


def test_a_map_of_a_part_is_compared_with_that_part(tmp_path: Path) -> None:
    whole = scores(64)
    path = written(tmp_path, whole[:, 16:48, 32:64])
    found = Map.opened(path, "cyx", (16, 32, 48, 64), 64)
    line = compared(found, whole, whole.argmax(0).astype(np.uint8))
    assert (line["largest"], line["pixels"]) == (0, 32 * 32)
    assert not found.covers_all


def test_nan_in_a_map_is_no_figure(tmp_path: Path) -> None:
    whole = scores(8)
    path = written(tmp_path, np.full_like(whole, np.nan))
    with pytest.raises(ValueError, match="NaN"):
        compared(Map.opened(path, "cyx", None, 8), whole, np.zeros((8, 8), np.uint8))


def test_every_combination_of_a_search_is_tried() -> None:
    bare = segmentation_rows(1)[0]
    assert len(list(bare.candidates())) == 2 * 2 * 4
    assert all(c["batch"] == 1 for c in bare.candidates())


def test_settings_are_taken_over_from_rows_that_come_before() -> None:
    for rows in (segmentation_rows(1), classifier_rows(1)):
        names = [row.name for row in rows]
        assert len(set(names)) == len(names)
        assert all(row.like in names[:i] for i, row in enumerate(rows) if row.like is not None)


def test_results_go_on_where_they_were(tmp_path: Path) -> None:
    path = tmp_path / "compare.json"
    Results(path, {"cores": 2}, fresh=False).add("runs", {"row": EXACT, "size": 512})
    again = Results(path, {"cores": 2}, fresh=False)
    assert again.found("runs", row=EXACT) == [{"row": EXACT, "size": 512}]
    assert again.found("runs", row=MONAI) == []


def test_figures_of_two_machines_do_not_stand_in_one_table(tmp_path: Path) -> None:
    path = tmp_path / "compare.json"
    Results(path, {"cores": 2}, fresh=False).save()
    with pytest.raises(SystemExit, match="--fresh"):
        Results(path, {"cores": 4}, fresh=False)
    assert Results(path, {"cores": 4}, fresh=True).data["conditions"] == {"cores": 4}


def test_a_network_comes_back_as_it_was_saved(network: Path) -> None:
    known = load_network(str(network))
    assert known.mean == (0.5, 0.6, 0.7)
    pixels = known.pixels(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8))
    assert torch.allclose(pixels.flatten(), torch.tensor([0.5, 0.4, 0.3]))


def test_folding_leaves_what_the_classifier_says() -> None:
    torch.manual_seed(0)
    net = randomized(ResNet18Classifier(3, WIDTH))
    pixels = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        # Folded weights round anew; logits are of magnitude 1.
        assert torch.allclose(folded(net)(pixels), net(pixels), atol=1e-4)


def test_a_peer_answers_and_says_what_failed(tmp_path: Path, task: Task) -> None:
    peer = Peer(python_of(OWN, tmp_path), "whole_run", threads=1, log=tmp_path / "log")
    try:
        assert peer.versions["torch"] == metadata.version("torch")
        answer = peer.ask(task, 60)
        assert zarr.open_array(task.output, mode="r").shape == (3, SIDE, SIDE)
        assert answer["peak_bytes"] > 1 << 20
        with pytest.raises(PeerFailure, match="FileNotFound"):
            peer.ask(Task(str(tmp_path / "no.tiff"), task.network, task.output, "uint8", {}), 60)
        with pytest.raises(PeerFailure, match="more than 0 s"):
            peer.ask(task, 0)
    finally:
        peer.stop()


@pytest.mark.parametrize("side", [1024])
def test_windows_with_their_halo_give_the_whole_run(task: Task) -> None:
    from benchmarks.compare.peers import exact_windows, whole_run

    whole_run.run(task)
    right = np.asarray(zarr.open_array(task.output, mode="r")[...])
    windows = Task(task.image, task.network, task.output, task.dtype, {"tile": 512})
    assert exact_windows.run(windows)["window"]["halo"] < 512  # so no window is the whole image
    # fp32 on windows of another shape rounds anew; probabilities are at most 1.
    found = np.asarray(zarr.open_array(task.output, mode="r")[...])
    assert np.abs(found - right).max() < 1e-4


def test_the_page_has_a_line_for_each_row_with_figures_and_says_what_did_not_run() -> None:
    run = {
        "network": "random", "size": 512, "row": EXACT, "mpx_s": 2.0, "over_bare": 1.0,
        "bare_mpx_s": [2.0, 2.0], "peak_bytes": 1 << 30, "seconds": 1.0, "compute_seconds": 0.5,
    }  # fmt: skip
    machine = {"cores": "2", "threads": "2", "processor": "CPU", "python": "3.11", "torch": "2"}
    results: dict[str, Any] = {
        "conditions": {"machine": machine, "memory_bytes": 4 << 30},
        "versions": {"monai": {"monai": "1.6.1"}},
        "networks": {"random": "A net"},
        "settings": {"random": {BARE: {"settings": {"crop": 512}, "tried": []}}},
        "references": {},
        "runs": [run, run | {"row": MONAI, "mpx_s": 1.0, "over_bare": 0.5}],
        "quality": [],
        "failed": [{"network": "random", "row": "dask", "why": "took more than 600 s"}],
    }
    where = {
        "machine": machine,
        "rows": [
            {
                "model": "A net", "size_px": 512, "seconds": 4.0, "before": 0.5, "tiles": 3.0,
                "planned": 2.5, "after": 0.5, "threads": {"compute": 5.5},
            }
        ],
    }  # fmt: skip
    text = page(json.loads(json.dumps(results)), where=where)
    assert "| A net, 512² | 4.0 | 0.5 | 3.0 | 2.5 | 0.5 | 5.5 | 0.0 | 0.0 | 0.0 | 0.0 |" in text
    assert "| **gigafcn, exact, fp32** | 2.00 | 1.00 | 1.00 GiB |" in text
    assert "MONAI, constant 2.00" in text
    assert "at 2.00 of the bare module" in text
    assert "TIAToolbox SemanticSegmentor |" not in text
    assert "- random, dask: took more than 600 s" in text


def line(network: str, row: str, over_bare: float, **more: Any) -> dict[str, Any]:
    return {"network": network, "size": 8192, "row": row, "over_bare": over_bare, **more}


def test_a_target_that_was_missed_is_called_missed_and_says_why() -> None:
    settings = {MONAI: {"settings": {"window": 512, "overlap": 0.25}}}
    window = {"side": 1024, "tile": 512, "times": 3.5}
    results: dict[str, Any] = {
        "settings": {"random": settings},
        "runs": [
            line("random", EXACT, 0.96), line("random", MONAI, 0.60), line("random", "dask", 0.6),
            line("random", "torch-em", 0.5), line("random", "torch-em pipelined", 0.6),
            line("random", "windows", 0.3, window=window), line("random", "blend", 0.7),
        ],
    }  # fmt: skip
    threads = {
        "compute": 3.0, "compress and store": 1.0, "compress": 0.9, "wait for pixels": 9.0,
    }  # fmt: skip
    name = "MONAI UNet(16, 32, 64, 128)"
    row = {
        "model": name, "seconds": 4.0, "before": 0.5, "tiles": 3.0, "planned": 3.6, "after": 0.5,
        "threads": threads,
    }  # fmt: skip
    swept = {"model": name, "infer_over_bare": 0.5, "plan_over_measured": 0.6}
    text = targets_section(results, sweep={"speed": [swept]}, where={"rows": [row]}, large=None)
    assert "| exact ÷ bare module, all included | at least 0.95 | 0.96 | reached |" in text
    assert "| exact ÷ torch-em | at least 1.4 | 1.60 | reached |" in text  # its faster row
    assert "| exact ÷ MONAI | at least 2 | 1.60 | **missed**: its windows hold 1.72 times" in text
    assert "| at least 4 | 3.20 | **missed**: its windows hold 3.50 times" in text
    assert "| blend ÷ MONAI | at least 1.1 | 1.17 | reached |" in text
    assert "| 0.50 | **missed**: of what its threads do, computing is 75% |" in text
    assert "| within 30% | 0.60 to 1.20 of it | **missed** |" in text


def test_tiles_of_recomputed_windows_are_about_as_large_as_each_other() -> None:
    assert [even(4096, tile, 32) for tile in (4096, 1920, 1280, 1376)] == [4096, 1376, 1024, 1376]
    image = Box(0, 0, 8192, 8192)
    assert middle(image, 4096, 1920, 32).shape == (3840, 3840)
    assert middle(image, 4096, 4500, 32).shape == (4500, 4500)
    assert middle(image, None, 1920, 32) == image


@pytest.mark.parametrize("bend", [0.0, -2e-5], ids=["line", "less for larger windows"])
def test_recomputed_windows_keep_to_their_memory_and_use_it(bend: float) -> None:
    def peak(side: int) -> int:
        return round(5e8 + 300 * side**2 * (1 + bend * side))

    memory = 2_500_000_000
    side = largest_tile(peak, memory, halo=288, period=32) + 2 * 288
    assert peak(side) <= memory
    assert peak(side + 3 * 32) > memory


def test_the_memory_of_a_window_is_that_of_a_process_of_its_own(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # 3 channels in, 4 to 16 in between, 4 bytes each: a window of 1024 px holds some 100 MB.
    assert peak_of(task.network, 1024, "uint8") > 30_000_000 + peak_of(task.network, 64, "uint8")
