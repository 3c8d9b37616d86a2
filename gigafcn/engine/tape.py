"""A block's calls of torch on tape: what comes out the same at every strip is worked out once.

Finding boxes, slabs and windows is Python's work, some fifty microseconds for each node of each
block, and while one thread does it, Python's lock keeps the others from beginning anything.  In
steady strips (:mod:`gigafcn.plan.steady`) it comes out the same each time.  The first of them is
taped: which ops were called with which tensors.  The others only make the calls.

Views of what is carried are taped as tensors; where rows have come to lie elsewhere in their slab,
they are made anew.  What a call makes is freed after the last call that reads it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gigafcn.engine.rows import CarriedPixels

Origins = dict[int, int]
"""By node, the slab's row at which those computed in a strip begin."""

_TAPING = threading.Lock()
"""What notes ops sets a state of torch's that columns computed side by side share."""


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

    makes: slice | int | None
    """Number of the result, or numbers of several; None if the op only writes."""

    spent: tuple[int, ...] = ()
    """Results that no later call reads."""

    def uses(self) -> Iterator[int]:
        """Numbers of what it reads and makes."""
        yield from (number for _, number in self.made_before)
        if isinstance(self.makes, slice):
            yield from range(self.makes.start, self.makes.stop)
        elif self.makes is not None:
            yield self.makes

    def call(self, made: list[Any]) -> None:
        """Call the op, of what was made, and put what it makes there."""
        for slot, number in self.made_before:
            slot.held[slot.key] = made[number]
        # No name holds a result, which would outlive the last call that reads it.
        if self.makes is None:
            self.op(*self.arguments, **self.options)
        else:
            made[self.makes] = self.op(*self.arguments, **self.options)
        for slot, _ in self.made_before:
            slot.held[slot.key] = None
        for number in self.spent:
            made[number] = None


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
        last: dict[int, int] = {}
        for index, call in enumerate(self._calls):
            last |= dict.fromkeys(call.uses(), index)
        for number, index in last.items():
            if number != self._count - 1:
                self._calls[index].spent += (number,)

    def fits(self, image: Tensor | None) -> bool:
        """Whether an image lies in memory as the taped one did."""
        return self._image == (None if image is None else (image.shape, image.stride()))

    def play(self, image: Tensor | None, origins: Origins) -> Tensor:
        """Make the calls for another strip's image, and return the last one's result."""
        if origins != self._now:
            self._look_again(origins)
        made: list[Any] = [image] + [None] * (self._count - 1)
        for call in self._calls:
            call.call(made)
        result = made[-1]
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
    with _TAPING, recorder:
        result = compute()
    if result is None:
        return None, None
    recorder.end(result)
    return result, Tape(recorder, image, origins) if recorder.whole else None


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
        self._made: set[int] = set()
        """Addresses of memory that the image is in, and that calls have made."""
        if image is not None:
            self._numbers[image] = 0
            self._made.add(_address(image))
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
        if not self._is_known(func, args, result):
            self._note(func, args, options, result)
        return result

    def _is_known(self, func: Any, args: Any, result: Any) -> bool:
        """Whether a result is a view of what is the same, or in the same slab, at every strip.

        Some ops that may give a view, such as a cast, give a copy as the case may be.
        """
        if not func.is_view or args[0] in self._numbers:
            return False
        views = result if isinstance(result, tuple | list) else (result,)
        return all(_address(view) == _address(args[0]) for view in views)

    def end(self, result: Tensor) -> None:
        """Let the last call return the block's result."""
        arguments = [result]
        made_before = self._taken([*_slots(arguments, [0])])
        self.calls.append(_Call(_itself, arguments, {}, made_before, self.count))
        self.count += 1

    def _note(self, op: Any, args: Any, options: Any, result: Any) -> None:
        results = result if isinstance(result, tuple | list) else (result,)
        if not all(isinstance(tensor, Tensor) for tensor in results):
            self.whole = False  # what follows may depend on a number
            return
        arguments, named = _copied(args), {name: _copied(a) for name, a in options.items()}
        slots = [*_slots(arguments, range(len(arguments))), *_slots(named, named)]
        given = {id(slot.held[slot.key]) for slot in slots}
        written = sum(id(tensor) in given for tensor in results)
        self.whole = self.whole and written in (0, len(results))
        makes = slice(self.count, self.count + len(results)) if results is result else self.count
        made_before = self._taken(slots)
        self.calls.append(_Call(op, arguments, named, made_before, None if written else makes))
        for tensor in () if written else results:
            self._numbers[tensor] = self.count
            self._made.add(_address(tensor))
            self.count += 1

    def _taken(self, slots: Sequence[_Slot]) -> tuple[tuple[_Slot, int], ...]:
        """Which arguments are results, taken away from where they are; others are noted."""
        made_before = []
        for slot in slots:
            tensor = slot.held[slot.key]
            if tensor in self._numbers:
                made_before.append((slot, self._numbers[tensor]))
                slot.held[slot.key] = None
            elif _address(tensor):
                self._constant(slot, tensor)
        return tuple(made_before)

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
