"""Which of a model's outputs is the map?

A model may return a tensor, or tuples, lists, dicts and dataclasses of tensors, nested at will.
Every tensor that depends on the image gets a name, the path to it: "1", "out", "heads.nuclei.0".
One that is asked for by name or index is taken; without being asked, the last one is, provided
that all have one shape.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.export.graph_signature import OutputKind
from torch.utils import _pytree as pytree

from gigafcn.errors import ModelError
from gigafcn.graph.rules import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.export import ExportedProgram

log = logging.getLogger(__name__)

ONLY = "output"
"""Name of the output of a model that returns one tensor."""


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor that a model returns."""

    name: str
    """Path to it in what the model returns, dotted."""

    value: Value


def named_outputs(program: ExportedProgram, returned: Sequence[Any]) -> tuple[Output, ...]:
    """The image-dependent tensors among what a model returns, in order.

    Parameters
    ----------
    returned
        What the output node's arguments mean, one per output of the program.
    """
    specs = program.graph_signature.output_specs
    leaves = [
        item
        for item, spec in zip(returned, specs, strict=True)
        if spec.kind is OutputKind.USER_OUTPUT
    ]
    layout = program.call_spec.out_spec
    assert layout is not None
    nested = pytree.tree_unflatten(list(range(len(leaves))), layout)
    paths, _ = pytree.tree_flatten_with_path(nested)
    return tuple(
        Output(".".join(_step(key) for key in path) or ONLY, leaves[position])
        for path, position in paths
        if isinstance(leaves[position], Value)
    )


def _step(key: Any) -> str:
    """One step of a path: an index, a dict key or a field's name."""
    for name in ("idx", "key", "name"):
        if hasattr(key, name):
            return str(getattr(key, name))
    return str(key)


def chosen_output(outputs: Sequence[Output], asked: str | int | None) -> Output:
    """The output asked for, or the last if all have one shape.

    Raises
    ------
    ModelError
        If there is none, or none of that name or index, or several shapes to choose from.
    """
    if not outputs:
        raise ModelError("the model must return a map, it returns none that depends on the image")
    if asked is not None:
        return _asked(outputs, asked)
    if len({output.value.shape for output in outputs}) > 1:
        raise ModelError(
            f"the model returns {len(outputs)} tensors of different shapes: {listed(outputs)}; "
            f"say which one is the map with --output-name NAME|INDEX (output_name in Python)"
        )
    if len(outputs) > 1:
        log.info("the model returns %s; taking the last, %r", listed(outputs), outputs[-1].name)
    return outputs[-1]


def _asked(outputs: Sequence[Output], asked: str | int) -> Output:
    for output in outputs:
        if output.name == str(asked):
            return output
    try:
        return outputs[int(asked)]
    except (ValueError, IndexError):
        raise ModelError(
            f"the model has no output {asked!r}; it returns {listed(outputs)}"
        ) from None


def listed(outputs: Sequence[Output]) -> str:
    """Names and shapes for a message."""
    return ", ".join(f"{output.name} {output.value.shape}" for output in outputs)
