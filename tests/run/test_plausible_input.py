"""Input that cannot be right is refused or warned of, and what people really map is neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gigafcn.errors import SlideError, UsageError
from gigafcn.run.observed import Doubt, doubts
from gigafcn.run.options import Options
from gigafcn.run.request import prepare
from tests.run import inputs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
IMAGENET_255 = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
CAFFE = {"scale": 1.0, "mean": (103.939, 116.779, 123.68), "channels": (2, 1, 0)}
CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
HALVES = {"mean": (0.5,), "std": (0.5,)}
PATHOLOGY = {"mean": (0.707, 0.579, 0.704), "std": (0.212, 0.230, 0.178)}


class Inside(nn.Module):
    """Takes 0 to 255 and normalises by itself."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        for name, numbers in IMAGENET_255.items():
            self.register_buffer(name, torch.tensor(numbers)[None, :, None, None])

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.conv((image - self.mean) / self.std)
        return result


class DividesBy255(nn.Module):
    """Takes 0 to 255 and scales it to 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.conv(image / 255.0)
        return result


def plain(channels: int = 3) -> nn.Module:
    return nn.Conv2d(channels, 2, 1)


def doubts_about(image: NDArray[Any], model: nn.Module | None = None, **said: Any) -> list[str]:
    """What is doubtful, in a few words each."""
    return [doubt.short for doubt in all_of(image, model, **said)]


def all_of(
    image: NDArray[Any] | Path, model: nn.Module | str | Path | None = None, **said: Any
) -> tuple[Doubt, ...]:
    channels = 3 if not isinstance(image, np.ndarray) or image.ndim == 2 else image.shape[2]
    request = prepare(image, model or plain(channels), Options(**said))
    try:
        return doubts(request)
    finally:
        request.slide.close()


def as_float(image: NDArray[Any]) -> NDArray[np.float32]:
    return image.astype(np.float32)


RIGHT: dict[str, tuple[Callable[[], NDArray[Any]], dict[str, Any]]] = {
    f"{name}, {how}": (image, said)
    for name, image in (
        ("H&E", inputs.haematoxylin_eosin),
        ("IHC", inputs.immunostained),
        ("H&E without nuclei", lambda: inputs.stained(inputs.EOSIN)),
        ("haematoxylin alone", lambda: inputs.stained(inputs.HAEMATOXYLIN)),
        ("aerial photograph", inputs.aerial),
    )
    for how, said in (
        ("0 to 1", {}),
        ("ImageNet", IMAGENET),
        ("ImageNet of 0 to 255", {**IMAGENET_255, "scale": 1.0}),
        ("Caffe's means, std 1", CAFFE),
        ("CLIP", CLIP),
        ("-1 to 1", HALVES),
        ("0 to 255", {"scale": 1.0}),
        ("statistics of pathology", PATHOLOGY),
    )
} | {
    "12 bits in 16, scaled by 4095": (lambda: inputs.fluorescent(4095), {"scale": 1 / 4095}),
    "16 bits": (lambda: inputs.fluorescent(65535), {}),
    "16 bits, counts": (
        lambda: inputs.fluorescent(3000), {"scale": 1.0, "mean": (300.0,), "std": (400.0,)},
    ),
    "one fluorescent channel of 8 bits": (lambda: inputs.fluorescent(255, 1, np.uint8), {}),
    "eight fluorescent channels": (lambda: inputs.fluorescent(40000, 8), {}),
    "reflectance": (inputs.reflectance, {"scale": 1e-4}),
    "reflectance, standardised": (
        inputs.reflectance, {"scale": 1.0, "mean": (1800.0,), "std": (700.0,)},
    ),
    "floats of 0 to 1": (lambda: as_float(inputs.aerial()) / 255, IMAGENET),
    "floats of 0 to 255, said": (lambda: as_float(inputs.aerial()), {"scale": 1 / 255}),
    "Hounsfield units": (
        lambda: (inputs.fluorescent(3000, 1).astype(np.int16) - 1000),
        {"scale": 1.0, "mean": (-500.0,), "std": (500.0,)},
    ),
}  # fmt: skip
"""What people map, by name: the image and what is said of it."""


@pytest.mark.parametrize("name", RIGHT)
def test_what_people_map_is_not_doubted(name: str) -> None:
    image, said = RIGHT[name]
    assert doubts_about(image(), **said) == []


def test_fifty_such_pairs_are_tried() -> None:
    assert len(RIGHT) >= 50


@pytest.mark.slide
def test_the_real_slide_is_not_doubted(real_slide: Path) -> None:
    for said in ({}, IMAGENET, CAFFE, PATHOLOGY, {**IMAGENET_255, "scale": 1.0}):
        assert all_of(real_slide, plain(), **said) == ()


def test_a_model_that_normalises_by_itself_may_be_fed_what_it_takes() -> None:
    assert doubts_about(inputs.haematoxylin_eosin(), Inside(), scale=1.0) == []


TISSUE = {"H&E": inputs.haematoxylin_eosin, "IHC": inputs.immunostained, "land": inputs.aerial}


@pytest.mark.parametrize("image", TISSUE.values(), ids=TISSUE)
@pytest.mark.parametrize("said", [IMAGENET_255, {"mean": (127.5,), "std": (127.5,)}])
def test_mean_and_std_of_0_to_255_with_pixels_scaled_to_0_to_1_are_refused(
    image: Callable[[], NDArray[Any]], said: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=r"mean 12\d.* lie between 0 and 1; .*--scale 1"):
        doubts_about(image(), **said)


def test_a_std_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="std 255 would leave nothing"):
        doubts_about(inputs.aerial(), std=(255.0,))


@pytest.mark.parametrize("image", TISSUE.values(), ids=TISSUE)
def test_pixels_that_were_not_scaled_down_are_doubted(image: Callable[[], NDArray[Any]]) -> None:
    for pixels, said in (
        (image(), {"scale": 1.0, **IMAGENET}),
        (as_float(image()), IMAGENET),
        (as_float(image()), {}),
        (image().astype(np.int32), {}),
    ):
        (doubt,) = doubts_about(pixels, **said)
        assert "deviations from its mean" in doubt


@pytest.mark.parametrize("image", TISSUE.values(), ids=TISSUE)
def test_pixels_that_were_scaled_down_twice_are_doubted(
    image: Callable[[], NDArray[Any]],
) -> None:
    assert doubts_about(image(), scale=1 / 255**2) == ["nearly nothing left of the input"]
    floats = as_float(image()) / 255
    assert doubts_about(floats, scale=1 / 255) == ["nearly nothing left of the input"]
    assert doubts_about(image(), DividesBy255()) == ["nearly nothing left of the input"]


def test_a_model_that_takes_0_to_255_and_is_fed_0_to_1_is_doubted() -> None:
    assert doubts_about(inputs.aerial(), Inside()) == ["nearly nothing left of the input"]


def test_12_bits_in_16_that_nobody_scaled_are_doubted() -> None:
    assert doubts_about(inputs.fluorescent(900)) == ["nearly nothing left of the input"]


def test_swapped_colours_of_stained_tissue_are_doubted() -> None:
    swapped = inputs.haematoxylin_eosin()[..., ::-1].copy()
    assert doubts_about(swapped) == ["red and blue may be swapped"]
    assert doubts_about(swapped, channels=(2, 1, 0)) == []
    assert doubts_about(inputs.haematoxylin_eosin(), channels=(2, 1, 0)) == [
        "red and blue may be swapped"
    ]


@pytest.mark.slide
def test_swapped_colours_of_the_real_slide_are_doubted(real_slide: Path) -> None:
    (doubt,) = all_of(real_slide, plain(), channels=(2, 1, 0))
    assert doubt.short == "red and blue may be swapped"


@pytest.mark.parametrize("image", TISSUE.values(), ids=TISSUE)
def test_a_mean_in_the_other_order_than_the_channels_is_doubted(
    image: Callable[[], NDArray[Any]],
) -> None:
    for said in (CAFFE | {"channels": None}, IMAGENET | {"channels": (2, 1, 0)}):
        assert doubts_about(image(), **said) == ["red and blue may be swapped"]


def test_an_image_of_one_value_is_refused() -> None:
    with pytest.raises(SlideError, match=r"every pixel of slide is the same \(7, 7, 7\)"):
        doubts_about(np.full((90, 70, 3), 7, np.uint8))


def test_one_px_that_differs_is_an_image() -> None:
    image = np.zeros((700, 800), np.uint8)
    image[699, 3] = 1
    assert doubts_about(image, nn.Conv2d(1, 2, 1)) == []


def test_doubts_are_failures_if_asked_for() -> None:
    with pytest.raises(SlideError, match=r"scaled down twice.*without --strict it is mapped"):
        doubts_about(inputs.aerial(), scale=1 / 255**2, strict=True)


@pytest.fixture
def of_half_a_micrometre(tmp_path: Path) -> Path:
    """A model that was trained at 0.5 µm/px."""
    (tmp_path / "net.py").write_text("from torch import nn\ndef net(): return nn.Conv2d(3, 2, 1)\n")
    path = tmp_path / "model.toml"
    path.write_text('[model]\nfactory = "net.py:net"\n[input]\nmpp = 0.5\n')
    return path


@pytest.mark.parametrize(
    ("said", "doubted"),
    [
        ({"slide_mpp": 0.25}, False),
        ({"slide_mpp": 0.5, "mpp": 1.0}, False),
        ({"slide_mpp": 0.5, "mpp": 2.0}, True),
        ({"slide_mpp": 0.25, "mpp": 20.0}, True),
        ({"slide_mpp": 2.0, "level": 0}, True),
        ({"slide_mpp": 0.12, "level": 0}, True),
    ],
)
def test_px_four_times_as_large_or_small_as_the_models_are_doubted(
    of_half_a_micrometre: Path, said: dict[str, Any], doubted: bool
) -> None:
    found = all_of(inputs.haematoxylin_eosin(), of_half_a_micrometre, trust=True, **said)
    assert ["resolution" in doubt.short for doubt in found] == [True] * doubted
