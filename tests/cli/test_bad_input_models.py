"""A model that cannot be used ends with code 4 and one line that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from tests.cli.refusals import refused
from tests.commands import gigafcn

if TYPE_CHECKING:
    from pathlib import Path


def refused_model(spec: str, folder: Path, *more: str) -> str:
    """The line with which a model is refused."""
    return refused(4, "infer", "slide.tif", "-m", spec, *more, cwd=folder)


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("nosuch", "no model 'nosuch': not a bundled name and no such file"),
        ("nosuch.safetensors", "no model file nosuch.safetensors"),
        ("nosuch.py:make", "no model file nosuch.py"),
        ("no.such.package:make", "cannot import no.such.package"),
        ("torch.nn:NoSuchNet", "torch.nn has no callable named 'NoSuchNet'"),
    ],
)
def test_a_missing_model_is_refused(spec: str, what: str, folder: Path) -> None:
    assert what in refused_model(spec, folder)


@pytest.mark.parametrize("name", ["net.h5", "net.tflite", "net"])
def test_a_model_file_of_another_kind_is_refused_with_the_kinds_there_are(
    name: str, folder: Path
) -> None:
    (folder / name).write_bytes(b"weights")
    message = refused_model(name, folder)
    assert f"model {name} is a file of a kind that is not read" in message
    assert "give a bundled name (demonstration), a .safetensors checkpoint" in message
    assert "TorchScript (.pt, .ts), ONNX (.onnx) or a WSInfer folder" in message


def test_a_folder_is_no_model(folder: Path) -> None:
    (folder / "nets").mkdir()
    assert "model nets is a directory" in refused_model("nets", folder)


def test_a_damaged_checkpoint_is_refused(folder: Path) -> None:
    (folder / "net.safetensors").write_bytes(b"\x07weights")
    message = refused_model("net.safetensors", folder)
    assert message.startswith("model file net.safetensors holds no weights of the demonstration")


def test_weights_of_another_net_are_refused(folder: Path) -> None:
    save_file({"head.weight": torch.zeros(3)}, folder / "net.safetensors")
    message = refused_model("net.safetensors", folder)
    assert message.startswith("model file net.safetensors holds no weights of the demonstration")


def test_a_python_file_runs_only_when_it_is_trusted(folder: Path) -> None:
    (folder / "evil.py").write_text("open('ran', 'w').close()\n")
    message = refused_model("evil.py:make", folder)
    assert message.startswith(
        "model file evil.py is Python code, which can do anything when loaded; "
        "pass --trust (trust=True) if you trust it, or --sha256 "
    )
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("no_module", "no_module() returned int, no torch module"),
        ("broken", "broken() raised RuntimeError: no weights here"),
        ("nosuch", "nets.py has no callable named 'nosuch'"),
    ],
)
def test_a_factory_that_makes_no_model_is_refused(name: str, what: str, folder: Path) -> None:
    assert what in refused_model(f"nets.py:{name}", folder, "--trust")


def test_a_python_file_that_fails_is_refused(folder: Path) -> None:
    (folder / "bad.py").write_text("import nosuchpackage\n")
    message = refused_model("bad.py:make", folder, "--trust")
    assert message.startswith("model file bad.py failed: ModuleNotFoundError: No module named")


def test_an_op_without_a_rule_is_refused_with_layer_op_and_reason(folder: Path) -> None:
    message = refused_model("nets.py:cumulative", folder, "--trust")
    # Layer 1 of the Sequential.
    assert message.startswith(
        "tiling this model cannot be exact: 1: aten.cummax.default: no footprint rule covers this"
    )


def test_a_norm_over_the_whole_image_is_refused_with_layer_op_and_reason(folder: Path) -> None:
    message = refused_model("nets.py:normed", folder, "--trust")
    assert "instance_norm" in message
    assert "whole image" in message


def test_plan_refuses_a_model_as_infer_does(folder: Path) -> None:
    message = refused(4, "plan", "slide.tif", "-m", "nosuch", cwd=folder)
    assert message.startswith("no model 'nosuch'")


def test_inspect_shows_what_blocks_a_model_and_that_is_no_failure(folder: Path) -> None:
    ended = gigafcn("inspect", "nets.py:normed", "--trust", cwd=folder)
    assert (ended.code, ended.err) == (0, "")
    assert "exact tiling" in ended.out
    assert "not local: " in ended.out
    assert "instance_norm" in ended.out


def test_inspect_refuses_what_is_no_model(folder: Path) -> None:
    assert "no model 'nosuch'" in refused(4, "inspect", "nosuch", cwd=folder)
