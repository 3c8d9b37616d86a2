"""Does colour deconvolution find nuclei and tissue?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from gigafcn.geometry import Box
from gigafcn.metrics import confusion_matrix, metrics
from gigafcn.train.data import real_halves
from gigafcn.train.drawing import World, draw_region
from gigafcn.train.labelling import label_by_stain

if TYPE_CHECKING:
    from pathlib import Path


def test_clear_glass_is_background() -> None:
    assert not label_by_stain(np.full((64, 64, 3), 243, np.uint8)).any()


def test_labels_agree_with_the_exact_mask_of_a_drawing() -> None:
    drawing = draw_region(World(3), Box(0, 0, 384, 384))
    found = metrics(confusion_matrix(drawing.mask, label_by_stain(drawing.picture), 3))
    # Two quite different definitions of the same thing; far above chance (about 0.2).
    assert found.mean_iu > 0.6


@pytest.mark.slide
def test_halves_of_the_real_slide_cover_it_and_hold_every_class(real_slide: Path) -> None:
    left, right = real_halves(real_slide)
    assert left.picture.shape == (2967, 1110, 3)
    assert right.picture.shape == (2967, 1110, 3)
    for half in (left, right):
        assert set(np.unique(half.mask)) == {0, 1, 2}
