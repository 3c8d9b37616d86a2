"""What can go wrong, as one small family of errors.

Every error that gigafcn raises on purpose derives from :class:`GigafcnError` and from the
builtin a Python user would expect.  ``exit_code`` is what the command line returns for it.
A message is one line: what failed, where, the value with its unit, the limit, the remedy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class GigafcnError(Exception):
    """Base of all errors raised by gigafcn."""

    exit_code: ClassVar[int] = 5


class UsageError(GigafcnError, ValueError):
    """The request itself cannot be carried out: bad option, output exists, budget too small."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """One possible answer to a question that only the user can answer."""

    option: str
    """Keyword of :func:`gigafcn.infer` that gives it, such as ``activation``."""

    value: str
    """Its value, as on the command line, such as ``softmax``; "" for a switch."""

    meaning: str
    """What follows from it, in a few words."""

    @property
    def flag(self) -> str:
        """The flag of the command line, such as ``--output-name``."""
        return "--" + self.option.replace("_", "-")


class QuestionError(UsageError):
    """Several answers are possible and none may be taken in silence; nothing was begun.

    Parameters
    ----------
    question
        What is open, and the values that leave it open, without a full stop.
    answers
        The possible ones, the likeliest first.  The command line prints the complete command
        for each.
    """

    def __init__(self, question: str, answers: Sequence[Answer]) -> None:
        self.question, self.answers = question, tuple(answers)
        ways = "; ".join(
            " ".join(filter(None, (one.flag, one.value))) + f" ({one.meaning})" for one in answers
        )
        super().__init__(f"{question}; say which: {ways}")

    def __reduce__(self) -> tuple[type[QuestionError], tuple[str, tuple[Answer, ...]]]:
        """Travel between processes with its answers."""
        return type(self), (self.question, self.answers)


class SlideError(GigafcnError, OSError):
    """The input image cannot be opened or does not fit the model."""

    exit_code: ClassVar[int] = 3


class ModelError(GigafcnError, ValueError):
    """The model is missing, of the wrong kind, or not trusted."""

    exit_code: ClassVar[int] = 4


class UnsteadyError(ModelError):
    """The model answers the same pixels differently from call to call: no map is its own."""


class NonLocalError(ModelError):
    """Tiling this model cannot be exact; the message names layer, op and reason."""


class CertificateError(ModelError):
    """A check on the user's own model showed that maps would not be exact; names its figures."""


class RunError(GigafcnError, RuntimeError):
    """The run failed while computing, reading or writing."""

    exit_code: ClassVar[int] = 5


class WorkersDied(RunError):
    """A tile was given up: worker processes die of it, whoever computes it."""


class UnreadableError(RunError):
    """Part of the slide cannot be read, and the run was asked to stop at that."""


class StorageError(RunError):
    """The disk or store refuses to take the map; the next tile would fare no better."""


class Preempted(GigafcnError, RuntimeError):
    """SIGTERM arrived; the run stopped in good order."""

    exit_code: ClassVar[int] = 75
