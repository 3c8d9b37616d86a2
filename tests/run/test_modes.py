"""Blend is MONAI's sliding window, patch is the model window by window; tiles change neither."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gigafcn
from gigafcn.errors import (
    GigafcnError,
    ModelError,
    NonLocalError,
    QuestionError,
    RunError,
    SlideError,
    UsageError,
)
from gigafcn.plan.run_plan import RunPlan
from tests.run.small_nets import Skip, double, quarter, random_numbers, whole_numbers
from tests.run.whole import labels_of, mirrored, run_whole, scores_of, small_image
from tests.run.windowed import LOGITS, Classifier, monai_map, patch_map, uneven

if TYPE_CHECKING:
    from pathlib import Path

    from tests.run.whole import Array

SHAPE = (201, 277)


def mapped(image: Array, net: nn.Module, path: Path, **options: Any) -> Array:
    """Scores of a map."""
    return scores_of(gigafcn.infer(image, net, path, **LOGITS | options).path)


@pytest.mark.parametrize("weights", ["constant", "gaussian"])
@pytest.mark.parametrize(
    ("shape", "window", "overlap", "batch"),
    [
        (SHAPE, (64, 96), 0.25, 1),
        (SHAPE, (48, 48), 0.6, 4),
        ((40, 277), (64, 64), 0.5, 2),
        ((41, 33), (64, 64), 0.0, 1),
    ],
)
def test_blend_equals_monais_sliding_window(
    shape: tuple[int, int],
    window: tuple[int, int],
    overlap: float,
    batch: int,
    weights: str,
    tmp_path: Path,
) -> None:
    # In whole numbers the model rounds nothing, and what is blended is added in MONAI's order.
    net, image = whole_numbers(Skip()), small_image(*shape)
    found = mapped(
        image, net, tmp_path / "m.zarr", mode="blend", window=window, overlap=overlap,
        blend_weights=weights, batch=batch, tile=256,
    )  # fmt: skip
    expected = monai_map(
        net, image, roi_size=window, sw_batch_size=batch, overlap=overlap, mode=weights
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("make", [quarter, double])
@pytest.mark.parametrize("shape", [SHAPE, (37, 150)])
def test_blend_of_another_scale_equals_monais(
    make: Any, shape: tuple[int, int], tmp_path: Path
) -> None:
    net, image = whole_numbers(make()), small_image(*shape)
    found = mapped(image, net, tmp_path / "m.zarr", mode="blend", window=64)
    expected = monai_map(net, image, roi_size=(64, 64), sw_batch_size=1, overlap=0.25)
    np.testing.assert_array_equal(found, expected)


def test_what_is_blended_is_the_models_output_and_activation_comes_after(tmp_path: Path) -> None:
    net, image = random_numbers(uneven()), small_image(*SHAPE)
    found = mapped(image, net, tmp_path / "m.zarr", mode="blend", window=64, activation="softmax")
    logits = monai_map(net, image, roi_size=(64, 64), sw_batch_size=1, overlap=0.25)
    # The module sees channels-last pixels, MONAI's not: convolutions add in another order.
    np.testing.assert_allclose(found, torch.from_numpy(logits).softmax(0).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("net", "shape", "tiles", "options"),
    [
        (uneven(), (300, 520), 6, {"mode": "blend", "window": 80}),
        (uneven(), (520, 300), 6, {"mode": "blend", "window": 90, "blend_weights": "gaussian"}),
        (Classifier(), (24, 290), 2, {"mode": "patch", "window": 16, "step": 1}),
    ],
)
def test_tiles_do_not_change_a_single_bit(
    net: nn.Module,
    shape: tuple[int, int],
    tiles: int,
    options: dict[str, Any],
    tmp_path: Path,
) -> None:
    net, image = random_numbers(net), small_image(*shape)
    # Batches of 3 are cut by tiles.
    whole = mapped(image, net, tmp_path / "a.zarr", batch=3, **options)
    tiled = gigafcn.infer(image, net, tmp_path / "b.zarr", batch=3, tile=256, **LOGITS | options)
    assert tiled.certificate["tiles"] == tiles
    np.testing.assert_array_equal(scores_of(tiled.path), whole)


@pytest.mark.parametrize(
    ("mode", "net", "options"),
    [
        ("blend", uneven(), {"window": 64, "overlap": 0.5}),
        ("patch", Classifier(), {"window": 16, "step": 5}),
    ],
)
def test_a_region_is_the_same_part_of_the_full_map(
    mode: str, net: nn.Module, options: dict[str, Any], tmp_path: Path
) -> None:
    net, image = random_numbers(net), small_image(*SHAPE)
    whole = mapped(image, net, tmp_path / "a.zarr", mode=mode, batch=4, **options)
    part = mapped(
        image, net, tmp_path / "b.zarr", mode=mode, batch=4, region=(60, 90, 160, 240), **options
    )
    if mode == "blend":
        np.testing.assert_array_equal(part, whole[:, 60:160, 90:240])
        return
    # Cell j covers px 5.5 + 5 j up to 10.5 + 5 j.
    np.testing.assert_array_equal(part, whole[:, 10:31, 16:47])


@pytest.mark.dask
def test_worker_processes_share_the_windows_and_give_the_same_map(tmp_path: Path) -> None:
    net, image = whole_numbers(Classifier()), small_image(401, 300)
    result = gigafcn.infer(
        image, net, tmp_path / "m.zarr", mode="patch", window=16, step=8, workers=2, **LOGITS
    )
    # 49 x 36 px would be one tile; here a px costs a window, and two workers have to be fed.
    assert result.certificate["tiles"] == 4
    np.testing.assert_array_equal(scores_of(result.path), patch_map(net, image, 16, 8))


@pytest.mark.parametrize(("step", "batch"), [(16, None), (5, 1), (7, 64), (40, 2)])
def test_patch_holds_the_scores_of_every_window(
    step: int, batch: int | None, tmp_path: Path
) -> None:
    net, image = whole_numbers(Classifier()), small_image(*SHAPE)
    path = tmp_path / "m.zarr"
    found = mapped(image, net, path, mode="patch", window=16, step=step, batch=batch)
    np.testing.assert_array_equal(found, patch_map(net, image, 16, step))
    np.testing.assert_array_equal(labels_of(path), found.argmax(0))


def test_the_map_of_patch_says_where_its_cells_lie(tmp_path: Path) -> None:
    net, image = whole_numbers(Classifier()), small_image(*SHAPE)
    path = tmp_path / "m.zarr"
    mapped(image, net, path, mode="patch", window=16, step=10, slide_mpp=0.5)
    told = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    scale, translation = told["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [1, 5, 5]
    # The centre of the first window: px 7.5.
    assert translation["translation"] == [0, 0.5 * 7.5, 0.5 * 7.5]


def test_patch_covers_the_image_when_asked(tmp_path: Path) -> None:
    net, image = whole_numbers(Classifier()), small_image(64, 48)
    found = mapped(image, net, tmp_path / "m.zarr", mode="patch", window=16, step=8, border="cover")
    assert found.shape == (3, 8, 6)
    np.testing.assert_array_equal(found, patch_map(net, mirrored(image, 4), 16, 8))


def test_a_model_that_ends_in_softmax_gets_no_other(tmp_path: Path) -> None:
    net, image = random_numbers(nn.Sequential(uneven(), nn.Softmax(1))), small_image(90, 80)
    path = tmp_path / "m.zarr"
    gigafcn.infer(image, net, path, mode="blend", window=64, scale=1.0, dtype="float32")
    expected = monai_map(net, image, roi_size=(64, 64), sw_batch_size=1, overlap=0.25)
    # Rounding of one convolution in another layout.
    np.testing.assert_allclose(scores_of(path), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit, which people still use
def test_torchscript_runs_in_blend(tmp_path: Path) -> None:
    net, image = whole_numbers(Skip()), small_image(90, 80)
    script = torch.jit.trace(net, torch.zeros(1, 3, 64, 64), check_trace=False)  # type: ignore[no-untyped-call]
    found = mapped(image, script, tmp_path / "m.zarr", mode="blend", window=64)
    expected = monai_map(net, image, roi_size=(64, 64), sw_batch_size=1, overlap=0.25)
    np.testing.assert_array_equal(found, expected)


class TwoHeads(nn.Module):
    """Returns maps of two and of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.aux, self.out = Skip(classes=2), Skip(classes=3)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"out": self.out(image), "aux": self.aux(image)}


class Unnamed(TwoHeads):
    """The same without names."""

    def forward(self, image: Tensor) -> Any:
        return tuple(super().forward(image).values())


def test_of_main_and_auxiliary_head_the_main_one_is_mapped(tmp_path: Path) -> None:
    net, image = whole_numbers(TwoHeads()), small_image(90, 80)
    out = net.out
    assert isinstance(out, nn.Module)
    found = mapped(image, net, tmp_path / "exact.zarr")
    np.testing.assert_array_equal(found, run_whole(out, image))
    found = mapped(image, net, tmp_path / "blend.zarr", mode="blend", window=40)
    expected = monai_map(out, image, roi_size=(40, 40), sw_batch_size=1, overlap=0.25)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["aux", 1, "1"])
def test_one_of_several_outputs_is_mapped(name: str | int, tmp_path: Path) -> None:
    net, image = whole_numbers(TwoHeads()), small_image(90, 80)
    found = mapped(image, net, tmp_path / "m.zarr", mode="blend", window=40, output_name=name)
    aux = net.aux
    assert isinstance(aux, nn.Module)
    expected = monai_map(aux, image, roi_size=(40, 40), sw_batch_size=1, overlap=0.25)
    np.testing.assert_array_equal(found, expected)


def test_one_of_several_outputs_is_mapped_exactly(tmp_path: Path) -> None:
    net, image = whole_numbers(TwoHeads()), small_image(90, 80)
    found = mapped(image, net, tmp_path / "m.zarr", output_name="aux")
    aux = net.aux
    assert isinstance(aux, nn.Module)
    np.testing.assert_array_equal(found, run_whole(aux, image))


class Inplace(nn.Module):
    """Overwrites its input."""

    def forward(self, image: Tensor) -> Tensor:
        return image.mul_(2.0)


def test_a_model_may_overwrite_its_input(tmp_path: Path) -> None:
    image = small_image(90, 80).astype(np.float32)
    found = mapped(image, Inplace(), tmp_path / "m.zarr", mode="blend", window=40, batch=2)
    np.testing.assert_array_equal(found, 2 * image.transpose(2, 0, 1))


def test_the_callers_module_stays_as_it_was(tmp_path: Path) -> None:
    net = random_numbers(uneven())
    before = [(p.dtype, p.stride(), p.clone()) for p in net.parameters()]
    mapped(small_image(90, 80), net, tmp_path / "m.zarr", mode="blend", window=40, precision="bf16")
    for (dtype, stride, values), now in zip(before, net.parameters(), strict=True):
        assert (now.dtype, now.stride()) == (dtype, stride)
        assert torch.equal(now, values)


def test_what_was_done_stands_in_the_map(tmp_path: Path) -> None:
    net, path = random_numbers(uneven()), tmp_path / "m.zarr"
    result = gigafcn.infer(
        small_image(90, 80), net, path, mode="blend", window=40, blend_weights="gaussian", batch=2
    )
    told = json.loads((path / "zarr.json").read_text())["attributes"]["gigafcn"]
    assert (told["mode"], told["windows"]["size"]) == ("blend", [40, 40])
    assert told["certificate"] == result.certificate
    assert (result.certificate["mode"], result.certificate["class"]) == ("blend", "approximate")
    assert result.summary["mode"] == "blend 40/0.25 gaussian"
    plan = RunPlan.from_json(told["plan"])
    assert plan.to_json() == told["plan"]
    assert plan.windows is not None
    assert plan.windows.batch == 2


@pytest.mark.parametrize(
    ("mode", "window", "batch"), [("blend", 256, 4), ("patch", 256, 8), ("patch", 16, 64)]
)
def test_a_classifier_gets_more_windows_at_once(mode: str, window: int, batch: int) -> None:
    net = Classifier(window) if mode == "patch" else Skip()
    report = gigafcn.plan_run(
        small_image(600, 600), random_numbers(net), mode=mode, window=window, device="cpu"
    )
    assert report.windows is not None
    assert report.windows.batch == batch


def test_a_plan_tells_of_windows_and_waste() -> None:
    report = gigafcn.plan_run(
        small_image(400, 400), random_numbers(uneven()), mode="blend", window=100, overlap=0.5
    )
    assert report.windows is not None
    assert (report.windows.count, report.windows.interval) == (49, (50, 50))
    assert report.waste == 49 * 100 * 100 / (400 * 400)
    rows = dict(report.rows())
    assert rows["windows"] == "49 of 100 x 100 px, every 50 x 50 px, weights constant"
    assert rows["waste"] == "each px is computed 3.06 times"
    assert 0 < report.seconds < 60


class Moody(nn.Module):
    """Gives more classes for dark windows."""

    def forward(self, image: Tensor) -> Tensor:
        return image if image.mean() < 4 else image[:, :2]


def test_an_output_that_changes_between_windows_is_refused(tmp_path: Path) -> None:
    image = small_image(90, 80)
    image[:, 40:] = 200
    with pytest.raises(RunError, match=r"changes between windows: \(1, 2, 40, 40\) \(b, c"):
        mapped(image, Moody(), tmp_path / "m.zarr", mode="blend", window=40, batch=1)
    assert not (tmp_path / "m.zarr").exists()


REFUSED: list[tuple[nn.Module, dict[str, Any], type[GigafcnError], str]] = [
    (uneven(), {"mode": "blend"}, UsageError, "mode blend needs the size of its windows"),
    (uneven(), {"mode": "patch", "window": 32}, ModelError, "no classifier of patches; take --mod"),
    (Classifier(), {"mode": "blend", "window": 16}, ModelError, "nothing to blend; take --mode pa"),
    (Classifier(), {"mode": "patch", "window": 20}, ModelError, "fails on an input of 1 x 3 x 20"),
    (Classifier(64), {"mode": "patch", "window": 64}, SlideError, "is 50 px along y, smaller than"),
    (nn.Conv2d(3, 2, 9), {"mode": "blend", "window": 32}, ModelError, "gives 24 x 24 px for a win"),
    (uneven(), {"mode": "blend", "window": 32, "overlap": 1.0}, UsageError, "overlap must be at l"),
    (uneven(), {"mode": "blend", "window": 0}, UsageError, "window must be one or two positive"),
    (
        Classifier(),
        {"mode": "patch", "window": 16, "step": 0},
        UsageError,
        "step must be one or tw",
    ),
    (uneven(), {"mode": "blend", "window": 32, "step": 8}, UsageError, "step 8 is for mode patch"),
    (uneven(), {"window": 32}, UsageError, "window 32 is for mode blend and patch, not mode exact"),
    (uneven(), {"mode": "tiles"}, UsageError, "mode is 'tiles'; choose one of exact, blend, patch"),
    (uneven(), {}, NonLocalError, "--mode blend --window PX, or, if it classifies patches: gigafc"),
    (
        Unnamed(),
        {"mode": "blend", "window": 32},
        QuestionError,
        r"2 tensors, 0 \(64, 3, 32, 32\), 1 ",
    ),
]


@pytest.mark.parametrize(("net", "options", "kind", "what"), REFUSED)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    net: nn.Module,
    options: dict[str, Any],
    kind: type[GigafcnError],
    what: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(kind, match=what):
        gigafcn.infer(small_image(50, 60), random_numbers(net), tmp_path / "m.zarr", **options)
    assert list(tmp_path.iterdir()) == []
