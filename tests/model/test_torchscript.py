"""TorchScript: exact where it converts, on windows otherwise, and never run unasked."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from gigafcn.analysis import analyze
from gigafcn.errors import ModelError
from gigafcn.model.loading import load_model
from tests.model.canary import SingingScript, singing_checkpoint, with_member

if TYPE_CHECKING:
    from pathlib import Path


def net() -> nn.Module:
    """Convolutions down and up; halo 3 px."""
    torch.manual_seed(0)
    down = nn.Conv2d(5, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU()
    return nn.Sequential(*down, nn.ConvTranspose2d(4, 2, 2, stride=2)).eval()


class Branching(nn.Module):
    """Computes something else for large images."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.layer(image)
        if image.shape[2] > 100:
            scores = -scores
        return scores


def _traced(module: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    traced: torch.jit.ScriptModule = torch.jit.trace(module, example)  # type: ignore[no-untyped-call]
    return traced


def save(path: Path, module: nn.Module, example: Tensor | None = None) -> Path:
    """Write TorchScript: traced on an example, scripted without one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is deprecated
        script = torch.jit.script(module) if example is None else _traced(module, example)
        torch.jit.save(script, path)
    return path


def test_a_traced_net_converts_and_is_mapped_as_its_module_is(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt", net(), torch.zeros(1, 5, 32, 32))
    found = load_model(path, trust=True)
    assert (found.format, found.exportable, found.channels) == ("TorchScript, converted", True, 5)
    of_file, of_module = analyze(found.module, 5), analyze(net(), 5)
    assert of_file.blockers == ()
    assert (of_file.halo, of_file.period) == (of_module.halo, of_module.period)
    image = torch.rand(3, 5, 48, 80)
    torch.testing.assert_close(found.module(image), net()(image))


def test_a_script_that_looks_at_sizes_stays_what_it_is(tmp_path: Path) -> None:
    found = load_model(save(tmp_path / "net.ts", Branching().eval()), trust=True)
    assert (found.format, found.exportable, found.window) == ("TorchScript", False, None)
    assert "nothing can be proved about it" in (found.whole_image_refusal or "")
    assert found.module(torch.zeros(2, 3, 16, 16)).shape == (2, 2, 16, 16)


def test_a_script_saved_in_training_mode_is_switched_to_eval(tmp_path: Path) -> None:
    path = save(tmp_path / "net.ts", nn.Sequential(Branching(), nn.Dropout2d()).train())
    assert not load_model(path, trust=True).module.training


def test_a_script_does_not_run_before_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "net.pt", SingingScript())
    (tmp_path / "canary").unlink(missing_ok=True)  # saving ran it too
    with pytest.raises(ModelError, match="can write files as soon as it is loaded; pass --trust"):
        load_model(path)
    assert not (tmp_path / "canary").exists()
    load_model(path, trust=True)
    assert (tmp_path / "canary").exists()  # this is what trust is for


def test_weights_alone_are_refused_with_what_to_write(tmp_path: Path) -> None:
    torch.save({"state_dict": net().state_dict()}, tmp_path / "best.pth")
    with pytest.raises(ModelError, match=r"holds weights but no architecture.*checkpoint = \"best"):
        load_model(tmp_path / "best.pth")


def test_a_pickled_module_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "net.pt")
    with pytest.raises(ModelError, match=r"holds more than weights.*could run code.*state_dict\("):
        load_model(tmp_path / "net.pt", trust=True)
    mark = tmp_path / "canary"
    with pytest.raises(ModelError, match="could run code"):
        load_model(singing_checkpoint(tmp_path / "evil.pt", mark), trust=True)
    assert not mark.exists()


def test_a_script_whose_members_lead_out_of_it_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt", net(), torch.zeros(1, 5, 32, 32))
    with_member(path, "/tmp/canary-of-gigafcn", b"out")
    with pytest.raises(ModelError, match="leads out of the archive"):
        load_model(path, trust=True)
