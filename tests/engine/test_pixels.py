"""Labels are the argmax, the first of equals."""

from __future__ import annotations

import torch

from gigafcn.engine.pixels import likeliest


def test_the_likeliest_class_is_the_first_of_the_largest_scores() -> None:
    # Few values, so that ties are common.
    scores = torch.randint(0, 3, (1, 5, 40, 30), generator=torch.Generator().manual_seed(0)).float()
    expected = scores[0].numpy().argmax(axis=0)
    assert (likeliest(scores, torch.uint8) == expected).all()
