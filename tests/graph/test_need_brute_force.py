"""``need`` against the dependencies that torch's own ops show."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from gigafcn.graph import rules
from tests.graph.brute_force import check_need
from tests.graph.op_uses import USES


@pytest.mark.parametrize("rule", USES, ids=lambda rule: str(rule.__name__))
def test_need_is_what_the_op_truly_depends_on(rule: type[Any]) -> None:
    for use in USES[rule]:
        check_need(use)


def test_every_rule_class_has_uses() -> None:
    rooms = [room for room in vars(rules).values() if inspect.ismodule(room)]
    found = {c for room in rooms for c in vars(room).values() if hasattr(c, "need")}
    assert found - {rules.Rule} == set(USES)


@pytest.mark.parametrize("rule", USES, ids=lambda rule: str(rule.__name__))
def test_every_use_builds_the_rule_it_is_listed_under(rule: type[Any]) -> None:
    assert all(type(use.built().rule) is rule for use in USES[rule])
