"""Scores of windows become rows of the map, whatever part of a batch a tile owns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from gigafcn.engine.forward import Forward, chosen_output
from gigafcn.engine.patch import Patch
from gigafcn.errors import ModelError, QuestionError, RunError
from gigafcn.geometry import Box
from gigafcn.plan.windows import patch_windows

if TYPE_CHECKING:
    from collections.abc import Callable


class Rows:
    """Keeps the rows that were handed on."""

    def __init__(self) -> None:
        self.rows: list[tuple[Box, list[list[float]]]] = []

    def put(self, box: Box, logits: torch.Tensor, left_out: object = None) -> None:
        assert left_out is None
        self.rows.append((box, logits[0, :, 0].tolist()))


def test_a_tile_takes_its_own_columns_of_whole_batches() -> None:
    windows = patch_windows((8, 80), (8, 8), step=(8, 8), batch=4)
    tile, sink = Box(0, 3, 1, 6), Rows()
    patch = Patch(tile, sink, torch.zeros(1, 2, 1, tile.x.size))
    for columns in windows.batches(tile.x):
        scores = torch.tensor([[float(c), -float(c)] for c in columns])
        patch.add(0, columns, scores[:, :, None, None])
    patch.end_row(0)
    assert sink.rows == [(tile, [[3.0, 4.0, 5.0], [-3.0, -4.0, -5.0]])]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 5), (3, 5, 1, 1)), ((3,), (3, 1, 1, 1)), ((3, 5, 1, 1), (3, 5, 1, 1))],
)
def test_scores_become_maps_of_one_px(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    class Scores(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.zeros(shape)

    assert tuple(Forward(Scores(), None)(torch.zeros(3, 3, 8, 8)).shape) == expected


def test_a_module_that_fails_says_so_in_one_line() -> None:
    forward = Forward(torch.nn.Linear(3, 3), None)
    with pytest.raises(RunError, match="the model fails on an input of 1 x 3 x 8 x 8: RuntimeErr"):
        forward(torch.zeros(1, 3, 8, 8))


small, large = torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 8, 8)


@pytest.mark.parametrize(
    ("choice", "returned", "expected"),
    [
        (None, large, large),
        (None, {"out": small + 1, "aux": small}, small + 1),
        (0, (small, large), small),
        ("1", [small, large], large),
        ("aux", {"out": large, "aux": small}, small),
        ("heads.1", {"heads": (small, large)}, large),
        (-1, (small, large), large),
    ],
)
def test_an_output_is_chosen_by_path_or_index(
    choice: str | int | None, returned: object, expected: torch.Tensor
) -> None:
    assert torch.equal(chosen_output(returned, choice), expected)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (
            lambda: chosen_output((small, large), None),
            r"2 tensors, 0 \(1, 2, 4, 4\), 1 \(1, 2, 8, 8\), and nothing says which",
        ),
        (
            lambda: chosen_output({"out": large}, "aux"),
            r"no output 'aux'; it returns out \(1, 2, 8",
        ),
        (lambda: chosen_output((small,), 3), "no output 3"),
        (lambda: chosen_output(7, None), "returns int, no tensor"),
    ],
)
def test_what_is_no_choice_is_refused_with_the_outputs_there_are(
    call: Callable[[], object], what: str
) -> None:
    with pytest.raises((ModelError, QuestionError), match=what):
        call()
