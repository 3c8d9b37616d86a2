"""Questions that only the user can answer come with the complete command for each answer."""

from __future__ import annotations

import pickle

from gigafcn.cli.answers import answered
from gigafcn.errors import Answer, QuestionError

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
