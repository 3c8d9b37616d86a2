"""Ops that overwrite a tensor, followed without copying the whole program.

A write such as ``relu_`` gives a new value to every name of the same memory.  Names of the whole
tensor are simply bound to the new value.  If a name of only a part of it (a slice, a permuted
view) is read later, or the write hits a parameter, this module does not follow it and asks for
the functional form of the program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gigafcn.graph.rules import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch.export import ExportedProgram

aten = torch.ops.aten

RETURNS_ITS_INPUT = (
    aten.dropout.default,
    aten.feature_dropout.default,
    aten.alpha_dropout.default,
    aten.feature_alpha_dropout.default,
)
"""Ops that in eval mode return the very tensor they are given, though export shows a new one."""


class NeedsFunctionalError(Exception):
    """The program writes into tensors in a way that only its functional form shows."""


def written_as_new(node: torch.fx.Node) -> Callable[..., Any]:
    """The op that returns what an overwriting op writes, e.g. ``relu`` for ``relu_``."""
    packet, _, overload = str(node.target).removeprefix("aten.").partition(".")
    twin = getattr(aten, packet.removesuffix("_"), None)
    found: Callable[..., Any] | None = getattr(twin, overload, None)
    if found is None or packet in ("copy_", "fill_", "index_put_", "resize_", "set_"):
        raise NeedsFunctionalError
    return found


class Memory:
    """Which names of an exported program share memory."""

    def __init__(self, program: ExportedProgram) -> None:
        order = {node.name: i for i, node in enumerate(program.graph.nodes)}
        self._order = order
        self._last_use = {
            node.name: max((order[user.name] for user in node.users), default=-1)
            for node in program.graph.nodes
        }
        self._names: dict[int, list[str]] = {}
        self._kept: set[int] = set()
        """Memory of parameters, buffers and other constants of the user's module."""

        self._same: dict[int, int] = {}
        """Memory that is another one's, by what export shows it as."""

    def add(self, node: torch.fx.Node) -> None:
        """Note what memory a node's results live in."""
        for storage in _storages(node.meta.get("val")):
            if node.target in RETURNS_ITS_INPUT:
                source = node.args[0]
                assert isinstance(source, torch.fx.Node)
                self._same[storage] = self._of(source)[0]
            memory = self._same.get(storage, storage)
            self._names.setdefault(memory, []).append(node.name)
            if node.op in ("placeholder", "get_attr"):
                self._kept.add(memory)

    def is_write(self, node: torch.fx.Node) -> bool:
        """Whether a node overwrites one of its arguments."""
        schema = getattr(node.target, "_schema", None)
        return bool(schema is not None and schema.is_mutable)

    def check_constant(self, node: torch.fx.Node) -> None:
        """Refuse a write into memory of the user's module."""
        target = node.args[0]
        if not isinstance(target, torch.fx.Node) or self._kept & set(self._of(target)):
            raise NeedsFunctionalError

    def overwritten(self, node: torch.fx.Node, known: Mapping[str, Any]) -> list[str]:
        """Names that have the new value after a write.

        Raises
        ------
        NeedsFunctionalError
            If a name of a part of the memory is read later.
        """
        target = node.args[0]
        assert isinstance(target, torch.fx.Node)
        written = known[target.name]
        names = [name for memory in self._of(target) for name in self._names[memory]]
        whole = []
        for name in names:
            if name == node.name:
                continue
            value = known.get(name)
            if isinstance(value, Value) and value.node == written.node:
                whole.append(name)
            elif self._last_use[name] > self._order[node.name]:
                raise NeedsFunctionalError
        return whole

    def _of(self, node: torch.fx.Node) -> list[int]:
        return [self._same.get(s, s) for s in _storages(node.meta.get("val"))]


def _storages(result: Any) -> list[int]:
    """Identity of the memory behind a node's result or results."""
    if isinstance(result, list | tuple):
        return [storage for item in result for storage in _storages(item)]
    if not isinstance(result, Tensor):
        return []
    return [result.untyped_storage()._cdata]
