"""A block's calls of torch on tape: what comes out the same at every strip is worked out once.

Finding boxes, slabs and windows is Python's work, some fifty microseconds for each node of each
block, and while one thread does it, Python's lock keeps the others from beginning anything.  In
steady strips (:mod:`gigafcn.plan.steady`) it comes out the same each time.  The first of them is
taped: which ops were called with which tensors.  The others only make the calls.

Views of what is carried are taped as tensors; where rows have come to lie elsewhere in their slab,
they are made anew.  What a call makes is freed after the last call that reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gigafcn.engine.rows import CarriedPixels

aten = torch.ops.aten

Origins = dict[int, int]
"""By node, the slab's row at which those computed in a strip begin."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where an argument goes."""

    held: Any
    """The list or dict it is in."""

    key: int | str


@dataclass(slots=True)
class _Call:
    """One op with its arguments, but for those that earlier calls make."""

    op: Callable[..., Any]
    arguments: list[Any]
    options: dict[str, Any]
    made_before: tuple[tuple[_Slot, int], ...]
    """Arguments that are results, and their numbers."""

    makes: int | None
    """Number of the result, or of the first of several; None if the op only writes."""

    results: int
    spent: tuple[int, ...] = ()
    """Results that no later call reads."""


@dataclass(frozen=True, slots=True)
class _Window:
    """A view of a slab, as it was taped."""

    slot: _Slot
    view: Tensor
    node: int
    row: int
    """Numbers from one row of the slab to the next."""


class Tape:
    """The calls of one block.  Use :func:`taped` to make one."""

    def __init__(self, recorder: _Recorder, image: Tensor | None, origins: Origins) -> None:
        self._calls = recorder.calls
        self._windows = recorder.windows
        self._image = None if image is None else (image.shape, image.stride())
        self._taped = self._now = dict(origins)
        self._count = recorder.count
        read_last = {n: i for i, call in enumerate(self._calls) for _, n in call.made_before}
        for index, call in enumerate(self._calls):
            new = range(call.makes, call.makes + call.results) if call.makes is not None else ()
            unread = [number for number in new if number not in read_last]
            read = {number for _, number in call.made_before if read_last[number] == index}
            call.spent = (*unread, *read)

    def fits(self, image: Tensor | None) -> bool:
        """Whether an image lies in memory as the taped one did."""
        return self._image == (None if image is None else (image.shape, image.stride()))

    def play(self, image: Tensor | None, origins: Origins) -> Tensor:
        """Make the calls for another strip's image, and return the last one's result."""
        if origins != self._now:
            self._look_again(origins)
        made: list[Tensor | None] = [None] * self._count
        made[0] = image
        result = None
        for call in self._calls:
            for slot, number in call.made_before:
                slot.held[slot.key] = made[number]
            result = call.op(*call.arguments, **call.options)
            if call.makes is not None:
                several = call.results > 1
                made[call.makes : call.makes + call.results] = result if several else (result,)
            for slot, _ in call.made_before:
                slot.held[slot.key] = None
            for number in call.spent:
                made[number] = None
        assert isinstance(result, Tensor)
        return result

    def _look_again(self, origins: Origins) -> None:
        """Take views of slabs from where their rows lie now."""
        for window in self._windows:
            rows = origins[window.node] - self._taped[window.node]
            view, start = window.view, window.view.storage_offset() + rows * window.row
            window.slot.held[window.slot.key] = view.as_strided(view.shape, view.stride(), start)
        self._now = dict(origins)


def taped(
    image: Tensor | None,
    compute: Callable[[], Tensor | None],
    carried: Mapping[int, CarriedPixels],
    origins: Origins,
) -> tuple[Tensor | None, Tape | None]:
    """Compute a block and tape it.

    Parameters
    ----------
    image
        What the model reads; None if nothing.
    compute
        Computes the block's part of the map from that image.
    carried
        By node.
    origins
        In this strip.

    Returns
    -------
    The block's part of the map, and the tape; None if what was called cannot be called again.
    """
    recorder = _Recorder(image, carried)
    with recorder:
        result = compute()
    if result is None or not recorder.whole:
        return result, None
    recorder.end(result)
    return result, Tape(recorder, image, origins)


class _Recorder(TorchDispatchMode):
    """Notes every op that torch is called for."""

    def __init__(self, image: Tensor | None, carried: Mapping[int, CarriedPixels]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of its base
        self.calls: list[_Call] = []
        self.windows: list[_Window] = []
        self.count = 1
        """The image is number 0."""
        self.whole = True
        """Whether everything that was called can be called again."""
        self._numbers = WeakTensorKeyDictionary()
        if image is not None:
            self._numbers[image] = 0
        self._made: set[int] = set()
        """Addresses of memory that calls have made."""
        self._slabs = {
            _address(slab): (node, pixels.row_stride(slab))
            for node, pixels in carried.items()
            for slab in pixels.slabs
            if slab.numel()
        }

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an op, and note that."""
        options = kwargs or {}
        result = func(*args, **options)
        if func is aten._local_scalar_dense.default:
            self.whole = False  # what follows may depend on a number
        if not func.is_view or args[0] in self._numbers:
            self._note(func, args, options, result)
        return result

    def end(self, result: Tensor) -> None:
        """Let the last call return the block's result."""
        self._note(_itself, (result,), {}, result)

    def _note(self, op: Any, args: Any, options: Any, result: Any) -> None:
        arguments, named = _copied(args), {name: _copied(a) for name, a in options.items()}
        slots = [*_slots(arguments, range(len(arguments))), *_slots(named, named)]
        tensors = [slot.held[slot.key] for slot in slots]
        made_before = []
        for slot, tensor in zip(slots, tensors, strict=True):
            if tensor in self._numbers:
                made_before.append((slot, self._numbers[tensor]))
                slot.held[slot.key] = None
            elif _address(tensor):
                self._constant(slot, tensor)
        given = {id(tensor) for tensor in tensors}
        results = result if isinstance(result, tuple | list) else (result,)
        new = [r for r in results if isinstance(r, Tensor) and id(r) not in given]
        makes = self.count if new else None
        for tensor in new:
            self._numbers[tensor] = self.count
            self._made.add(_address(tensor))
            self.count += 1
        self.calls.append(_Call(op, arguments, named, tuple(made_before), makes, len(new)))

    def _constant(self, slot: _Slot, tensor: Tensor) -> None:
        """Note an argument that is the same, or in the same slab, at every strip."""
        found = self._slabs.get(_address(tensor))
        if found is not None:
            self.windows.append(_Window(slot, tensor, *found))
        elif _address(tensor) in self._made:
            self.whole = False  # a result that is no longer known as one


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _address(tensor: Tensor) -> int:
    """Of a tensor's memory; 0 if it has none, or none that views may share."""
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else 0


def _copied(argument: Any) -> Any:
    """An argument with lists of its own."""
    if isinstance(argument, list | tuple):
        return [_copied(item) for item in argument]
    return argument


def _slots(held: Any, keys: Iterable[int | str]) -> Iterator[_Slot]:
    """Where the tensors of a list or dict are, and of the lists in it."""
    for key in keys:
        value = held[key]
        if isinstance(value, Tensor):
            yield _Slot(held, key)
        elif isinstance(value, list):
            yield from _slots(value, range(len(value)))
