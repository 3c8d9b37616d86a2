"""Every way to give a model, from the command line to the map."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import torch
from torch import nn
from torch.export import Dim

from gigafcn.model.trust import sha256_of
from tests.cli.nets import tiny
from tests.cli.refusals import contents, refused
from tests.commands import Ended, gigafcn
from tests.model.canary import SingingScript, singing_checkpoint
from tests.model.onnx_files import write_onnx
from tests.model.paper import paper_net, write_lightning, write_paper
from tests.model.test_exported import export
from tests.model.test_model_file import EXAMPLES
from tests.model.test_torchscript import Branching, save
from tests.model.test_wsinfer import classifier, write_wsinfer
from tests.run.whole import run_whole, scores_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.run.whole import Array

FLOAT = ("--dtype", "float32")
ANY_SIZE = {2: Dim.AUTO, 3: Dim.AUTO}
PAPER = """
[model]
factory = "paper/build.py:build"
checkpoint = "paper/last.ckpt"
[model.arguments]
classes = 3
[input]
mpp = 0.5
mean = [0.5, 0.4, 0.3]
std = [0.2, 0.3, 0.2]
[output]
activation = "softmax"
classes = ["a", "b", "c"]
colours = ["FFFFFF", "E58AB4", "3B2A8C"]
"""


def mapped(folder: Path, spec: str, *words: str) -> tuple[Array, Ended]:
    """The map of the slide with a model, and what the command said."""
    done = gigafcn("infer", "slide.tif", "-m", spec, *FLOAT, *words, cwd=folder)
    assert done.code == 0, done.err
    return scores_of(folder / "slide.zarr"), done


def whole(module: nn.Module, folder: Path, activation: str = "softmax") -> Array:
    """The whole run of a module on the slide."""
    pixels = tifffile.imread(folder / "slide.tif")
    return run_whole(module, pixels, activation=activation, scale=1 / 255, dtype=torch.float32)


def close(found: Array, expected: Array) -> None:
    """Equal but for the order in which float32 sums are added."""
    np.testing.assert_allclose(found, expected, atol=2e-6)


class Normalised(nn.Module):
    """A net behind the normalisation that ``PAPER`` states."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        mean, std = (torch.tensor(n).view(3, 1, 1) for n in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.2)))
        scores: torch.Tensor = self.net((image - mean) / std)
        return scores


@pytest.fixture
def paper(folder: Path) -> nn.Module:
    """The net of a paper's repository beside the slide, with a checkpoint and a model file."""
    root = write_paper(folder)
    net = paper_net(root, 3)
    write_lightning(root / "last.ckpt", net)
    (folder / "model.toml").write_text(PAPER)
    return net


def test_a_paper_s_repository_is_mapped_exactly_through_its_model_file(
    folder: Path, paper: nn.Module
) -> None:
    found, done = mapped(folder, "model.toml", "--trust", "--tile", "256")
    close(found, whole(Normalised(paper), folder))
    assert "prefix 'model.'" in done.err
    assert "leaves open" not in done.err


@pytest.mark.dask
def test_worker_processes_load_the_model_file_too(folder: Path, paper: nn.Module) -> None:
    words = ("--trust", "--tile", "256", "--workers", "1")
    close(mapped(folder, "model.toml", *words)[0], whole(Normalised(paper), folder))


def test_options_override_what_the_model_file_says(folder: Path, paper: nn.Module) -> None:
    words = ("--trust", "--mean", "0", "--std", "1", "--activation", "sigmoid")
    close(mapped(folder, "model.toml", *words)[0], whole(paper, folder, activation="sigmoid"))


def test_a_repository_s_file_runs_without_a_model_file(folder: Path, paper: nn.Module) -> None:
    done = gigafcn("infer", "slide.tif", "-m", "paper/build.py:build", "--trust", cwd=folder)
    assert done.code == 0, done.err


def test_a_model_file_written_by_inspect_is_enough_and_what_is_open_is_named(folder: Path) -> None:
    words = ("--trust", "--write-config", "model.toml")
    written = gigafcn("inspect", "nets.py:tiny", *words, cwd=folder)
    assert (written.code, written.err) == (0, "")
    assert "wrote model.toml: fill in what is commented out, then --model model.toml" in written.out
    found, done = mapped(folder, "model.toml", "--trust")
    close(found, whole(tiny(), folder))
    assert (
        "gigafcn: warning: model.toml leaves open: input.mpp, input.mean, input.std, "
        "output.activation, output.classes, output.colours; see configs/models/" in done.err
    )


def test_what_options_say_is_not_named_as_open(folder: Path) -> None:
    gigafcn("inspect", "nets.py:tiny", "--trust", "--write-config", "model.toml", cwd=folder)
    words = ("--trust", "--mean", "0.5", "--classes", "a,b,c", "--activation", "softmax")
    assert (
        "leaves open: input.mpp, input.std, output.colours;"
        in mapped(folder, "model.toml", *words)[1].err
    )


def test_inspect_replaces_no_file(folder: Path) -> None:
    (folder / "model.toml").write_text("mine")
    words = ("inspect", "demonstration", "--write-config", "model.toml")
    assert "exists and is not replaced" in refused(2, *words, cwd=folder)


def test_an_exported_program_of_any_size_is_mapped_exactly(folder: Path) -> None:
    export(folder / "net.pt2", tiny().eval(), (1, 3, 32, 32), ANY_SIZE)
    digest = sha256_of(folder / "net.pt2")
    close(mapped(folder, "net.pt2", "--sha256", digest, "--tile", "256")[0], whole(tiny(), folder))


def test_an_exported_program_of_one_size_is_blended(folder: Path) -> None:
    export(folder / "net.pt2", nn.Conv2d(3, 2, 1).eval(), (1, 3, 64, 64))
    message = refused(4, "infer", "slide.tif", "-m", "net.pt2", "--trust", cwd=folder)
    assert "takes images of 64 x 64 px (y, x) only; for an exact map export it with" in message
    assert "--mode blend --window 64" in message
    found, _ = mapped(folder, "net.pt2", "--trust", "--mode", "blend")
    module = torch.export.load(folder / "net.pt2").module()
    weights = dict(module.state_dict())
    net = nn.Conv2d(3, 2, 1)
    net.load_state_dict(weights)
    close(found, whole(net, folder))  # a 1 x 1 convolution says the same in every window


def test_traced_torchscript_is_mapped_exactly(folder: Path) -> None:
    save(folder / "net.pt", tiny(), torch.zeros(1, 3, 32, 32))
    close(mapped(folder, "net.pt", "--trust", "--tile", "256")[0], whole(tiny(), folder))


def test_other_torchscript_is_blended(folder: Path) -> None:
    torch.manual_seed(0)
    net = Branching().eval()
    save(folder / "net.ts", net)
    message = refused(4, "infer", "slide.tif", "-m", "net.ts", "--trust", cwd=folder)
    assert "nothing can be proved about it; for an exact map export its torch module" in message
    found, _ = mapped(folder, "net.ts", "--trust", "--mode", "blend", "--window", "64")
    # Inside the first window, away from its edges, blending has not begun.
    expected = whole(net.layer, folder)
    close(found[:, 2:40, 2:40], expected[:, 2:40, 2:40])


def test_onnx_is_blended(folder: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype(np.float32)
    write_onnx(folder / "net.onnx", weights, ("b", 3, "y", "x"))
    words = ("--mode", "blend", "--window", "64")
    # Nothing shows what such a file gives.
    message = refused(2, "infer", "slide.tif", "-m", "net.onnx", *words, cwd=folder)
    assert "nothing proves what the output of model net is" in message
    found, _ = mapped(folder, "net.onnx", *words, "--activation", "softmax")
    net = nn.Conv2d(3, 2, 3, padding=1, bias=False)
    net.load_state_dict({"weight": torch.from_numpy(weights)})
    close(found[:, 2:40, 2:40], whole(net, folder)[:, 2:40, 2:40])


def test_a_wsinfer_folder_gives_one_score_for_each_patch(folder: Path) -> None:
    write_wsinfer(folder / "zoo")
    found, _ = mapped(folder, "zoo", "--trust", "--mode", "patch", "--slide-mpp", "0.25")
    pixels = torch.from_numpy(tifffile.imread(folder / "slide.tif")[36:72, 72:108]) / 255
    mean, std = torch.tensor([0.7, 0.6, 0.7]), torch.tensor([0.15, 0.2, 0.15])
    patch = ((pixels - mean) / std).permute(2, 0, 1).unsqueeze(0)
    resized = nn.functional.interpolate(patch, (24, 24), mode="bilinear", antialias=True)
    close(found[:, 1, 2], classifier()(resized).softmax(dim=1)[0].detach().numpy())


def test_the_example_of_a_repository_maps_a_slide(folder: Path, paper: nn.Module) -> None:
    write_lightning(folder / "paper" / "runs" / "epoch=99.ckpt", paper)
    shutil.copy(EXAMPLES / "repository.toml", folder)
    _, done = mapped(folder, "repository.toml", "--trust")
    assert "model SegNet of a paper" in done.out


def test_what_runs_code_is_refused_until_it_is_trusted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    save(folder / "evil.pt", SingingScript())
    singing_checkpoint(folder / "evil.ckpt", folder / "canary")
    export(folder / "net.pt2", tiny().eval(), (1, 3, 32, 32), ANY_SIZE)
    (folder / "model.toml").write_text(
        '[model]\nfactory = "torch.nn:Identity"\ncheckpoint = "evil.ckpt"\n'
    )
    (folder / "canary").unlink(missing_ok=True)  # saving the script ran it
    before = contents(folder)
    for spec, why in (
        ("evil.pt", "is TorchScript, a program that can write files"),
        ("net.pt2", "torch unpickles parts of it"),
        ("evil.ckpt", "unpickling that could run code"),
        ("model.toml", "unpickling that could run code"),
    ):
        assert why in refused(4, "infer", "slide.tif", "-m", spec, cwd=folder)
    assert contents(folder) == before


def test_names_of_classes_must_be_as_many_as_output_channels(
    folder: Path, paper: nn.Module
) -> None:
    text = PAPER.replace('"a", "b", "c"', '"a", "b"').replace('"FFFFFF", ', "")
    (folder / "model.toml").write_text(text)
    words = ("infer", "slide.tif", "-m", "model.toml", "--trust")
    message = gigafcn(*words, cwd=folder)
    assert message.code in (2, 4)
    assert "2 class names for a model with 3 output channels: a, b" in message.error


def test_a_checkpoint_of_another_architecture_is_refused(folder: Path, paper: nn.Module) -> None:
    (folder / "model.toml").write_text(PAPER.replace("classes = 3\n", "classes = 4\n", 1))
    message = gigafcn("infer", "slide.tif", "-m", "model.toml", "--trust", cwd=folder)
    assert message.code == 4
    assert "2 weights have other shapes: head.weight is (3, 4, 1, 1)" in message.error


def test_a_second_activation_is_refused_unless_forced(folder: Path) -> None:
    (folder / "ends.py").write_text(
        "from torch import nn\nimport nets\n\n"
        "def make():\n    return nn.Sequential(nets.tiny(), nn.Softmax(dim=1))\n"
    )
    words = ("infer", "slide.tif", "-m", "ends.py:make", "--trust", "--activation", "sigmoid")
    message = refused(2, *words, cwd=folder)
    assert "gives probabilities already (softmax in the model" in message
    assert "so --activation sigmoid would squash its scores twice" in message
    done = gigafcn(*words, *FLOAT, "--force-activation", cwd=folder)
    assert done.code == 0, done.err
    twice = whole(nn.Sequential(tiny(), nn.Softmax(dim=1)), folder, activation="sigmoid")
    close(scores_of(folder / "slide.zarr"), twice)


def test_inspect_says_what_keeps_a_file_from_being_mapped_exactly(folder: Path) -> None:
    save(folder / "net.ts", Branching().eval())
    done = gigafcn("inspect", "net.ts", "--trust", cwd=folder)
    assert (done.code, done.err) == (0, "")
    assert "not exact: model net (TorchScript) does not show" in done.out
    (event,) = gigafcn("inspect", "net.ts", "--trust", "--json", cwd=folder).events
    assert (event["local"], event["format"], event["window"]) == (False, "TorchScript", None)


def test_a_model_that_gives_no_map_gets_a_model_file_too(folder: Path) -> None:
    (folder / "patches.py").write_text(
        "from torch import nn\n\n\ndef make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 62 * 62, 2))\n"
    )
    words = ("--trust", "--size", "64", "--write-config", "model.toml")
    gigafcn("inspect", "patches.py:make", *words, cwd=folder)
    assert '# classes = ["class 0", "class 1"]  # 2 of them' in (folder / "model.toml").read_text()


@pytest.mark.dask
def test_a_model_that_is_another_one_each_time_is_refused_by_worker_processes(folder: Path) -> None:
    (folder / "dice.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Conv2d(3, 2, 3, padding=1)\n"
    )
    words = ("infer", "slide.tif", "-m", "dice.py:make", "--trust", "--workers", "1")
    done = gigafcn(*words, cwd=folder)
    assert done.code in (4, 5)
    assert "has other weights each time it is loaded" in done.error
