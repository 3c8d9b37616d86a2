"""Which activation turns a model's output into scores, and what these are then.

The user's word decides, by an option or in the model's file, except that an activation on top of
the model's own is refused.  Without it what the ops prove decides (:mod:`gigafcn.meaning`);
where they prove nothing, the user is asked.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gigafcn.errors import Answer, ModelError, QuestionError, UsageError

if TYPE_CHECKING:
    from gigafcn.meaning import Meaning
    from gigafcn.model.loading import LoadedModel
    from gigafcn.run.options import Options

log = logging.getLogger(__name__)

WAYS = (
    ("none", "its values are scores already, stored as they are"),
    ("softmax", "they are logits of classes that exclude each other"),
    ("sigmoid", "they are logits of classes by themselves"),
)


@dataclass(frozen=True, slots=True)
class Activation:
    """What is applied to a model's output, and what it gives."""

    name: str
    """"none", "sigmoid", "softmax", or "exp" for logarithms of probabilities."""

    exclusive: bool
    """Whether each pixel has a likeliest class."""

    rest: bool
    """Whether that may be none of the model's: its output lacks a class of a softmax."""

    bounded: bool
    """Whether scores lie in 0..1."""

    why: str
    """In a few words."""


def activation(model: LoadedModel, meaning: Meaning, classes: int, options: Options) -> Activation:
    """What to apply to a model's output.

    Raises
    ------
    UsageError
        If the model applies an activation already, and another was asked for but not forced.
    ModelError
        If its output is no scores of classes.
    QuestionError
        If nothing says what its output is.
    """
    said = model.activation if options.activation is None else options.activation
    forced = options.force_activation
    if meaning.refusal and not forced:
        raise ModelError(f"model {model.name}: {meaning.refusal}")
    _refuse_second(model, meaning, said, forced=forced)
    own = bool(meaning.own) and not meaning.refusal
    if said is not None and (options.activation is not None or forced or not own):
        found = _as_told(said, meaning, classes)
    else:
        found = _as_proved(model, meaning, classes)
    if said != found.name:  # who said so knows
        hint = "; change it with --activation" if meaning.kind == "logits" else ""
        log.info("activation: %s (%s)%s", found.name, found.why, hint)
    return found


def _as_told(said: str, meaning: Meaning, classes: int) -> Activation:
    """The user's word."""
    if said == "none" and meaning.kind not in ("unknown", "logits"):
        kept = meaning.kind in ("exclusive", "incomplete")
        rest = meaning.kind == "incomplete" and not meaning.logarithms
        exclusive = meaning.kind == "exclusive" or (kept and rest)
        bounded = meaning.bounded and not meaning.logarithms
        return Activation("none", exclusive, rest, bounded, f"as told; {meaning.why}")
    exclusive = classes > 1 and said != "sigmoid"
    return Activation(said, exclusive, False, said != "none", f"as told; {meaning.why}")


def _as_proved(model: LoadedModel, meaning: Meaning, classes: int) -> Activation:
    """What the ops prove."""
    kind = meaning.kind
    if kind == "unknown":
        raise QuestionError(
            f"nothing proves what the output of model {model.name} is: {meaning.why}",
            [Answer("activation", name, what) for name, what in WAYS],
        )
    if kind == "logits":
        name = "sigmoid" if classes == 1 else "softmax"
        return Activation(name, classes > 1, False, True, f"{classes} output channels")
    name = "exp" if meaning.logarithms else "none"
    what = meaning.why if meaning.own else f"no logits: {meaning.why}"
    exclusive, rest = kind in ("exclusive", "incomplete"), kind == "incomplete"
    return Activation(name, exclusive, rest, meaning.bounded, what)


def _refuse_second(model: LoadedModel, meaning: Meaning, said: str | None, *, forced: bool) -> None:
    """Refuse an activation on top of the model's own, but for the two that change nothing."""
    own = meaning.own
    undoes_log = meaning.logarithms and own == said == "softmax" and meaning.kind == "exclusive"
    if not own or said in (None, "none") or undoes_log or forced:
        return
    raise UsageError(
        f"model {model.name} gives probabilities already ({meaning.why}), so --activation {said} "
        f"would squash its scores twice; leave it out, or say none (or --force-activation if you "
        f"mean it)"
    )


def dtype(asked: str, found: Activation) -> str:
    """Type of the stored scores: of one byte only where they lie in 0..1."""
    if asked != "auto":
        return asked
    return "uint8" if found.bounded else "float32"
