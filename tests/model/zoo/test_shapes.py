"""The published shapes and parameter counts, at the published widths, without computing a pixel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gigafcn.model.zoo import ZOO, System, build

MILLIONS = {
    "vgg16": 138.36,  # Simonyan & Zisserman, table 2: 138 million
    "vgg16_dense": 138.36,
    "fcn8s": 134.49,  # Long, Shelhamer & Darrell, table 1: 134 million
    "unet": 31.03,  # counted from the paper's figure 1
    "deconvnet": 251.80,  # Noh, Hong & Han: roughly 252 million
    "deeplab_largefov": 20.51,  # Chen et al., table 3: 20.5 million
}


def published(name: str) -> nn.Module:
    """A system at its published width that takes no memory."""
    with torch.device("meta"):
        return ZOO[name].make(1).eval()


def image_of(system: System) -> Tensor:
    return torch.empty(1, system.channels, *system.size, device="meta")


def shapes_of(net: nn.Module, image: Tensor) -> dict[str, tuple[int, ...]]:
    """Shape (c, y, x) of what each layer returns, by its name."""
    found: dict[str, tuple[int, ...]] = {}
    for name, layer in net.named_modules():

        def remember(_: nn.Module, __: object, output: Tensor, name: str = name) -> None:
            found[name] = tuple(output.shape[1:])

        layer.register_forward_hook(remember)
    net(image)
    return found


@pytest.mark.parametrize("name", ZOO)
def test_an_image_of_the_published_size_gives_the_published_map(name: str) -> None:
    system = ZOO[name]
    assert published(name)(image_of(system)).shape[1:] == system.output


def millions(net: nn.Module) -> float:
    return sum(p.numel() for p in net.parameters()) / 1e6


@pytest.mark.parametrize("name", MILLIONS)
def test_parameters_are_as_many_as_published(name: str) -> None:
    assert millions(published(name)) == pytest.approx(MILLIONS[name], abs=0.005)


def test_segnets_encoder_has_the_14_7_million_of_the_paper() -> None:
    encoder = published("segnet").encoder
    assert isinstance(encoder, nn.ModuleList)
    assert millions(encoder) == pytest.approx(14.7, abs=0.05)


def test_the_u_net_has_the_papers_shapes_at_every_stage() -> None:
    found = shapes_of(published("unet"), image_of(ZOO["unet"]))
    sides = {0: 568, 1: 280, 2: 136, 3: 64, 4: 28}
    assert {i: found[f"down.{i}"][1:] for i in range(5)} == {i: (n, n) for i, n in sides.items()}
    assert found["down.0.0"] == (64, 570, 570)
    assert [found[f"down.{i}"][0] for i in range(5)] == [64, 128, 256, 512, 1024]
    assert [found[f"up.{i}"] for i in range(4)] == [
        (512, 56, 56),
        (256, 104, 104),
        (128, 200, 200),
        (64, 392, 392),
    ]
    assert [found[f"join.{i}"][1] for i in range(4)] == [52, 100, 196, 388]


def test_the_u_net_ends_in_two_kernels_of_1_x_1_x_64() -> None:
    net = published("unet")
    assert isinstance(net.scores, nn.Conv2d)
    assert net.scores.weight.shape == (2, 64, 1, 1)


def test_the_fcn_has_the_sizes_of_the_published_nets() -> None:
    found = shapes_of(published("fcn8s"), image_of(ZOO["fcn8s"]))
    assert found["stage1.conv1_1"] == (64, 698, 698)
    assert found["fc6"] == (4096, 16, 16)
    assert found["double_score"] == (21, 34, 34)
    assert found["double_pool4"] == (21, 70, 70)
    assert found["score_pool4"] == (21, 44, 44)
    assert found["score_pool3"] == (21, 88, 88)
    assert found["upsampling"] == (21, 568, 568)
    assert shapes_of(published("fcn32s"), image_of(ZOO["fcn32s"]))["upsampling"][1] == 544
    assert shapes_of(published("fcn16s"), image_of(ZOO["fcn16s"]))["upsampling"][1] == 560


def test_segnet_mirrors_its_encoder() -> None:
    found = shapes_of(published("segnet"), image_of(ZOO["segnet"]))
    assert [found[f"encoder.{i}"] for i in (0, 1, 2)] == [
        (64, 360, 480),
        (128, 180, 240),
        (256, 90, 120),
    ]
    # 360 px are halved to 45, which pooling floors to 22 and 11; unpooling gives 45 back.
    assert [found[f"decoder.{i}"] for i in range(5)] == [
        (512, 22, 30),
        (256, 45, 60),
        (128, 90, 120),
        (64, 180, 240),
        (64, 360, 480),
    ]


def test_deconvnet_goes_down_to_one_vector_and_up_again() -> None:
    found = shapes_of(published("deconvnet"), image_of(ZOO["deconvnet"]))
    assert found["fc6"] == found["fc7"] == (4096, 1, 1)
    assert found["deconv_fc6"] == (512, 7, 7)
    assert [found[f"decoder.{i}"] for i in range(5)] == [
        (512, 14, 14),
        (256, 28, 28),
        (128, 56, 56),
        (64, 112, 112),
        (64, 224, 224),
    ]


def test_the_standard_classifier_has_its_shapes() -> None:
    found = shapes_of(published("classifier"), image_of(ZOO["classifier"]))
    body = [found[f"body.{i}"] for i in (0, 2, 4)]
    assert body == [(8, 32, 32), (16, 16, 16), (32, 8, 8)]
    assert [found[name] for name in ("flatten", "hidden", "scores")] == [(2048,), (128,), (10,)]


@pytest.mark.parametrize("name", ["image_to_image", "image_to_image_strided"])
def test_the_image_to_image_nets_have_a_quarter_in_the_middle(name: str) -> None:
    found = shapes_of(published(name), image_of(ZOO[name]))
    assert (found["down"], found["up"]) == ((16, 16, 16), (3, 64, 64))


@pytest.mark.parametrize("size", [(7, 7), (64, 64), (33, 100), (501, 20)])
def test_valid_convolutions_take_4_then_2_px_away(size: tuple[int, int]) -> None:
    height, width = size
    found = shapes_of(published("valid"), torch.empty(1, 3, height, width, device="meta"))
    assert found["0"] == (64, height - 4, width - 4)
    assert found["2"] == (128, height - 6, width - 6)


def test_a_seed_fixes_the_weights_and_leaves_torchs_own_randomness_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = build("fcn8s/16").state_dict(), build("zoo:fcn8s/16").state_dict()
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
