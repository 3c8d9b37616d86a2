"""Model files: the examples load, and what they cannot mean is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from monai.networks.nets.unet import UNet
from safetensors.torch import save_file
from torch import nn
from torch.export import Dim

from gigafcn.errors import ModelError
from gigafcn.model.demonstration import DemonstrationNet
from gigafcn.model.loading import LoadedModel, load_model
from gigafcn.model.trust import sha256_of
from tests.model.onnx_files import write_onnx
from tests.model.paper import forget, paper_net, write_lightning, write_paper
from tests.model.test_exported import export
from tests.model.test_torchscript import save
from tests.model.test_wsinfer import write_wsinfer

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parents[2] / "configs" / "models"
BUNDLED = '[model]\nbundled = "demonstration"\n'


def write_repository(folder: Path) -> None:
    """What ``repository.toml`` names."""
    root = write_paper(folder)
    write_lightning(root / "runs" / "epoch=99.ckpt", paper_net(root, 3))


def write_package(folder: Path) -> None:
    """What ``package.toml`` names."""
    net = UNet(2, 3, 2, channels=(16, 32, 64), strides=(2, 2), norm="batch")
    save_file(net.state_dict(), folder / "unet.safetensors")


def write_exported(folder: Path) -> None:
    """What ``exported.toml`` names."""
    sizes = {2: Dim.AUTO, 3: Dim.AUTO}
    export(folder / "net.pt2", nn.Conv2d(3, 1, 3, padding=1).eval(), (1, 3, 32, 32), sizes)


def write_torchscript(folder: Path) -> None:
    """What ``torchscript.toml`` names."""
    save(folder / "net.pt", nn.Conv2d(3, 2, 3, padding=1).eval(), torch.zeros(1, 3, 32, 32))


def write_plain_onnx(folder: Path) -> None:
    """What ``onnx.toml`` names."""
    write_onnx(folder / "net.onnx", np.ones((2, 3, 3, 3), np.float32), ("b", 3, "y", "x"))


WRITERS: dict[str, Callable[[Path], object]] = {
    "bundled": lambda folder: folder,
    "exported": write_exported,
    "onnx": write_plain_onnx,
    "package": write_package,
    "repository": write_repository,
    "torchscript": write_torchscript,
    "wsinfer": lambda folder: write_wsinfer(folder / "breast-tumor-resnet34"),
}


def loaded(folder: Path, text: str, *, trust: bool = False) -> LoadedModel:
    """What a model file of this text becomes."""
    (folder / "model.toml").write_text(text)
    return load_model(folder / "model.toml", trust=trust)


def test_there_is_an_example_of_each_kind() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.toml")} == set(WRITERS)


@pytest.mark.parametrize("name", WRITERS)
def test_every_example_loads_as_its_parts_say_and_leaves_little_open(
    name: str, tmp_path: Path
) -> None:
    WRITERS[name](tmp_path)
    shutil.copy(EXAMPLES / f"{name}.toml", tmp_path)
    found = load_model(tmp_path / f"{name}.toml", trust=True)
    size = found.window or (32, 32)
    with torch.inference_mode():
        scores = found.module(torch.zeros(1, found.channels or 3, *size))
    assert found.classes is not None
    assert found.colours is not None
    assert scores.shape[1] == len(found.classes) == len(found.colours)
    assert set(found.unset) <= {"input.mpp"}
    assert found.source == str(tmp_path / f"{name}.toml")
    forget("build", "settings", "segnet", "models", "utils")


def test_arguments_and_a_checkpoint_make_the_net_of_a_repository(tmp_path: Path) -> None:
    write_repository(tmp_path)
    shutil.copy(EXAMPLES / "repository.toml", tmp_path)
    found = load_model(tmp_path / "repository.toml", trust=True)
    forget("build", "settings", "segnet", "models", "utils")
    image = torch.rand(1, 3, 12, 12)
    assert torch.equal(found.module(image), paper_net(tmp_path / "paper", 3)(image))
    assert found.sha256 == sha256_of(tmp_path / "paper" / "runs" / "epoch=99.ckpt")


def test_a_checkpoint_with_more_in_it_needs_leave_from_the_file_or_the_caller(
    tmp_path: Path,
) -> None:
    write_package(tmp_path)
    shutil.copy(EXAMPLES / "package.toml", tmp_path)
    held = UNet(2, 3, 2, channels=(16, 32, 64), strides=(2, 2), norm="batch").state_dict()
    save_file(held | {"loss.weight": torch.ones(2)}, tmp_path / "unet.safetensors")
    with pytest.raises(ModelError, match=r"loss\.weight; pass --allow-unexpected"):
        load_model(tmp_path / "package.toml")
    load_model(tmp_path / "package.toml", allow_unexpected=True)


def test_what_is_left_open_is_listed(tmp_path: Path) -> None:
    text = '[model]\nfactory = "gigafcn.model.demonstration:DemonstrationNet"\n'
    found = loaded(tmp_path, text + "[input]\nmean = [0.5]\n[output]\nactivation = 'none'\n")
    assert found.unset == ("input.mpp", "input.std", "output.classes", "output.colours")
    assert (found.mean, found.activation) == ((0.5,), "none")


def test_what_the_file_says_wins_over_what_the_format_says(tmp_path: Path) -> None:
    found = loaded(tmp_path, BUNDLED + "[input]\nmpp = 0.4\nwindow = [64, 96]\n")
    assert (found.name, found.mpp, found.window) == ("demonstration", 0.4, (64, 96))
    assert found.classes == ("background", "tissue", "nuclei")


def test_new_class_names_do_not_keep_old_colours(tmp_path: Path) -> None:
    found = loaded(tmp_path, BUNDLED + '[output]\nclasses = ["a", "b", "c"]\n')
    assert (found.classes, found.colours) == (("a", "b", "c"), None)


def test_a_function_that_a_file_names_does_not_run_unasked(tmp_path: Path) -> None:
    mark = tmp_path / "canary"
    text = f'[model]\nfactory = "os:mkdir"\n[model.arguments]\npath = "{mark}"\n'
    with pytest.raises(ModelError, match="that a model file asks to call, which can do anything"):
        loaded(tmp_path, text)
    assert not mark.exists()


def test_a_sha256_in_the_file_pins_what_it_names_but_is_no_trust(tmp_path: Path) -> None:
    write_torchscript(tmp_path)
    pinned = '[model]\nfile = "net.pt"\nsha256 = "{}"\n'
    right = pinned.format(sha256_of(tmp_path / "net.pt"))
    with pytest.raises(ModelError, match="pass --trust"):
        loaded(tmp_path, right)
    assert loaded(tmp_path, right, trust=True).channels == 3
    with pytest.raises(ModelError, match="is not the file that was meant"):
        loaded(tmp_path, pinned.format("0" * 64), trust=True)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", r"has no table \[model\]; it is empty"),
        ("[infer]\ntile = 512\n", r"has no table \[model\]; .* pass it as --config"),
        ("[model\n", "not TOML"),
        ('[model]\nname = "a"\n', "give one of factory, file and bundled, got none"),
        (BUNDLED + 'file = "a.pt2"\n', "got file and bundled"),
        (BUNDLED + 'checkpoint = "a.pt"\n', "checkpoint goes with a factory"),
        ('[model]\nfactory = "a:b"\ncheckpoint_key = "c"\n', "checkpoint_key goes with a check"),
        (BUNDLED + "weights = 3\n", r"\[model\] weights: unknown key"),
        (BUNDLED + "[outputs]\nstep = 3\n", r"\[outputs\]: unknown table"),
        (BUNDLED + "[input]\nmpp = -1\n", r"\[input\] mpp: should be greater than 0, got -1"),
        (BUNDLED + '[input]\nmean = "x"\n', r"\[input\] mean: should be a valid tuple, got 'x'"),
        (BUNDLED + "[input]\nchannels = 3\nmean = [1, 2]\n", "mean has 2 numbers for 3 channels"),
        (BUNDLED + "[input]\nchannels = 4\n", r"\[input\] channels is 4, the model's is 3"),
        (BUNDLED + '[output]\nactivation = "tanh"\n', r"\[output\] activation: should be 'none'"),
        (BUNDLED + '[output]\nclasses = ["a"]\ncolours = []\n', "0 colours for 1 named classes"),
        (BUNDLED + '[output]\nclasses = ["a"]\ncolours = ["red"]\n', r"colours.*, got 'red'"),
        ('[model]\nbundled = "nosuch"\n', "no bundled model 'nosuch'; there are: demonstration"),
        ('[model]\nfile = "nosuch.pt2"\n', r"no model file .*nosuch\.pt2"),
        ('[model]\nfactory = "torch.nn:Identity"\ncheckpoint = "a.pt"\n', "no checkpoint .*a.pt"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(text: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=what):
        loaded(tmp_path, text)


def test_a_window_other_than_the_model_s_only_one_is_refused(tmp_path: Path) -> None:
    export(tmp_path / "net.pt2", nn.Conv2d(3, 1, 3).eval(), (1, 3, 32, 32))
    text = '[model]\nfile = "net.pt2"\n[input]\nwindow = 64\n'
    with pytest.raises(ModelError, match=r"window is \(64, 64\), the model's is \(32, 32\)"):
        loaded(tmp_path, text, trust=True)


def test_a_missing_model_file_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no model file nosuch\.toml"):
        load_model("nosuch.toml")


def test_the_demonstration_net_is_a_factory_too(tmp_path: Path) -> None:
    text = '[model]\nfactory = "gigafcn.model.demonstration:DemonstrationNet"\n'
    found = loaded(tmp_path, text + "[model.arguments]\nclasses = 5\n")
    assert isinstance(found.module, DemonstrationNet)
    assert found.module.head.out_channels == 5
