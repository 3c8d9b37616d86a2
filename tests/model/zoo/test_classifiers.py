"""A linear layer fixes the image size, a convolution does not, and the two are one thing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gigafcn.errors import ModelError
from gigafcn.model.zoo import ZOO, build, untrained
from gigafcn.model.zoo.classifier import StandardClassifier, linear_as_convolution
from gigafcn.model.zoo.vgg import VGG16, DenseVGG16

DIGITS = torch.tensor(
    [
        [3, 1, 4, 1, 5],
        [9, 2, 6, 5, 3],
        [5, 8, 9, 7, 9],
        [3, 2, 3, 8, 4],
        [6, 2, 6, 4, 3],
    ]
).float()
WEIGHTS = torch.tensor(
    [
        [0, 1, 1, 1, 0],
        [1, 1, 1, 1, 1],
        [1, 1, 8, 1, 1],
        [1, 1, 1, 1, 1],
        [0, 1, 1, 1, 0],
    ]
).float()
"""Without its corners (17) and with its middle (9) eight times, the 118 of the digits are 164."""


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_25_numbers_through_a_linear_layer_or_a_5_x_5_convolution_give_164() -> None:
    linear = nn.Linear(25, 1, bias=False)
    linear.weight.data = WEIGHTS.reshape(1, 25)
    convolution = linear_as_convolution(linear, 1, 5)
    assert torch.equal(convolution.weight[0, 0], WEIGHTS)
    assert linear(DIGITS.flatten()).item() == 164
    answer = convolution(DIGITS[None, None])
    assert (tuple(answer.shape), answer.item()) == ((1, 1, 1, 1), 164)


def test_the_same_convolution_answers_at_every_position_of_a_larger_image() -> None:
    linear = nn.Linear(25, 1, bias=False)
    linear.weight.data = WEIGHTS.reshape(1, 25)
    larger = DIGITS.repeat(2, 2)[None, None]
    answers = linear_as_convolution(linear, 1, 5)(larger)[0, 0]
    assert answers.shape == (6, 6)
    for y, x in ((0, 0), (0, 5), (2, 3), (5, 5)):
        assert answers[y, x] == linear(larger[0, 0, y : y + 5, x : x + 5].flatten())


@pytest.mark.parametrize("size", [(1, 1), (10, 20)])
def test_five_1_x_1_kernels_are_one_linear_layer_on_every_pixel(size: tuple[int, int]) -> None:
    linear = nn.Linear(3, 5)
    image = seeded(1, 3, *size)
    answer = linear_as_convolution(linear, 3)(image)
    assert answer.shape == (1, 5, *size)
    on_pixels = linear(image.movedim(1, -1)).movedim(-1, 1)
    # Rounding: sums of three products in another order.
    torch.testing.assert_close(answer, on_pixels, atol=1e-6, rtol=1e-5)


def test_a_multilayer_perceptron_is_a_convolutional_net_on_one_pixel() -> None:
    layers = [nn.Linear(12, 30), nn.Linear(30, 7), nn.Linear(7, 4)]
    perceptron = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    a, b, c = (linear_as_convolution(layer, layer.in_features) for layer in layers)
    convolutional = nn.Sequential(a, nn.ReLU(), b, nn.ReLU(), c)
    numbers = seeded(6, 12)
    answer = convolutional(numbers[:, :, None, None])
    assert answer.shape == (6, 4, 1, 1)
    torch.testing.assert_close(answer.flatten(1), perceptron(numbers), atol=1e-5, rtol=1e-5)


def test_a_linear_layer_and_its_convolution_have_the_same_parameters() -> None:
    classifier = StandardClassifier()
    convolution = linear_as_convolution(classifier.hidden, 32, 8)
    assert sum(p.numel() for p in classifier.hidden.parameters()) == 2048 * 128 + 128
    assert sum(p.numel() for p in convolution.parameters()) == 32 * 8 * 8 * 128 + 128


def test_a_head_of_1_x_1_convolutions_takes_hundreds_of_parameters_instead() -> None:
    body = sum(p.numel() for p in StandardClassifier().body.parameters())
    pointwise = sum(p.numel() for p in ZOO["pointwise_classifier"].make(1).parameters())
    standard = sum(p.numel() for p in StandardClassifier().parameters())
    assert standard - body == 2048 * 128 + 128 + 128 * 10 + 10 == 263_562
    assert pointwise - body == 32 * 10 + 10 + 10 + 1 == 341


def test_the_standard_classifier_refuses_128_px_naming_both_numbers() -> None:
    with pytest.raises(ModelError, match=r"takes 2048 numbers \(32 x 8 x 8\).*gives 8192"):
        StandardClassifier()(torch.zeros(1, 3, 128, 128))


def test_an_unconverted_vgg_refuses_256_px_naming_both_numbers() -> None:
    with torch.device("meta"):
        vgg, image = VGG16(), torch.empty(1, 3, 256, 256)
    with pytest.raises(ModelError, match=r"takes 25088 numbers \(512 x 7 x 7\).*gives 32768"):
        vgg(image)


def test_vggs_first_linear_layer_is_a_7_x_7_convolution() -> None:
    with torch.device("meta"):
        linear = nn.Linear(512 * 7 * 7, 4096)
    assert linear_as_convolution(linear, 512, 7).weight.shape == (4096, 512, 7, 7)


def test_a_dense_vgg_gives_the_classifiers_answer_at_224_px_and_2_x_2_answers_at_256() -> None:
    vgg = untrained(lambda: VGG16(divisor=16))
    assert isinstance(vgg, VGG16)
    dense = DenseVGG16.of(vgg, divisor=16)
    image = seeded(1, 3, 224, 224)
    with torch.inference_mode():
        expected, answer = vgg(image), dense(image)
        assert answer.shape == (1, 1000, 1, 1)
        # Rounding: the same products, added in another order.
        torch.testing.assert_close(answer.flatten(1), expected, atol=1e-4, rtol=1e-4)
        assert dense(seeded(1, 3, 256, 256)).shape == (1, 1000, 2, 2)


def test_a_heat_map_equals_64_px_evaluations_where_no_padding_reaches() -> None:
    net = build("pointwise_classifier").double()
    image = seeded(1, 3, 640, 320).double()
    with torch.inference_mode():
        heat = net(image)
        assert heat.shape == (1, 1, 80, 40)
        for y, x in ((0, 0), (64, 128), (576, 256), (200, 72)):
            crop = net(image[:, :, y : y + 64, x : x + 64])
            part = heat[:, :, y // 8 : y // 8 + 8, x // 8 : x // 8 + 8]
            # A score sees 7 px above and left of its cell: padding reaches the first one only.
            assert (part - crop)[:, :, 1:, 1:].abs().max() < 1e-12
    assert (part - crop).abs().max() > 1e-6
