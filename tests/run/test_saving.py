"""What is stored of a map: scores, labels or both, some classes, on the map's grid or a coarser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import gigafcn
from gigafcn.errors import UsageError
from gigafcn.output import count_objects, open_map, store_bytes
from gigafcn.output.metadata import level_transform
from tests.output.maps import files_of
from tests.run.small_nets import Skip, quarter, whole_numbers
from tests.run.whole import Array, labels_of, padded, run_whole, scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

PLAIN: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32", "verify": False}
SOFT: dict[str, Any] = {"scale": 1 / 16, "activation": "softmax", "verify": False}
SHAPE = (541, 601)


def expected_scores() -> Array:
    """Whole numbers that the net gives for the image of ``SHAPE``."""
    whole = run_whole(whole_numbers(Skip()), padded(small_image(*SHAPE), 2))
    return whole[:, : SHAPE[0], : SHAPE[1]]


def block_means(scores: Array, blocks: tuple[int, int]) -> Array:
    """Means over blocks (y, x) that begin at the first px; those at the far edges are smaller."""
    rows, columns = (
        np.arange(0, n, step) for n, step in zip(scores.shape[1:], blocks, strict=True)
    )
    sums = np.add.reduceat(np.add.reduceat(scores, rows, axis=1), columns, axis=2)
    ones = np.ones(scores.shape[1:])
    counts = np.add.reduceat(np.add.reduceat(ones, rows, axis=0), columns, axis=1)
    # The net's scores are whole numbers, so sums are exact and only the division rounds.
    means: Array = sums.astype(np.float32) / counts.astype(np.float32)
    return means


@pytest.mark.parametrize(
    ("mpp", "wanted", "blocks"),
    [(0.5, 1.5, (3, 3)), ((0.25, 0.5), 2.0, (8, 4)), (0.5, 18.4, (37, 37))],
)
def test_means_are_those_of_the_whole_run_however_it_is_cut(
    mpp: Any, wanted: float, blocks: tuple[int, int], tmp_path: Path
) -> None:
    image, expected = small_image(*SHAPE), block_means(expected_scores(), blocks)
    cuts: list[dict[str, Any]] = [{"tile": 256, "strip": 10}, {"tile": (9000, 700), "strip": 41}]
    for number, cut in enumerate(cuts):
        result = gigafcn.infer(
            image, whole_numbers(Skip()), tmp_path / f"{number}.zarr", slide_mpp=mpp,
            save_mpp=wanted, **cut, **PLAIN,
        )  # fmt: skip
        np.testing.assert_array_equal(scores_of(result.path), expected)
        np.testing.assert_array_equal(labels_of(result.path), expected.argmax(0))
        assert result.shape == expected.shape


def test_scale_and_place_of_means_are_exact(tmp_path: Path) -> None:
    options = {"slide_mpp": 0.499, "save_mpp": 12.0, **PLAIN}
    result = gigafcn.infer(small_image(301, 557), quarter().eval(), tmp_path / "m.zarr", **options)
    spec = open_map(result.path).spec
    # A map px is 4 px of the image; 6 of those come nearest to 12 um.
    scale, place = level_transform(spec, open_map(result.path).levels[0])
    assert scale == (11.976, 11.976)
    assert place == (5.7385, 5.7385)
    assert spec.shape == (-(-301 // 24), -(-557 // 24))


def test_a_region_of_means_is_that_part_of_the_full_map(tmp_path: Path) -> None:
    image, net = small_image(*SHAPE), whole_numbers(Skip())
    options = {"slide_mpp": 1.0, "save_mpp": 7.0, **PLAIN}
    full = gigafcn.infer(image, net, tmp_path / "full.zarr", **options)
    part = gigafcn.infer(image, net, tmp_path / "part.zarr", region=(50, 20, 200, 601), **options)
    # Blocks of 7 px that the region touches: rows 7 to 28, columns 2 to the last.
    np.testing.assert_array_equal(scores_of(part.path), scores_of(full.path)[:, 7:29, 2:])
    assert open_map(part.path).spec.offset == (49.0, 14.0)


@pytest.mark.parametrize("mode", ["blend", "patch"])
def test_windows_are_averaged_too(mode: str, tmp_path: Path) -> None:
    image = small_image(300, 330)
    net = whole_numbers(Skip()) if mode == "blend" else _patch_net()
    options = {"mode": mode, "window": 32, "slide_mpp": 1.0, **PLAIN}
    options |= {"overlap": 0.5} if mode == "blend" else {"step": 8}
    full = gigafcn.infer(image, net, tmp_path / "full.zarr", **options)
    wanted = 5.0 * (1 if mode == "blend" else 8)
    few = gigafcn.infer(image, net, tmp_path / "few.zarr", save_mpp=wanted, tile=64, **options)
    means = block_means(scores_of(full.path).astype(np.float64), (5, 5))
    # Sums of blended values round in another order than numpy's; float32 has 24 bits.
    np.testing.assert_allclose(scores_of(few.path), means, rtol=1e-5, atol=1e-4)


def _patch_net() -> Any:
    from torch import nn

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 3, 1))
    return whole_numbers(net)


def test_labels_come_from_scores_before_they_are_rounded(tmp_path: Path) -> None:
    image, net = small_image(90, 70), whole_numbers(Skip())
    # Scores hardly differ: their order is told by what 8 bit do not hold.
    with torch.no_grad():
        for tensor in net.get_submodule("head").parameters():
            tensor.mul_(2**-12)
    soft = run_whole(net, padded(image, 2), activation="softmax")
    options = SOFT | {"scale": 1.0, "precision": "fp64"}
    result = gigafcn.infer(image, net, tmp_path / "m.zarr", **options)
    np.testing.assert_array_equal(labels_of(result.path), soft.argmax(0))
    assert (scores_of(result.path).argmax(0) != soft.argmax(0)).any()


def test_labels_alone_are_an_image_that_others_read(tmp_path: Path) -> None:
    from ome_zarr_models.v05 import Image
    from yaozarrs import validate_zarr_store

    image, net = small_image(600, 700), whole_numbers(Skip())
    both = gigafcn.infer(image, net, tmp_path / "both.zarr", **SOFT)
    only = gigafcn.infer(image, net, tmp_path / "labels.zarr", save="labels", tile=256, **SOFT)
    np.testing.assert_array_equal(labels_of(only.path), labels_of(both.path))
    assert open_map(only.path).scores == ()
    assert only.shape == (1, 600, 700)
    assert not (only.path / "0").exists()
    validate_zarr_store(only.path)
    validate_zarr_store(only.path / "labels" / "classes")
    import zarr

    root = Image.from_zarr(zarr.open_group(only.path, mode="r"))
    assert [d.path for d in root.attributes.ome.multiscales[0].datasets] == [
        "labels/classes/0", "labels/classes/1",
    ]  # fmt: skip


def test_some_classes_are_stored_under_their_names_with_labels_of_all(tmp_path: Path) -> None:
    image = small_image(120, 90)
    options: dict[str, Any] = {"verify": False, "tile": 64}
    full = gigafcn.infer(image, "demonstration", tmp_path / "full.zarr", **options)
    few = gigafcn.infer(
        image, "demonstration", tmp_path / "few.zarr", classes=["nuclei", "background"], **options
    )
    np.testing.assert_array_equal(scores_of(few.path), scores_of(full.path)[[0, 2]])
    np.testing.assert_array_equal(labels_of(few.path), labels_of(full.path))
    stored = open_map(few.path)
    assert stored.spec.stored_classes == ("background", "nuclei")
    assert few.shape == (2, 120, 90)


def test_one_class_alone_has_no_labels_with_save_probabilities(tmp_path: Path) -> None:
    result = gigafcn.infer(
        small_image(120, 90), "demonstration", tmp_path / "m.zarr", classes=["nuclei"],
        save="probabilities", verify=False,
    )  # fmt: skip
    assert scores_of(result.path).shape == (1, 120, 90)
    assert open_map(result.path).labels == ()


def test_names_for_a_model_without_any_are_given_one_per_class(tmp_path: Path) -> None:
    result = gigafcn.infer(
        small_image(40, 40), whole_numbers(Skip()), tmp_path / "m.zarr",
        classes=["a", "b", "c"], **PLAIN,
    )  # fmt: skip
    assert open_map(result.path).spec.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["nuclei", "nuclei"], "must be present and differ"),
        (["nuclie"], "has no class 'nuclie': its classes are background, tissue, nuclei"),
        (["tissue", "background", "cells"], "has no class 'cells'"),  # would swap two of them
        (["a", "b"], "has no class 'a'"),
    ],
)
def test_names_that_are_neither_choice_nor_naming_are_refused(
    classes: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        gigafcn.infer(small_image(40, 40), "demonstration", tmp_path / "m.zarr", classes=classes)


def test_a_class_may_be_renamed_in_its_place(tmp_path: Path) -> None:
    result = gigafcn.infer(
        small_image(40, 40), "demonstration", tmp_path / "m.zarr", verify=False,
        classes=["background", "tissue", "cells"],
    )  # fmt: skip
    assert open_map(result.path).spec.classes == ("background", "tissue", "cells")


def test_labels_are_refused_where_classes_do_not_exclude_each_other(tmp_path: Path) -> None:
    options = {**PLAIN, "activation": "sigmoid", "save": "labels"}
    with pytest.raises(UsageError, match=r"no pixel has one label; take --save probabilities"):
        gigafcn.infer(small_image(40, 40), whole_numbers(Skip()), tmp_path / "m.zarr", **options)


def test_means_of_a_slide_without_pixel_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"save-mpp 2 µm needs the slide's pixel size"):
        gigafcn.infer(
            small_image(40, 40), whole_numbers(Skip()), tmp_path / "m.zarr", save_mpp=2.0, **PLAIN
        )


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"save": "labels"},
        {"save": "probabilities", "classes": ["nuclei"]},
        {"save_mpp": 4.0, "slide_mpp": 0.5},
    ],
)
def test_a_plan_tells_bytes_and_files_of_the_choice(choice: dict[str, Any], tmp_path: Path) -> None:
    image = small_image(1200, 1500, top=256)
    report = gigafcn.plan_run(image, "demonstration", **choice)
    path = gigafcn.infer(image, "demonstration", tmp_path / "m.zarr", verify=False, **choice).path
    spec = open_map(path).spec
    files = files_of(path)
    assert report.objects == count_objects(spec) == len(files)
    assert report.disk_bytes == store_bytes(spec)
    assert sum(file.stat().st_size for file in files) <= report.disk_bytes
