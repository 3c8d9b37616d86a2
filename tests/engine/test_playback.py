"""Strips that are played back are those that would have been computed, to the last bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gigafcn.engine.playback import LEAST_STEADY, playable
from gigafcn.geometry import Box
from gigafcn.plan.sweep_plan import plan_sweep
from tests.engine.steady_nets import (
    BLOCK,
    PERIOD,
    PLAYABLE,
    STRIP,
    graph_of,
    image,
    op_by_op,
    plan_of,
    swept,
)
from tests.nets import NETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gigafcn.engine.playback import Made


class Tape(TorchDispatchMode):
    """Notes torch's ops with their very tensors, as a CUDA graph notes kernels with addresses."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of its base
        self._ops: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._ops.append((func, args, kwargs or {}, result))
        return result

    def play(self) -> None:
        """Run the ops again, from the same memory to the same memory."""
        for func, args, kwargs, result in self._ops:
            again = func(*args, **kwargs)
            # A cast is called a view too, but may give a copy.
            if isinstance(result, Tensor) and again.data_ptr() != result.data_ptr():
                result.copy_(again)


class Recorder:
    """Records calls on tapes, and counts how often they are played."""

    def __init__(self) -> None:
        self.plays = 0

    def __call__(self, call: Callable[[], Made]) -> Callable[[], Made]:
        with Tape() as tape:
            made = call()

        def play() -> Made:
            self.plays += 1
            tape.play()
            return made

        return play


def test_the_usual_nets_are_played_back() -> None:
    assert {"unet_r18", "monai_unet", "monai_basic_unet"} <= set(PLAYABLE)


@pytest.mark.parametrize("name", PLAYABLE)
def test_the_map_is_that_of_strips_computed_one_by_one(name: str) -> None:
    graph, recorder = graph_of(NETS[name]()), Recorder()
    assert torch.equal(swept(graph, image(), recorder), op_by_op(graph, image()))
    assert recorder.plays == len(playable(graph, plan_of(graph))) >= LEAST_STEADY


@pytest.mark.parametrize("name", ["aligned", "resampled", "located", "unpooled"])
def test_rules_that_look_at_where_they_are_are_not_played_back(name: str) -> None:
    graph = graph_of(NETS[name]())
    assert not playable(graph, plan_of(graph))


def test_a_short_tile_is_not_worth_a_recording() -> None:
    graph = graph_of(NETS["monai_unet"]())
    tile = Box(0, 0, (LEAST_STEADY + 1) * STRIP, BLOCK)
    plan = plan_sweep(
        graph.nodes, graph.output, tile, strip=STRIP, block=BLOCK, period=(PERIOD, PERIOD)
    )
    assert not playable(graph, plan)


def test_what_differs_from_the_strip_computed_as_ever_is_not_played_again() -> None:
    plays = []

    def wrong(call: Callable[[], Made]) -> Callable[[], Made]:
        def play() -> Made:
            plays.append(1)
            (box, tensor), *others = call()
            tensor[0, 0, 0, 0] += 1
            return [(box, tensor), *others]

        return play

    graph = graph_of(NETS["monai_unet"]())
    assert torch.equal(swept(graph, image(), wrong), op_by_op(graph, image()))
    assert len(plays) == 1


def test_carried_rows_that_differ_are_found_too() -> None:
    plays = []

    def forgetting(call: Callable[[], Made]) -> Callable[[], Made]:
        made = call()

        def play() -> Made:  # gives the blocks again, but leaves the slabs as they are
            plays.append(1)
            return made

        return play

    graph = graph_of(NETS["monai_unet"]())
    assert torch.equal(swept(graph, image(), forgetting), op_by_op(graph, image()))
    assert len(plays) == 1


def test_what_cannot_be_recorded_is_computed_as_ever() -> None:
    def refusing(call: Callable[[], Made]) -> Callable[[], Made]:
        call()  # begun, as a recording that fails half-way is
        raise RuntimeError("operation not permitted when stream is capturing")

    graph = graph_of(NETS["monai_unet"]())
    assert torch.equal(swept(graph, image(), refusing), op_by_op(graph, image()))
