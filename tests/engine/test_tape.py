"""Blocks that are played from a tape are those that would have been computed, to the last bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from gigafcn.engine.playback import playable
from gigafcn.engine.rows import CarriedPixels
from gigafcn.engine.tape import Tape, taped
from gigafcn.geometry import Box, Span
from tests.engine.steady_nets import PLAYABLE, graph_of, image, op_by_op, plan_of, swept
from tests.nets import NETS

if TYPE_CHECKING:
    from collections.abc import Callable


class Alive(TorchDispatchMode):
    """Counts the results that are held when an op is called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of its base
        self.most = 0
        self._results = WeakTensorKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.most = max(self.most, len(self._results))
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            self._results[tensor] = None
        return result


class Plays:
    """Counts how often tapes are played."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        play = Tape.play

        def counted(tape: Tape, image: Tensor | None, origins: dict[int, int]) -> Tensor:
            self.count += 1
            return play(tape, image, origins)

        monkeypatch.setattr(Tape, "play", counted)


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("name", PLAYABLE)
def test_the_map_is_that_of_blocks_computed_op_by_op(
    name: str, pack: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, plays = graph_of(NETS[name](), pack=pack), Plays(monkeypatch)
    assert torch.equal(swept(graph, image()), op_by_op(graph, image()))
    plan = plan_of(graph)
    assert plays.count == (len(playable(graph, plan)) - 1) * len(plan.blocks)


def test_rows_are_found_wherever_they_lie_in_their_slab() -> None:
    graph = graph_of(NETS["monai_unet"]())
    plan = plan_of(graph)
    node = next(i for i in range(len(graph.nodes)) if plan.rows[i].largest_carry > 1)
    slabs = CarriedPixels(plan, node, graph.nodes[node], torch.zeros(1))
    slabs.slabs[0].copy_(torch.arange(float(slabs.slabs[0].numel())).view_as(slabs.slabs[0]))
    row, across = slabs.rows[0] + 2, plan.columns[node].new[0]

    def place() -> Tensor:
        return slabs.place(0, Box.of(Span(row, row + 1), across))

    made, tape = taped(None, lambda: place() + 1, {node: slabs}, {node: 2})
    assert made is not None
    assert tape is not None
    for moved in (1, 0, 1):
        slabs.rows = row - 2 + moved, row
        again = tape.play(None, {node: 2 - moved})
        assert again.equal(place() + 1)
        assert again.equal(made) == (moved == 0)


def test_an_image_that_lies_in_memory_otherwise_is_computed_op_by_op(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph, plays = graph_of(NETS["monai_unet"]()), Plays(monkeypatch)
    strips = iter(range(1000))

    def turned(part: Tensor) -> Tensor:
        last = torch.channels_last if next(strips) % 2 else torch.contiguous_format
        return part.contiguous(memory_format=last)

    # Convolutions of the two layouts add up in another order.
    torch.testing.assert_close(swept(graph, image(), turn=turned), op_by_op(graph, image()))
    assert plays.count > 0


def test_what_no_later_call_reads_is_freed() -> None:
    def compute() -> Tensor:
        tensor = start + 1
        for _ in range(9):
            tensor = tensor * 2
        return tensor

    start, other = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    with torch.inference_mode():
        made, tape = taped(start, compute, {}, {})
        assert tape is not None
        with Alive() as alive:
            again = tape.play(other, {})
    assert again.eq(512).all()
    assert alive.most == 1
    assert made is not None
    assert tape.play(start, {}).equal(made)


@pytest.mark.parametrize("ask", [bool, Tensor.item, torch.is_nonzero])
def test_what_depends_on_a_number_is_not_taped(ask: Callable[[Tensor], Any]) -> None:
    def compute() -> Tensor:
        return start + 1 if ask(start.sum() > 0) else start - 1

    start = torch.ones(1, 1, 4, 4)
    with torch.inference_mode():
        made, tape = taped(start, compute, {}, {})
    assert made is not None
    assert tape is None


def test_a_list_of_one_result_is_played() -> None:
    def compute() -> Tensor:
        (only,) = torch.split(start + 1, 4, dim=2)
        return only * 2

    start, other = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    with torch.inference_mode():
        _, tape = taped(start, compute, {}, {})
        assert tape is not None
        assert tape.play(other, {}).eq(2).all()


def test_of_several_results_those_that_none_reads_are_freed() -> None:
    def compute() -> Tensor:
        deepest = functional.max_pool2d(start, 2, return_indices=True)[0]
        return deepest + 1

    start = torch.ones(1, 1, 4, 4)
    with torch.inference_mode():
        _, tape = taped(start, compute, {}, {})
        assert tape is not None
        with Alive() as alive:
            again = tape.play(start, {})
    assert again.eq(2).all()
    assert alive.most == 1


def test_a_cast_of_what_is_carried_is_made_at_every_strip() -> None:
    carried = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    with torch.inference_mode():
        _, tape = taped(None, lambda: carried.float() + 1, {}, {})
        assert tape is not None
        carried.zero_()
        assert tape.play(None, {}).eq(1).all()
