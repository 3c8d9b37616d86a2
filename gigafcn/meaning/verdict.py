"""What a model's output is, as far as its ops prove it, and what that says of the map.

Bounds and sums hold for every input, so they are proof.  An answer on noise can refute them, and
then nothing counts as known; it never confirms anything, since distances lie in 0..1 too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from gigafcn.meaning.following import Followed
    from gigafcn.meaning.values import Total, Values

SLACK = 1e-2
"""Largest difference from 1 of what adds up to it: guards such as 1e-6, and half precision."""

Kind = Literal["exclusive", "incomplete", "independent", "logits", "other", "unknown"]
"""Probabilities of classes that exclude each other; of some of such classes; of classes by
themselves; logits; something that is neither; or nobody knows."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an output is."""

    kind: Kind
    why: str
    """In a few words, such as "softmax in the model, then clamp"."""

    own: str = ""
    """"softmax" or "sigmoid" if the model applies one itself, and the output still shows it."""

    logarithms: bool = False
    """Whether these are logarithms of such probabilities."""

    bounded: bool = False
    """Whether all values, or their exponentials, lie in 0..1."""

    refusal: str = ""
    """Why it is no scores of classes at all."""


def meaning_of(found: Followed) -> Meaning:
    """What an output (b, c, y, x), or (b, c), is."""
    values = found.values
    shown = values.log or values
    why = _told(shown, logarithms=values.log is not None)
    along = shown.total.dim if shown.total is not None else shown.along
    if shown.activation == "softmax" and isinstance(along, int) and along != 1:
        axis = {0: "the batch", 2: "y", 3: "x"}.get(along, f"dimension {along}")
        return Meaning("unknown", why, "softmax", refusal=f"softmax runs along {axis}, not along "
                       f"the channels, so its values are no scores of classes")  # fmt: skip
    if values.nature in ("logits", "unknown"):
        return Meaning(values.nature, why)
    if values.nature == "image":
        return Meaning("other", why)
    bounded = shown.in_unit()
    refuted = bounded and _outside(found.output, logarithms=values.log is not None)
    if refuted:
        return Meaning("unknown", f"{why}, and yet values lie outside 0..1")
    kind = _kind(shown, bounded=bounded) if values.nature == "scores" else "other"
    return Meaning(kind, why, shown.activation, values.log is not None, bounded)


def _kind(shown: Values, *, bounded: bool) -> Kind:
    total = shown.total
    if total is not None and total.dim == 1 and shown.activation:
        if total.bounds[0] >= 1 - SLACK and total.bounds[1] <= 1 + SLACK:
            return "exclusive" if shown.shape[1] > 1 else "other"
        if bounded and total.bounds[1] <= 1 + SLACK and _is_part(total):
            return "incomplete"
    return "independent" if bounded and shown.activation else "other"


def _is_part(total: Total) -> bool:
    """Whether classes are missing, rather than parts of each class."""
    return total.whole is not None and len(total.members) < total.count


def _outside(output: Tensor, *, logarithms: bool) -> bool:
    """Whether an answer refutes that all lie in 0..1."""
    shown = output.double().exp() if logarithms else output.double()
    if not shown.numel() or bool(shown.isnan().any()):
        return False
    return bool(shown.min() < -SLACK) or bool(shown.max() > 1 + SLACK)


def _told(shown: Values, *, logarithms: bool) -> str:
    made = shown.made or "an op that is not known"
    if shown.activation and made in ("softmax", "sigmoid", "log_softmax", "logsigmoid"):
        made += " in the model"
    through = f", then {', '.join(shown.through)}" if shown.through else ""
    return f"{'logarithms: ' if logarithms and 'log' not in made else ''}{made}{through}"
