"""Which commands answer a question that a run asks before it begins?

A :class:`~gigafcn.errors.QuestionError` names an option and its possible values.  The user gets
the command that was typed with each of them, ready to be typed again.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextvars import ContextVar

from gigafcn.errors import Answer, QuestionError

TYPED: ContextVar[tuple[str, ...]] = ContextVar("TYPED", default=())
"""Words of the command that runs, after the program's name."""


def show_answers(error: BaseException) -> None:
    """Write the complete command for each possible answer, one a line."""
    if isinstance(error, QuestionError):
        for answer in error.answers:
            sys.stderr.write(f"gigafcn:   {answered(TYPED.get(), answer)}  # {answer.meaning}\n")


def answered(words: Sequence[str], answer: Answer) -> str:
    """The same command with an answer in place of whatever it said before.

    Examples
    --------
    >>> answered(["infer", "a b.tif", "--save=labels"], Answer("save", "both", "all"))
    "gigafcn infer 'a b.tif' --save both"
    """
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == answer.flag:
            skip = bool(answer.value)
        elif not word.startswith(f"{answer.flag}="):
            kept.append(word)
    told = [answer.flag, answer.value] if answer.value else [answer.flag]
    return shlex.join(["gigafcn", *kept, *told])
