"""Questions that only the user can answer come with the complete command for each answer."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from gigafcn.cli.answers import answered
from gigafcn.errors import Answer, QuestionError
from tests.commands import gigafcn

if TYPE_CHECKING:
    from pathlib import Path

SIGMOID = Answer("activation", "sigmoid", "each class by itself")
SOFTMAX = Answer("activation", "softmax", "classes exclude each other")


def test_an_answer_joins_the_command_that_was_typed() -> None:
    words = ["infer", "my slide.tif", "-m", "net.py:net"]
    assert answered(words, SIGMOID) == (
        "gigafcn infer 'my slide.tif' -m net.py:net --activation sigmoid"
    )


def test_an_answer_takes_the_place_of_an_earlier_one() -> None:
    for before in (["--activation", "softmax"], ["--activation=softmax"]):
        assert answered(["infer", *before, "a.tif"], SIGMOID) == (
            "gigafcn infer a.tif --activation sigmoid"
        )


def test_a_switch_answers_without_a_value() -> None:
    assert answered(["infer", "a.tif"], Answer("strict", "", "fail")) == (
        "gigafcn infer a.tif --strict"
    )


def test_a_question_names_every_answer_and_travels_between_processes() -> None:
    error = QuestionError("the output may be logits", [SIGMOID, SOFTMAX])
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.answers == (SIGMOID, SOFTMAX)
    assert "--activation sigmoid (each class by itself)" in str(error)


def test_a_model_of_two_maps_is_mapped_by_either_answer(folder: Path) -> None:
    words = ("infer", "slide.tif", "-m", "nets.py:two_maps", "--trust", "--no-verify")
    asked = gigafcn(*words, cwd=folder)
    assert (asked.code, asked.out) == (2, "")
    said, *answers = asked.err.splitlines()
    assert "2 tensors, coarse (1, 4, " in said
    assert [line.removeprefix("gigafcn:   ").partition("  #")[0] for line in answers] == [
        f"gigafcn {' '.join(words)} --output-name {name}" for name in ("coarse", "fine")
    ]
    assert not list(folder.glob("*.zarr"))
    done = gigafcn(*words, "--output-name", "coarse", cwd=folder)
    assert done.code == 0, done.err
