"""Strips arrive as they were stored; results are handed on in order, some of them later."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from gigafcn.engine.transfer import Results, Sender

if TYPE_CHECKING:
    from torch import Tensor

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_a_part_of_a_strip_is_what_was_stored_there(dtype: str) -> None:
    stored = np.random.default_rng(0).integers(0, 200, (6, 9, 3)).astype(dtype)
    sent = Sender(CPU)(stored)
    assert (sent.part(slice(1, 4), slice(2, 9)).numpy() == stored[1:4, 2:9]).all()


def test_strips_that_must_not_be_written_to_are_sent_too() -> None:
    stored = np.broadcast_to(np.uint8(7), (4, 5, 3))
    assert (Sender(CPU)(stored).part(slice(0, 4), slice(0, 5)) == 7).all()


@pytest.mark.parametrize("owed", [0, 1, 4])
def test_results_come_in_order_and_never_more_than_agreed_are_owed(owed: int) -> None:
    found: list[int] = []

    def note(number: int, tensor: Tensor) -> None:
        assert int(tensor) == number
        found.append(number)

    results = Results(CPU, owed)
    for number in range(9):
        results.take([torch.tensor(number)], partial(note, number))
        assert found == list(range(max(0, number + 1 - owed)))
    results.settle()
    assert found == list(range(9))


def test_on_the_processor_nothing_is_owed() -> None:
    found: list[Any] = []
    Results(CPU).take([torch.ones(2)], found.append)
    assert len(found) == 1
