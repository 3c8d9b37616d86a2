"""Folders of the WSInfer zoo become patch classifiers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gigafcn.errors import ModelError
from gigafcn.model.loading import load_model
from tests.model.test_torchscript import save

if TYPE_CHECKING:
    from pathlib import Path

MEAN, STD = [0.7, 0.6, 0.7], [0.15, 0.2, 0.15]
NORMALIZE = {"name": "Normalize", "arguments": {"mean": MEAN, "std": STD}}
CONFIG: dict[str, Any] = {
    "spec_version": "1.0",
    "architecture": "resnet34",
    "num_classes": 2,
    "class_names": ["notumor", "tumor"],
    "patch_size_pixels": 36,
    "spacing_um_px": 0.25,
    "transform": [
        {"name": "Resize", "arguments": {"size": 24}},
        {"name": "ToTensor"},
        NORMALIZE,
    ],
}


def classifier(classes: int = 2) -> nn.Module:
    """Scores of a patch."""
    torch.manual_seed(0)
    pooled = nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*pooled, nn.Linear(4, classes)).eval()


def write_wsinfer(folder: Path, config: dict[str, Any] = CONFIG) -> Path:
    """A model folder."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save(folder / "torchscript_model.pt", classifier(), torch.zeros(1, 3, 24, 24))
    return folder


def test_the_configuration_is_what_is_known_of_the_model(tmp_path: Path) -> None:
    found = load_model(write_wsinfer(tmp_path / "zoo"), trust=True)
    assert (found.name, found.format) == ("zoo", "WSInfer resnet34")
    assert (found.classes, found.activation) == (("notumor", "tumor"), "softmax")
    assert (found.mean, found.std, found.mpp) == (tuple(MEAN), tuple(STD), 0.25)
    assert (found.window, found.fixed, found.exportable) == ((36, 36), True, False)


def test_a_patch_is_resized_as_wsinfer_does(tmp_path: Path) -> None:
    found = load_model(write_wsinfer(tmp_path / "zoo"), trust=True)
    patch = np.random.default_rng(0).integers(0, 256, (36, 36, 3)).astype(np.uint8)

    def fed(pixels: Any) -> torch.Tensor:
        image = (torch.from_numpy(np.array(pixels)) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
        return image.permute(2, 0, 1).unsqueeze(0).float()

    resized = Image.fromarray(patch).resize((24, 24), Image.Resampling.BILINEAR)
    # Pillow rounds the resized patch to whole grey levels: half a level is 0.013 after std 0.15.
    difference = found.module(fed(patch)) - classifier()(fed(resized))
    assert difference.abs().max() < 0.013


def test_without_resizing_the_script_is_fed_the_patch(tmp_path: Path) -> None:
    steps = [{"name": "ToTensor"}, NORMALIZE]
    config = CONFIG | {"transform": steps, "patch_size_pixels": 24}
    found = load_model(write_wsinfer(tmp_path / "zoo", config), trust=True)
    patch = torch.rand(2, 3, 24, 24)
    assert torch.equal(found.module(patch), classifier()(patch))


def test_a_folder_is_not_run_before_it_is_trusted(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"torchscript_model\.pt is TorchScript.*--trust"):
        load_model(write_wsinfer(tmp_path / "zoo"))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"spec_version": "2.0"}, "spec_version: Input should be '1.0'"),
        ({"class_names": ["tumor"]}, "1 class_names for 2 classes"),
        ({"patch_size_pixels": 0}, "patch_size_pixels: Input should be greater than 0"),
        ({"transform": [NORMALIZE, {"name": "ToTensor"}]}, "in another order than"),
        ({"transform": [{"name": "CenterCrop"}]}, r"transform\.0\.name"),
        ({"transform": [{"name": "ToTensor"}, {"name": "Normalize"}]}, "Normalize with mean None"),
    ],
)
def test_a_configuration_that_is_not_understood_is_refused(
    change: dict[str, Any], what: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=rf"config\.json is no WSInfer configuration: .*{what}"):
        load_model(write_wsinfer(tmp_path / "zoo", CONFIG | change), trust=True)


def test_another_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is a directory without config\.json and"):
        load_model(tmp_path)
