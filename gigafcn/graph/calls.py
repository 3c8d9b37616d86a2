"""What do calls of a module show: does it answer alike each time, and what does it write?

A module may write its own weights, buffers or other attributes in ``forward``.  It is called with a
small input, twice on the same pixels; if it wrote something, also again, on other pixels and at
another size.  What is traced is the module as a second call finds it: with what forward writes
whatever the input.  What it keeps of one input, such as a table of positions, is left as it was, so
that each trace makes its own.  All calls are of copies.
"""

from __future__ import annotations

import logging
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from gigafcn.errors import UnsteadyError
from gigafcn.graph.copying import own_copy, plain_attributes, sharing_copy
from gigafcn.graph.drawing import (
    DRAWS,
    TORCHS,
    Draw,
    Watch,
    generators_kept,
    hidden_draws,
    listed,
    plain_name,
)
from gigafcn.graph.export import plain_output, precision_of
from gigafcn.graph.outputs import path_name
from gigafcn.unrounded import UNROUNDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gigafcn.graph.model_graph import Blocker

log = logging.getLogger(__name__)

SIZES = (64, 96, 224, 256, 512)
"""Image sizes in px to call a module at, until it takes one."""

LARGEST_PX = 1024
"""Side in px of an image that a module is called on at most."""

ROUNDINGS = 64
"""Roundings of the largest value by which two answers to the same pixels may differ: kernels on a
GPU may add in another order each time."""

CALLS = 3
"""Further calls of a module that writes something, on the same pixels."""

MOST_NAMED = 4

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Calls:
    """What calls of a module showed."""

    size: Pair | None = None
    """Px (y, x) of the image; None if the module takes none of the sizes tried."""

    settled: nn.Module | None = None
    """The module as a second call finds it, if it writes anything that stays."""

    written: tuple[str, ...] = ()
    """Parameters, buffers and attributes that forward writes, by path."""

    changing: tuple[str, ...] = ()
    """Those of them that another call writes anew, with other values."""

    drawn: tuple[Draw, ...] = ()
    hidden: bool = False
    """Whether something drew that torch does not show as an op."""

    unlike: Any = None
    """What the module returns, each tensor replaced by where calls differ by more than rounding."""

    def to_trace(self, module: nn.Module) -> nn.Module:
        """The module, or a copy in its place that tracing may change."""
        if self.size is not None and not self.written:
            return module
        try:
            return sharing_copy(self.settled or module)
        except Exception as error:  # a part of the user's own may raise anything
            log.debug("the module is traced itself: %s: %s", type(error).__name__, error)
            return module

    def refuse(self, module: nn.Module) -> None:
        """Raise :class:`UnsteadyError` if anything that the module returns is not the same twice.

        Also where something draws: two draws may be alike by chance.
        """
        if self.drawn or any(self.names_unlike().values()):
            raise self.refusal(module)

    def names_unlike(self) -> dict[str, bool]:
        """Whether calls differ, for each tensor that the module returns, by its path."""
        paths, _ = pytree.tree_flatten_with_path(plain_output(self.unlike))
        return {path_name(p): bool(t.any()) for p, t in paths if isinstance(t, Tensor)}

    def refusal(self, module: nn.Module) -> UnsteadyError:
        """Why the module has no map."""
        name = type(module).__name__
        if self.drawn:
            return random_refusal(name, self.drawn)
        names = self.changing or self.written
        if names:
            shown = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
            return UnsteadyError(
                f"{name} answers the same pixels differently from call to call: its forward "
                f"writes {shown}, on which its output depends; hand over a module that only reads "
                f"them in forward"
            )
        return UnsteadyError(
            f"{name} answers the same pixels differently from call to call, so it has no map: "
            f"something in it is random, or kept from one call to the next"
        )


def random_refusal(name: str, drawn: tuple[Draw, ...]) -> UnsteadyError:
    """Why a module that draws has no map."""
    return UnsteadyError(
        f"{name} is random: {listed(drawn)} draws other numbers at each call, so its map would be "
        f"another one each time; hand over a module that draws none in eval mode (of functional "
        f"dropout: F.dropout(x, p, training=self.training))"
    )


def refuse_drawn(name: str, blockers: tuple[Blocker, ...]) -> None:
    """Raise :class:`UnsteadyError` if a blocker draws random numbers: there is no map at all."""
    drawn = tuple(Draw(plain_name(b.op), b.layer) for b in blockers if b.reason == DRAWS)
    if drawn:
        raise random_refusal(name, drawn)


_KNOWN: WeakKeyDictionary[nn.Module, dict[Any, Calls]] = WeakKeyDictionary()
_CALLING = threading.Lock()


def calls_of(module: nn.Module, channels: int, size: Pair) -> Calls:
    """Call copies of a module on noise, once for the same weights.

    Parameters
    ----------
    channels
        Input channels.
    size
        Px (y, x) of images that it is going to be run or traced on; the smallest of those and
        the usual sizes that it takes is used.
    """
    with _CALLING:
        key = (channels, _state_now(module))
        known = _KNOWN.get(module, {}).get(key)
        if known is None or (known.size is None and max(size) <= LARGEST_PX):
            known = _called(module, channels, size)
            _KNOWN[module] = {key: known}
        return known


def _state_now(module: nn.Module) -> tuple[Any, ...]:
    """Something that is another once weights are written or replaced."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return tuple((n, id(t), t._version if not t.is_inference() else 0) for n, t in tensors)


def _called(module: nn.Module, channels: int, size: Pair) -> Calls:
    asked = [size] if max(size) <= LARGEST_PX else []
    candidates = sorted({*asked, *((side, side) for side in SIZES)}, key=lambda s: s[0] * s[1])
    for each in candidates:
        try:
            with (
                warnings.catch_warnings(action="ignore"),
                generators_kept(),
                torch.no_grad(),
                UNROUNDED,
            ):
                return _Trial(module, channels, each).run()
        except Exception as error:  # the user's own code may raise anything
            log.debug("not called at %s px: %s: %s", each, type(error).__name__, error)
    return Calls()


class _Trial:
    """Calls at one image size."""

    def __init__(self, module: nn.Module, channels: int, size: Pair) -> None:
        self.module, self.channels, self.size = module, channels, size
        parameter = next(module.parameters(), None)
        self.device = torch.device("cpu") if parameter is None else parameter.device
        self.dtype = precision_of(module)

    def run(self) -> Calls:
        """Call twice, and more often if anything was written."""
        pixels = self.noise(0)
        own, first, drawn = self._watched(pixels)
        answers: list[Any] = []
        unseen = hidden_draws(lambda: answers.append(own(pixels)))
        # Generators were set back since, but not before the second call.
        apart = unlike(first, answers[0])
        hidden = [one for one in unseen if not drawn or one.op != TORCHS]
        drawn = (*drawn, *hidden)
        written = tuple(_differences(self.module, own))
        if not written:
            return Calls(self.size, None, (), (), drawn, bool(hidden), apart)
        for _ in range(CALLS):
            apart = _either(apart, unlike(first, own(pixels)))
        other = self.noise(1)
        apart = _either(apart, unlike(self.copy()(other), own(other)))
        once = self.copy()
        once(pixels)
        changing = {*_differences(once, own)}
        kept = changing | {*_differences(once, self._elsewhere())}
        settled = _given_back(once, self.module, kept & {*written})
        return Calls(
            self.size, settled, written, tuple(n for n in written if n in changing), drawn,
            bool(hidden), apart,
        )  # fmt: skip

    def copy(self) -> nn.Module:
        return own_copy(self.module).eval()

    def noise(self, seed: int, larger: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        shape = (1, self.channels, larger * self.size[0], larger * self.size[1])
        return torch.rand(shape, generator=generator).to(self.device, self.dtype)

    def _watched(self, pixels: Tensor) -> tuple[nn.Module, Any, tuple[Draw, ...]]:
        """A copy that was called, its answer, and the ops that drew."""
        own = self.copy()
        try:
            with Watch(own) as watch:
                answer = own(pixels)
            drawn = tuple(watch.found)
        except Exception:  # compiled parts, for one, cannot be watched
            own = self.copy()
            answer, drawn = own(pixels), ()
        return own, answer, drawn

    def _elsewhere(self) -> nn.Module:
        """A copy that was called on other pixels, of another size if it takes one."""
        own = self.copy()
        try:
            own(self.noise(2, larger=2))
        except Exception:  # it takes one size only
            own = self.copy()
            own(self.noise(2))
        return own


def unlike(one: Any, other: Any) -> Any:
    """Where two answers differ by more than rounding, in their structure."""
    leaves, layout = pytree.tree_flatten(plain_output(one))
    others, again = pytree.tree_flatten(plain_output(other))
    if layout != again:
        return pytree.tree_map_only(Tensor, lambda t: torch.ones_like(t, dtype=torch.bool), one)
    return pytree.tree_unflatten(
        [_apart(a, b) if isinstance(a, Tensor) else a for a, b in zip(leaves, others, strict=True)],
        layout,
    )


def _apart(one: Tensor, other: Any) -> Tensor:
    if not isinstance(other, Tensor) or one.shape != other.shape or one.dtype != other.dtype:
        return torch.ones_like(one, dtype=torch.bool)
    if not one.is_floating_point():
        return one != other
    a, b = one.double(), other.double()
    finite = a[a.isfinite()].abs()
    largest = float(finite.max()) if finite.numel() else 0.0
    far = (a - b).abs() > ROUNDINGS * torch.finfo(one.dtype).eps * largest
    broken = ~(a.isfinite() & b.isfinite())
    same = (a == b) | (a.isnan() & b.isnan())
    return (far | broken) & ~same


def _either(one: Any, other: Any) -> Any:
    """Where either differs."""
    leaves, layout = pytree.tree_flatten(one)
    others = pytree.tree_leaves(other)
    joined = [a | b if isinstance(a, Tensor) else a for a, b in zip(leaves, others, strict=True)]
    return pytree.tree_unflatten(joined, layout)


def _values(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Everything that a module keeps, by path."""
    for path, part in module.named_modules():
        prefix = f"{path}." if path else ""
        found: dict[str, Any] = dict(part.named_parameters(recurse=False))
        found |= dict(part.named_buffers(recurse=False)) | plain_attributes(part)
        yield f"{prefix}(kind)", type(part).__qualname__
        for name, value in found.items():
            yield prefix + name, value


def _differences(one: nn.Module, other: nn.Module) -> list[str]:
    """Paths of what two modules do not both keep with equal values."""
    a, b = dict(_values(one)), dict(_values(other))
    return [
        name
        for name in dict.fromkeys([*a, *b])
        if name not in a or name not in b or not _same(a[name], b[name])
    ]


def _same(one: Any, other: Any) -> bool:
    leaves, layout = pytree.tree_flatten(one)
    others, again = pytree.tree_flatten(other)
    return layout == again and all(map(_same_leaf, leaves, others))


def _same_leaf(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        return bool(torch.equal(one.detach().nan_to_num(), other.detach().nan_to_num()))
    if isinstance(one, bool | int | float | complex | str | bytes | None):
        return type(one) is type(other) and (one == other or one != one)
    return type(one) is type(other)  # other objects cannot be compared


def _given_back(module: nn.Module, fresh: nn.Module, names: set[str]) -> nn.Module | None:
    """A module with what it keeps of one input as it was before; None if its layers changed."""
    if any(name.endswith("(kind)") for name in names):
        return None
    before = own_copy(fresh)
    for name in names:
        path, _, own = name.rpartition(".")
        part, source = module.get_submodule(path), before.get_submodule(path)
        for keeps in ("_parameters", "_buffers", "__dict__"):
            now, earlier = getattr(part, keeps), getattr(source, keeps)
            now.pop(own, None)
            now.update({own: earlier[own]} if own in earlier else {})
    return module
