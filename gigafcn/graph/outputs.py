"""Which of a model's outputs is the map?

A model may return a tensor, or tuples, lists, dicts and dataclasses of tensors, nested at will.
Every tensor that depends on the image gets a name, the path to it: "1", "out", "heads.nuclei.0".
One that is asked for by name or index is taken.  Without being asked, auxiliary heads, those of
deep supervision and what a network remembers are left out.  Of what remains, the only one is the
map, or the only one that is called so ("out", "logits", "masks").  Anything else
only the user knows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.export.graph_signature import OutputKind
from torch.utils import _pytree as pytree

from gigafcn.errors import Answer, ModelError, QuestionError
from gigafcn.graph.rules import Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.export import ExportedProgram

ONLY = "output"
"""Name of the output of a model that returns one tensor."""

MAPS = re.compile(
    r"(out|output|logit|pred|prediction|prob|probability|probabilities|score|mask|seg|segm"
    r"|segmentation|main|final|semantic)s?"
    r"|sem_seg|y_pred|y_hat|(seg|semantic|main)_(logits?|out|pred|probs?)"
)
"""What libraries call the map among several outputs: torchvision "out", transformers "logits",
segmentation_models_pytorch "masks", MMSegmentation "seg_logits", detectron2 "sem_seg"."""

SIDE = re.compile(
    r"(.*_)?(aux\w*|auxiliary\w*|deep|deep_?sup\w*|ds\d*|dsv?\d+|dsn\d*|side\d*|side_?out\w*)(_.*)?"
    r"|hidden_states?|attentions?|\w+_attentions|\w+_hidden_states?|last_hidden_state|features?"
    r"|feature_maps?|embeddings?|pooler_output|past_key_values|loss(es)?"
)
"""Steps to heads that serve training alone, and to what a network remembers of its layers."""

MOST_LISTED = 8
"""Outputs that a message names."""


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
        Output(path_name(path), leaves[position])
        for path, position in paths
        if isinstance(leaves[position], Value)
    )


def path_name(path: Sequence[Any]) -> str:
    """Name of a tensor by its path in what a model returns."""
    return ".".join(_step(key) for key in path) or ONLY


def _step(key: Any) -> str:
    """One step of a path: an index, a dict key or a field's name."""
    for name in ("idx", "key", "name"):
        if hasattr(key, name):
            return str(getattr(key, name))
    return str(key)


def chosen_output(outputs: Sequence[Output], asked: str | int | None) -> Output:
    """The output asked for, or the one that is the map.

    Raises
    ------
    ModelError
        If there is none, or none of that name or index.
    QuestionError
        If several may be the map.
    """
    if not outputs:
        raise ModelError("the model must return a map, it returns none that depends on the image")
    shapes = {output.name: output.value.shape for output in outputs}
    name = mapped_name(shapes, asked)
    return next(output for output in outputs if output.name == name)


def mapped_name(shapes: Mapping[str, tuple[int, ...]], asked: str | int | None) -> str:
    """Name of the output that is the map.

    Parameters
    ----------
    shapes
        Of all outputs, by name.
    asked
        Name or index, a name before an index; None decides by the names.

    Raises
    ------
    ModelError
        If there is none of that name or index.
    QuestionError
        If several may be the map.

    Examples
    --------
    >>> mapped_name({"out": (1, 2, 8, 8), "aux": (1, 2, 8, 8)}, None)
    'out'
    """
    names = list(shapes)
    if asked is not None:
        return _asked(shapes, asked)
    heads = [name for name in names if not _is_side(name)]
    called = [name for name in heads if MAPS.fullmatch(name.rpartition(".")[2].lower())]
    called = called or [name for name in heads if MAPS.fullmatch(name.partition(".")[0].lower())]
    for found in (heads, called):
        if len(found) == 1:
            return found[0]
    possible = (called or heads or names)[:MOST_LISTED]
    raise QuestionError(
        f"the model returns {len(names)} tensors, {listed(shapes)}, and nothing says which is the "
        f"map",
        [Answer("output_name", name, f"the map is {name} {shapes[name]}") for name in possible],
    )


def _is_side(name: str) -> bool:
    return any(SIDE.fullmatch(step.lower()) for step in name.split("."))


def _asked(shapes: Mapping[str, tuple[int, ...]], asked: str | int) -> str:
    if str(asked) in shapes:
        return str(asked)
    try:
        return list(shapes)[int(asked)]
    except (ValueError, IndexError):
        raise ModelError(
            f"the model has no output {asked!r}; it returns {listed(shapes)}"
        ) from None


def listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Names and shapes for a message."""
    shown = [f"{name} {shape}" for name, shape in list(shapes.items())[:MOST_LISTED]]
    return ", ".join(shown) + (", ..." if len(shapes) > MOST_LISTED else "")
