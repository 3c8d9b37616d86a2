"""Model files that are written load again, and leave to the author what only the author knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from torch import nn

from gigafcn.errors import UsageError
from gigafcn.model.describing import Derived, model_file_text, write_model_file
from gigafcn.model.loading import load_model
from tests.model.paper import forget, write_paper
from tests.model.test_exported import export
from tests.model.test_wsinfer import write_wsinfer

if TYPE_CHECKING:
    from pathlib import Path

DERIVED = Derived(channels=3, classes=2)


def test_what_is_written_loads_the_same_model(tmp_path: Path) -> None:
    path = export(tmp_path / "net.pt2", nn.Conv2d(3, 2, 3).eval(), (1, 3, 16, 16))
    loaded = load_model(path, trust=True)
    write_model_file(tmp_path / "model.toml", loaded, DERIVED)
    again = load_model(tmp_path / "model.toml", trust=True)
    assert (again.window, again.sha256, again.name) == ((16, 16), loaded.sha256, "net")
    assert again.weights_hash() == loaded.weights_hash()
    assert set(again.unset) >= {"input.mpp", "input.mean", "output.classes", "output.activation"}


def test_placeholders_are_complete_once_they_are_uncommented(tmp_path: Path) -> None:
    net = "gigafcn.model.demonstration:DemonstrationNet"
    text = model_file_text(load_model(net), Derived(channels=3, classes=3), tmp_path)
    keys = ("mpp", "mean", "std", "window", "activation", "classes", "colours")
    for key in keys:
        text = text.replace(f"# {key} = ", f"{key} = ")
    (tmp_path / "model.toml").write_text(text)
    found = load_model(tmp_path / "model.toml")
    assert found.unset == ()
    assert found.classes == ("class 0", "class 1", "class 2")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    write_wsinfer(tmp_path / "zoo")
    (tmp_path / "mine").mkdir()
    path = tmp_path / "mine" / "model.toml"
    write_model_file(path, load_model(tmp_path / "zoo", trust=True), DERIVED)
    assert 'file = "../zoo"' in path.read_text()
    assert load_model(path, trust=True).classes == ("notumor", "tumor")


def test_a_model_file_of_a_model_file_says_the_same_from_another_folder(tmp_path: Path) -> None:
    write_paper(tmp_path)
    first = tmp_path / "first.toml"
    first.write_text(
        '[model]\nfactory = "paper/models/wide.py:wide"\nroot = "paper"\n[input]\nmpp = 0.5\n'
    )
    (tmp_path / "mine").mkdir()
    second = tmp_path / "mine" / "second.toml"
    write_model_file(second, load_model(first, trust=True), DERIVED)
    again = load_model(second, trust=True)
    assert (again.mpp, type(again.module).__name__) == (0.5, "SegNet")
    forget("segnet", "models", "build")


def test_nothing_is_replaced_and_nothing_made_up(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not replaced"):
        write_model_file(tmp_path / "model.toml", load_model("demonstration"), DERIVED)
    assert (tmp_path / "model.toml").read_text() == "mine"
    with pytest.raises(UsageError, match="a module in memory has no source"):
        model_file_text(load_model(nn.Conv2d(3, 2, 3)), DERIVED, tmp_path)
