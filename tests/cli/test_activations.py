"""What a model's output is, for the person who typed no activation, in every mode and format."""

from __future__ import annotations

import shlex
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor, nn

from gigafcn.output import open_map
from tests.cli.refusals import refused
from tests.commands import gigafcn
from tests.run.whole import scores_of

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = '''"""Scores of four classes, and what comes after them."""
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, end):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.end = nn.Conv2d(3, 4, 1), end
        with torch.no_grad():
            self.conv.weight.mul_(12)

    def forward(self, image):
        scores = self.conv(image)
        if self.end == "cast":
            return scores.softmax(1).float()
        if self.end == "clamped":
            return scores.softmax(1).clamp(1e-6, 1 - 1e-6)
        if self.end == "written":
            return torch.exp(scores) / torch.exp(scores).sum(1, keepdim=True)
        if self.end == "log":
            return torch.log_softmax(scores, 1)
        if self.end == "odd":
            return scores * scores.sigmoid()
        return scores


class Patches(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 16, 16)

    def forward(self, image):
        return self.conv(image).mean((2, 3)).softmax(1).clamp(0, 1)


def cast(): return Net("cast").eval()
def clamped(): return Net("clamped").eval()
def written(): return Net("written").eval()
def log(): return Net("log").eval()
def odd(): return Net("odd").eval()
def patches(): return Patches().eval()
'''
FLOAT = ("--dtype", "float32", "-o", "m.zarr")


def load(name: str) -> nn.Module:
    """The module of one of these factories."""
    space: dict[str, object] = {}
    exec(SOURCE, space)
    net = space[name]()  # type: ignore[operator]  # it is a factory
    assert isinstance(net, nn.Module)
    return net


def pixels_of(folder: Path) -> Tensor:
    image = tifffile.imread(folder / "slide.tif").astype(np.float32) / 255
    return torch.from_numpy(image).permute(2, 0, 1)[None]


@pytest.fixture
def place(folder: Path) -> Path:
    """The folder with these nets in ends.py."""
    (folder / "ends.py").write_text(SOURCE)
    return folder


@pytest.mark.parametrize("name", ["cast", "clamped", "written", "log"])
def test_no_activation_is_applied_on_top_of_another(name: str, place: Path) -> None:
    ended = gigafcn("infer", "slide.tif", "-m", f"ends.py:{name}", "--trust", *FLOAT, cwd=place)
    assert ended.code == 0, ended.err
    with torch.no_grad():
        expected = load(name)(pixels_of(place))[0].numpy()
    expected = np.exp(expected) if name == "log" else expected
    # Sums of three products of up to 7, in single precision.
    np.testing.assert_allclose(scores_of(place / "m.zarr"), expected, atol=2e-5)
    assert open_map(place / "m.zarr").labels
    said = "activation exp (" if name == "log" else "activation none ("
    assert said in ended.out


@pytest.mark.parametrize("kind", ["script.pt", "program.pt2"])
def test_files_of_programs_are_followed_too(kind: str, place: Path) -> None:
    net = load("clamped")
    if kind == "script.pt":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # people have such files
            script = torch.jit.trace(net, torch.zeros(1, 3, 32, 32))  # type: ignore[no-untyped-call]
            torch.jit.save(script, place / kind)
    else:
        size = {2: torch.export.Dim("y", min=8), 3: torch.export.Dim("x", min=8)}
        program = torch.export.export(net, (torch.zeros(1, 3, 32, 40),), dynamic_shapes=(size,))
        torch.export.save(program, place / kind)
    ended = gigafcn("infer", "slide.tif", "-m", kind, "--trust", *FLOAT, cwd=place)
    assert ended.code == 0, ended.err
    with torch.no_grad():
        expected = net(pixels_of(place))[0].numpy()
    np.testing.assert_allclose(scores_of(place / "m.zarr"), expected, atol=2e-5)


def test_patches_that_give_probabilities_are_mapped_as_they_are(place: Path) -> None:
    words = ("--mode", "patch", "--window", "32", "--step", "32")
    ended = gigafcn(
        "infer", "slide.tif", "-m", "ends.py:patches", "--trust", *words, *FLOAT, cwd=place
    )
    assert ended.code == 0, ended.err
    found, image, net = scores_of(place / "m.zarr"), pixels_of(place), load("patches")
    for y, x in ((0, 0), (3, 5), (8, 12)):
        patch = image[:, :, 32 * y : 32 * y + 32, 32 * x : 32 * x + 32]
        with torch.no_grad():
            np.testing.assert_allclose(found[:, y, x], net(patch)[0].numpy(), atol=2e-6)


def test_where_nothing_proves_it_each_printed_command_gives_a_map(place: Path) -> None:
    words = ("infer", "slide.tif", "-m", "ends.py:odd", "--trust", *FLOAT)
    message = refused(2, *words, cwd=place)
    assert "nothing proves what the output of model" in message
    lines = gigafcn(*words, cwd=place).err.splitlines()
    commands = [line.split("gigafcn:   ")[1].split("  #")[0] for line in lines if ":   " in line]
    assert [shlex.split(command)[-1] for command in commands] == ["none", "softmax", "sigmoid"]
    for command in commands:
        done = gigafcn(*shlex.split(command)[1:], "--overwrite", cwd=place)
        assert done.code == 0, done.err
