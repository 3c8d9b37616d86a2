"""Is this the model, and are these the rules, that were tried before?

A fingerprint covers the ops of a graph with all their numbers but those that follow from the
image's size.  The rules are known by their source, so that a change of gigafcn asks anew.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gigafcn.graph.model_graph import ModelGraph

SIZED = {"grid", "out_grid", "shape"}
"""Fields of rules that follow from the image's size."""

RULE_ROOMS = ("graph", "engine", "plan", "certificate")


def graph_fingerprint(graph: ModelGraph) -> str:
    """Sha256 over a graph's ops and weights, the same at any image size."""
    digest = hashlib.sha256()
    for node in graph.nodes:
        digest.update(repr((node.op, node.inputs, node.axes, node.channels)).encode())
        for part in _parts(node.rule):
            digest.update(part)
    digest.update(str(graph.output).encode())
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().flatten()
        yield repr((value.dtype, tuple(value.shape))).encode()
        yield flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    elif is_dataclass(value) and not isinstance(value, type):
        yield type(value).__qualname__.encode()
        for field in fields(value):
            if field.name not in SIZED:
                yield field.name.encode()
                yield from _parts(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _parts(item)
    elif isinstance(value, FunctionType):
        yield f"{value.__module__}.{value.__qualname__}".encode()  # its repr holds an address
    else:
        yield repr(value).encode()


@cache
def source_fingerprint() -> str:
    """Sha256 over the code that needs and sweeps are computed with."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for room in RULE_ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
