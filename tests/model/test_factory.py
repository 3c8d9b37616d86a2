"""Factories: installed, in a file, in a paper's repository that is no package."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from gigafcn.errors import ModelError, UsageError
from gigafcn.model.factory import Factory, make_module, parse_factory
from gigafcn.model.loading import load_model
from gigafcn.model.trust import Trust, sha256_of
from tests.model.paper import forget, write_paper

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRUSTED = Trust(code=True)


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Path]:
    """The repository; what was imported from it is dropped in the end."""
    yield write_paper(tmp_path)
    forget("build", "settings", "segnet", "models", "utils", "wide")


def test_a_repository_that_is_no_package_imports_what_lies_beside_its_file(paper: Path) -> None:
    found = load_model(f"{paper}/build.py:build", trust=True)
    assert (type(found.module).__name__, found.channels) == ("SegNet", 3)


def test_a_file_within_a_package_may_import_relatively(paper: Path) -> None:
    net = make_module(Factory(f"{paper}/segnet/net.py", "SegNet", {"width": 3}), TRUSTED)
    assert net(torch.zeros(1, 3, 4, 4)).shape == (1, 2, 4, 4)


def test_a_stated_root_is_where_imports_start(paper: Path) -> None:
    wide = Factory(f"{paper}/models/wide.py", "wide", root=paper)
    assert make_module(wide, TRUSTED)(torch.zeros(1, 3, 4, 4)).shape == (1, 5, 4, 4)


def test_without_the_root_a_failed_import_says_what_to_state(paper: Path) -> None:
    with pytest.raises(ModelError, match="No module named 'segnet'; if that is part of the same"):
        load_model(f"{paper}/models/wide.py:wide", trust=True)


def test_a_file_outside_its_root_is_refused(paper: Path) -> None:
    with pytest.raises(ModelError, match="is not below its root"):
        make_module(Factory(f"{paper}/build.py", "build", root=paper / "segnet"), TRUSTED)


def test_the_import_path_is_put_back_whatever_the_repository_does_to_it(tmp_path: Path) -> None:
    (tmp_path / "rude.py").write_text("import sys\nsys.path.append('/nowhere')\nraise OSError\n")
    before = list(sys.path)
    with pytest.raises(ModelError, match=r"rude\.py failed: OSError"):
        load_model(f"{tmp_path}/rude.py:make", trust=True)
    assert sys.path == before


def test_two_repositories_may_use_the_same_names(tmp_path: Path) -> None:
    for name, channels in (("one", 3), ("two", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sizes.py").write_text(f"CHANNELS = {channels}\n")
        (tmp_path / name / "net.py").write_text(
            "import sizes\nfrom torch import nn\n\n"
            "def make():\n    return nn.Conv2d(sizes.CHANNELS, 2, 1)\n"
        )
    found = [load_model(f"{tmp_path}/{name}/net.py:make", trust=True) for name in ("one", "two")]
    assert [model.channels for model in found] == [3, 5]
    forget("sizes", "net")


def test_a_repository_does_not_hide_modules_from_the_rest_of_the_program(tmp_path: Path) -> None:
    import tests.model.canary as before

    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").write_text("CHANNELS = 4\n")
    (tmp_path / "own.py").write_text(
        "import tests\nfrom torch import nn\n\n"
        "def make():\n    return nn.Conv2d(tests.CHANNELS, 2, 1)\n"
    )
    assert load_model(f"{tmp_path}/own.py:make", trust=True).channels == 4
    assert sys.modules["tests.model.canary"] is before
    forget("own")


def test_a_python_file_does_not_run_before_it_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "evil.py"
    path.write_text(f"open({str(tmp_path / 'canary')!r}, 'w').close()\n")
    with pytest.raises(ModelError, match=r"is Python code.*--trust.*--sha256 " + sha256_of(path)):
        load_model(f"{path}:make")
    assert not (tmp_path / "canary").exists()


def test_its_sha256_is_as_good_as_trust_for_a_file_that_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "alone.py"
    path.write_text("from torch import nn\n\ndef make():\n    return nn.Conv2d(7, 2, 1)\n")
    assert load_model(f"{path}:make", sha256=sha256_of(path)).channels == 7
    forget("alone")


@pytest.mark.parametrize(
    ("file", "what"),
    [("build.py:build", "covers this file alone"), ("segnet/net.py:SegNet", "does not cover")],
)
def test_the_sha256_of_a_file_is_no_trust_in_those_beside_it(
    paper: Path, file: str, what: str
) -> None:
    digest = sha256_of(paper / file.partition(":")[0])
    with pytest.raises(ModelError, match=what):
        load_model(f"{paper}/{file}", sha256=digest)


def test_another_sha256_is_refused_even_if_trusted(paper: Path) -> None:
    with pytest.raises(ModelError, match="is not the file that was meant"):
        load_model(f"{paper}/build.py:build", trust=True, sha256="0" * 64)
    with pytest.raises(UsageError, match="64 hexadecimal digits, got 'abc'"):
        load_model(f"{paper}/build.py:build", sha256="abc")


def test_what_a_model_file_names_is_called_unasked_only_if_it_makes_modules(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "canary"
    evil = Factory("os", "mkdir", {"path": str(mark)}, named_by_file=True)
    with pytest.raises(ModelError, match="is no class of torch modules"):
        make_module(evil, Trust())
    assert not mark.exists()
    net = Factory("torch.nn", "Linear", {"in_features": 2, "out_features": 3}, named_by_file=True)
    assert isinstance(make_module(net, Trust()), nn.Linear)


def test_a_model_file_does_not_run_what_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lurking.py").write_text("open('canary', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    with pytest.raises(ModelError, match="cannot import lurking"):
        make_module(Factory("lurking", "Net", named_by_file=True), Trust())
    assert not (tmp_path / "canary").exists()


def test_wrong_arguments_say_where_arguments_go(paper: Path) -> None:
    with pytest.raises(ModelError, match=r"missing 1 required.*\[model\.arguments\]"):
        load_model(f"{paper}/segnet/net.py:SegNet", trust=True)


@pytest.mark.parametrize("text", ["nets.py", ":make", "nets.py:", "a:b c"])
def test_what_is_no_factory_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="is no factory; write"):
        parse_factory(text)


def test_a_module_in_training_mode_is_switched_and_said_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout2d(), nn.BatchNorm2d(2))
    with caplog.at_level("INFO"):
        assert not load_model(net.train()).module.training
    assert "was in training mode (BatchNorm2d, Dropout2d); it is run in eval mode" in caplog.text
