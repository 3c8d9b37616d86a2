"""Which ops draw random numbers, and in which layer?

A map of a module that draws would be another one each time.  Ops that draw only in training, or
with a probability that is 0, do not.
"""

from __future__ import annotations

import random
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

UNTAGGED = frozenset(
    {"rrelu", "feature_dropout", "feature_alpha_dropout", "binomial", "_sample_dirichlet"}
)
"""Ops that draw although torch does not mark them so."""

MODES = ("train", "training")
CHANCES = ("p", "dropout_p", "dropout")
"""Arguments that switch drawing off when they are False or 0."""

DRAWS = "draws random numbers"
"""Reason of a blocker."""

TORCHS = "torch's random generator"
PYTHONS = "Python's random"
GENERATORS = (TORCHS, PYTHONS, "numpy.random")
CONFIRMED = 3
"""Times that a call is repeated to see that it is the one that draws."""

MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Draw:
    """An op that drew, or a generator that was drawn from by something that torch does not show."""

    op: str
    layer: str | None = None
    """Path; "" is the model's own forward, None not known."""

    def __str__(self) -> str:
        return self.op if self.layer is None else f"{self.op} in {self.layer or 'its own forward'}"


def draws(target: Any, args: Iterable[Any], kwargs: dict[str, Any]) -> bool:
    """Whether a call of an ATen op draws random numbers."""
    tags, schema = getattr(target, "tags", ()), getattr(target, "_schema", None)
    if schema is None:
        return False
    packet = schema.name.partition("::")[2].removesuffix("_")
    if torch.Tag.nondeterministic_seeded not in tags and packet not in UNTAGGED:
        return False
    given = {a.name: a.default_value for a in schema.arguments}
    given |= dict(zip(given, args, strict=False)) | kwargs
    if any(given.get(name, True) is False for name in MODES):
        return False
    # Of bernoulli, p is no chance to be left out but what is drawn.
    chances = () if packet.startswith(("bernoulli", "geometric")) else CHANCES
    return not any(name in given and given[name] == 0 for name in chances)


def plain_name(target: Any) -> str:
    """An ATen overload as its users write it, such as ``randn``."""
    return str(target).removeprefix("aten.").split(".")[0].removesuffix("_")


def listed(found: Iterable[Draw]) -> str:
    """Some of them for a message."""
    names = list(dict.fromkeys(map(str, found)))
    return ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")


class _Functions(TorchFunctionMode):
    """Notes the function of torch that the user's code is in, such as ``dropout``."""

    def __init__(self) -> None:
        super().__init__()
        self.current = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.current = getattr(func, "__name__", "").removesuffix("_")
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.current = ""


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of its base
    """Notes the ops of a module's call that draw, and in which layer."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of its base
        self.found: list[Draw] = []
        self._layers: list[str] = []
        self._hooks: list[Any] = []
        self._module = module
        self._functions = _Functions()

    def __enter__(self) -> Watch:
        for name, part in self._module.named_modules():
            if not isinstance(part, torch.jit.ScriptModule):
                self._hooks += [
                    part.register_forward_pre_hook(self._entering(name)),
                    part.register_forward_hook(self._leaving, always_call=True),
                ]
        self._functions.__enter__()  # type: ignore[no-untyped-call]  # of its base
        super().__enter__()  # type: ignore[no-untyped-call]  # of its base
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # of its base
        self._functions.__exit__(*error)  # type: ignore[no-untyped-call]  # of its base
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if draws(func, args, kwargs or {}):
            layer = self._layers[-1] if self._layers else ""
            self.found.append(Draw(self._functions.current or plain_name(func), layer))
        return func(*args, **(kwargs or {}))

    def _entering(self, name: str) -> Callable[..., None]:
        return lambda *_: self._layers.append(name)

    def _leaving(self, *_: Any) -> None:
        self._layers.pop()


def hidden_draws(call: Callable[[], Any]) -> list[Draw]:
    """Generators of the process that a call draws from, as far as they are known.

    Other threads may draw meanwhile.  So the call is repeated from the same states where one has
    changed: what the call itself draws leads to the same states each time.  Of Python's generator,
    which others use often, this thread's own use is looked for.
    """
    before = _states()
    call()
    ends = [_comparable(_states())]
    if ends[0] == _comparable(before):
        return []
    for _ in range(CONFIRMED):
        _set(before)
        call()
        ends.append(_comparable(_states()))
    _set(before)
    pythons = _uses_random(call)
    return [
        Draw(name)
        for name, first, found in zip(
            GENERATORS, _comparable(before), zip(*ends, strict=True), strict=True
        )
        if (pythons if name == PYTHONS else first != found[0] and len(set(found)) == 1)
    ]


def _uses_random(call: Callable[[], Any]) -> bool:
    """Whether a call draws from one of Python's generators, in this thread."""
    found = False

    def look(frame: Any, event: str, function: Any) -> None:
        nonlocal found
        if event == "c_call" and isinstance(getattr(function, "__self__", None), random.Random):
            found = True

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(before)
    return found


@contextmanager
def generators_kept() -> Iterator[None]:
    """Leave the generators of the process as they are found."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    before = _states()
    try:
        yield
    finally:
        _set(before)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


def _states() -> tuple[Any, ...]:
    return torch.get_rng_state(), random.getstate(), np.random.get_state()


def _comparable(states: tuple[Any, ...]) -> tuple[Any, ...]:
    torchs, python, numpys = states
    return torchs.numpy().tobytes(), python, (numpys[1].tobytes(), numpys[2])


def _set(states: tuple[Any, ...]) -> None:
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])
