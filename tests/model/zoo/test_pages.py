"""Do the pages about the zoo know every system, and do their links lead somewhere?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from gigafcn.model.zoo import ZOO

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = [*sorted((DOCS / "ideas").glob("*.md")), DOCS / "systems.md"]


@pytest.mark.parametrize("name", ZOO)
def test_the_table_of_systems_has_each_with_its_parameters(name: str) -> None:
    lines = [
        line
        for line in (DOCS / "systems.md").read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{name}` |")
    ]
    assert ZOO[name].what in lines[0], "run python -m benchmarks.systems --write"
    if ZOO[name].dense:
        with torch.device("meta"):
            parameters = sum(p.numel() for p in ZOO[name].make(1).parameters())
        assert f"| {parameters:,} |" in lines[1], "run python -m benchmarks.systems --write"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    found = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in found if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_system_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`(?:gigafcn \w+ )?zoo:(\w+)`", page.read_text(encoding="utf-8")))
    assert named <= set(ZOO)
