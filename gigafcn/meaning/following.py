"""Run a module on a small input and follow what is known of every tensor that it computes.

Each op is seen as torch calls it, whatever the module is made of: layers, TorchScript, an exported
program.  What is computed outside torch (onnxruntime) leaves no trace, and nothing is known of it.
Views of one memory share what is written to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from gigafcn.meaning import arithmetic, layers, moving
from gigafcn.meaning.calls import RULES, Call
from gigafcn.meaning.values import Values, unknown
from gigafcn.unrounded import UNROUNDED

if TYPE_CHECKING:
    from collections.abc import Callable

_REGISTERED = (arithmetic, layers, moving)

MOST_NUMBERS = 1 << 16
"""Elements of a constant whose bounds are looked up."""

MOST_WRITTEN = 1 << 24
"""The same of memory that parts of the output are written to."""

Place = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Followed:
    """An output and what is known of it."""

    output: Tensor
    values: Values


def followed(call: Callable[[Tensor], Tensor], image: Tensor) -> Followed:
    """What is known of what a call gives for an image (b, c, y, x)."""
    # Under inference_mode torch would not take composite ops apart.
    with torch.no_grad(), UNROUNDED, _Ops(image) as ops:
        output = call(image)
    return Followed(output, ops.of(output) or unknown(tuple(output.shape), "outside torch"))


@dataclass(slots=True)
class _Memory:
    """What is known of the tensors that show parts of one piece of memory."""

    reference: Any
    """Weak: no memory is kept for this, but its address is not given to another."""

    parts: dict[Place, Values] = field(default_factory=dict)
    rest: Values | None = None
    """Of parts that were never looked at."""


class _Ops(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of its base
    """Applies the rules to every op that is called."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of its base
        self._known: dict[int, _Memory] = {}
        self._note(image, Values("image", tuple(image.shape), made="the image", key="image"))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = _name(func)
        if name not in RULES and not func.is_view:
            with self:
                taken_apart = func.decompose(*args, **kwargs)
            if taken_apart is not NotImplemented:
                return taken_apart
        call = self._call(func, name, args, kwargs)
        writes = func._schema.is_mutable and call is not None
        before = self._base(args[0]) if writes and args else None
        result = func(*args, **kwargs)
        if call is not None and writes and isinstance(result, Tensor):
            self._written(call, result, before)
        several = result if isinstance(result, tuple | list) else (result,)
        for index, each in enumerate(several):
            if isinstance(each, Tensor):
                self._result(func, call, index, each)
        return result

    def of(self, tensor: Tensor) -> Values | None:
        """What is known of a tensor; None of what does not come from the image."""
        memory = self._known.get(_address(tensor)) if torch._C._has_storage(tensor) else None
        if memory is None:
            return None
        found = memory.parts.get(_part(tensor))
        if found is None and memory.rest is not None:
            return replace(memory.rest, shape=tuple(tensor.shape))
        return found

    def _call(self, func: Any, name: str, args: Any, kwargs: Any) -> Call | None:
        """The call with tensors replaced; None if nothing of it comes from the image."""
        given: dict[str, Any] = {}
        for place, argument in enumerate(func._schema.arguments):
            value = args[place] if place < len(args) else argument.default_value
            given[argument.name] = kwargs.get(argument.name, value)
        replaced = {key: self._replaced(value) for key, value in given.items()}
        tensors = [v for value in replaced.values() for v in _listed(value)]
        if not any(v.nature != "constant" for v in tensors):
            return None
        numbers: dict[str, Any] = {}
        for key, value in given.items():
            if (found := _integers(value)) is not None:
                numbers[key] = found
        if "conv" in name and _is_plain(given.get("weight")):
            sums = given["weight"].detach().double().flatten(1).sum(1)
            numbers["sums"] = (float(sums.min()), float(sums.max()))
        name_of_it = (name, *((k, _key(v)) for k, v in replaced.items()))
        return Call(name, replaced, (), name_of_it, values=numbers)

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.of(value) or _constant(value)
        if isinstance(value, list | tuple):
            return [self._replaced(item) for item in value]
        return value

    def _result(self, func: Any, call: Call | None, index: int, tensor: Tensor) -> None:
        if call is not None and not func._schema.is_mutable:
            self._note(tensor, _derived(call, index, tensor))

    def _written(self, call: Call, tensor: Tensor, before: Values | None) -> None:
        """A tensor was overwritten: other views of its memory hold old values or new ones."""
        new = _derived(call, 0, tensor)
        memory = self._memory(tensor)
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        for part, old in list(memory.parts.items()):
            if whole:
                memory.parts[part] = unknown(old.shape, f"{call.op} in place")
            else:
                memory.parts[part] = _both(old, new)
        rest = before if memory.rest is None else memory.rest
        memory.rest = None if whole or rest is None else _both(rest, new)
        memory.parts[_part(tensor)] = new

    def _base(self, tensor: Any) -> Values | None:
        """Bounds of all the memory that a tensor, not from the image, is a part of."""
        if not isinstance(tensor, Tensor) or _address(tensor) in self._known:
            return None
        count = tensor.untyped_storage().nbytes() // max(1, tensor.element_size())
        return _constant(tensor.as_strided((count,), (1,), 0), MOST_WRITTEN)

    def _memory(self, tensor: Tensor) -> _Memory:
        address = _address(tensor)
        if address not in self._known:
            self._known[address] = _Memory(
                StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
            )
        return self._known[address]

    def _note(self, tensor: Tensor, values: Values) -> None:
        self._memory(tensor).parts[_part(tensor)] = values


def _both(old: Values, new: Values) -> Values:
    """Of memory of which a part, or all, was overwritten."""
    call = Call("copy_into", {"self": old, "src": new}, old.shape, object())
    return RULES["copy_into"](call)


def _derived(call: Call, index: int, tensor: Tensor) -> Values:
    """What a rule says of one result."""
    shape = tuple(tensor.shape)
    key = call.key if index == 0 else (index, call.key)
    call = Call(call.op, call.arguments, shape, key, index, call.values)
    rule = RULES.get(call.op)
    if rule is None:
        return unknown(shape, f"{call.op}, of which nothing is known", key)
    try:
        found = rule(call)
    except (KeyError, IndexError, TypeError, StopIteration, ValueError, OverflowError):
        return unknown(shape, f"{call.op}, called in an unusual way", key)
    if not tensor.is_floating_point() and found.nature != "integer":
        low, high = found.bounds
        return Values("integer", shape, (low - 1, high + 1), made=call.op, key=key)
    return found


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and torch._C._has_storage(value) and not value.is_complex()


def _name(func: Any) -> str:
    name: str = func._schema.name.partition("::")[2]
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _part(tensor: Tensor) -> Place:
    # Steps along dimensions of size 1 say nothing.
    steps = tuple(s for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1)
    return tensor.storage_offset(), tuple(tensor.shape), steps, tensor.dtype


def _constant(tensor: Tensor, most: int = MOST_NUMBERS) -> Values:
    """Bounds of a tensor that does not come from the image."""
    low, high = float("-inf"), float("inf")
    plain = torch._C._has_storage(tensor) and not tensor.is_complex()
    if 0 < tensor.numel() <= most and plain:
        ends = tensor.detach().double()
        low, high = float(ends.min()), float(ends.max())
    key: Any = ("number", low) if tensor.numel() == 1 else (id(tensor), tuple(tensor.shape))
    return Values("constant", tuple(tensor.shape), (low, high), key=key)


def _integers(value: Any) -> list[int] | None:
    """Numbers of a short table of channels."""
    if isinstance(value, list | tuple):
        tables = [item for item in value if isinstance(item, Tensor)]
        value = tables[0] if len(tables) == 1 else None
    if not isinstance(value, Tensor) or value.dim() != 1 or value.numel() > 4096:
        return None
    if value.dtype == torch.bool:
        return [int(i) for i in value.nonzero()[:, 0]]
    return None if value.is_floating_point() or value.is_complex() else value.tolist()


def _listed(value: Any) -> list[Values]:
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if isinstance(item, Values)]


def _key(value: Any) -> Any:
    if isinstance(value, Values):
        return value.key
    if isinstance(value, list | tuple):
        return tuple(_key(item) for item in value)
    return value if isinstance(value, int | float | str | bool | None) else str(value)
