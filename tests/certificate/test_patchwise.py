"""``verify`` compares a classifier's map with its answers patch by patch."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

import gigafcn
from gigafcn.certificate.certificate import Certificate
from gigafcn.convert import convert
from gigafcn.errors import UsageError
from tests.convert.nets import HEADS
from tests.convert.patchwise import patch_by_patch
from tests.nets import randomised
from tests.run.small_nets import quarter
from tests.run.whole import small_image

if TYPE_CHECKING:
    from gigafcn.certificate.patchwise import Patchwise


def padded() -> nn.Module:
    """Stride 4, patches of any size."""
    layers = (nn.Conv2d(3, 4, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, 2, padding=1))
    pooled = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4))
    return randomised(nn.Sequential(*layers, *pooled))


def measured(found: Certificate) -> Patchwise:
    """What was measured."""
    assert found.patchwise is not None
    return found.patchwise


def test_for_a_net_that_pads_the_difference_on_a_window_of_the_slide_is_measured() -> None:
    net, image = padded(), small_image(90, 101)
    found = gigafcn.verify(net, image, patch=20)
    assert found.exactness == "structural+measured"
    assert found.holds
    told = measured(found)
    assert (told.pads, told.source, told.window, told.patches) == (True, "slide", (52, 52), 81)
    assert told.position is not None
    y, x = told.position
    pixels = image[y : y + 52, x : x + 52].astype(np.float32)
    scaled = pixels * (1 / 255 if image.dtype == np.uint8 else 1.0)
    window = torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1).unsqueeze(0)
    dense = convert(net, 20).module
    with torch.inference_mode():
        apart = dense(window)[0, :, :9, :9] - patch_by_patch(net, window, 20, 4)
    # A difference of fp32 numbers that are rounded alike but for the layout of the window.
    assert told.largest == pytest.approx(float(apart.abs().max()), rel=1e-3)
    assert told.mean == pytest.approx(float(apart.abs().mean()), rel=1e-3)
    assert told.largest > told.bound
    assert "dense map and patches differ by at most" in found.summary


def test_for_a_net_that_does_not_pad_it_is_rounding_and_nothing_else() -> None:
    found = gigafcn.verify(randomised(HEADS["flatten"]()), patch=28, output_stride=2)
    told = measured(found)
    assert (told.pads, told.source, told.output_stride) == (False, "noise", (2, 2))
    assert told.largest <= told.bound < 0.01 * told.scale
    assert told.labels == 0
    assert found.holds


def test_more_than_rounding_without_padding_refutes_the_certificate() -> None:
    found = gigafcn.verify(randomised(HEADS["maximum"]()))
    wrong = replace(measured(found), largest=2 * measured(found).bound)
    refuted = replace(found, patchwise=None).with_patchwise(wrong)
    assert refuted.exactness == "refuted"
    assert "it does not pad" in refuted.failures[0]


def test_it_survives_json_and_older_json_has_none() -> None:
    found = gigafcn.verify(padded(), patch=(20, 24))
    assert measured(found).patch == (20, 24)
    stored = json.loads(json.dumps(found.to_json()))
    assert Certificate.from_json(stored) == found
    del stored["patchwise"]
    assert Certificate.from_json(stored) == replace(found, patchwise=None)


def test_other_models_have_no_patches() -> None:
    assert gigafcn.verify(quarter()).patchwise is None
    with pytest.raises(UsageError, match="output stride 2 is for classifiers of patches"):
        gigafcn.verify(quarter(), output_stride=2)
