"""Exported programs: any size exactly, one size on windows, and nothing run unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from gigafcn.analysis import analyze
from gigafcn.errors import ModelError
from gigafcn.model.loading import load_model
from gigafcn.model.trust import sha256_of
from tests.model.canary import singing_checkpoint, with_member

if TYPE_CHECKING:
    from pathlib import Path

ANY_SIZE = {2: Dim.AUTO, 3: Dim.AUTO}


def net() -> nn.Module:
    """Halo 3 px, period 2 px."""
    torch.manual_seed(0)
    down = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d()
    return nn.Sequential(*down, nn.Upsample(scale_factor=2), nn.Conv2d(4, 2, 3, padding=1)).eval()


def export(
    path: Path, module: nn.Module, shape: tuple[int, ...], dynamic: dict[int, Any] | None = None
) -> Path:
    """Write a ``.pt2`` file."""
    shapes = None if dynamic is None else (dynamic,)
    program = torch.export.export(module, (torch.zeros(shape),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


def test_a_program_of_any_size_is_mapped_as_its_module_is(tmp_path: Path) -> None:
    path = export(tmp_path / "net.pt2", net(), (1, 3, 16, 16), ANY_SIZE)
    found = load_model(path, trust=True)
    assert (found.channels, found.window, found.fixed, found.exportable) == (3, None, False, True)
    of_file, of_module = analyze(found.module), analyze(net())
    assert (of_file.halo, of_file.period) == (of_module.halo, of_module.period)
    image = torch.rand(1, 3, 40, 60)
    assert torch.equal(found.module(image), net()(image))


def test_a_program_of_one_size_takes_windows_of_that_size_in_batches(tmp_path: Path) -> None:
    path = export(tmp_path / "net.pt2", net(), (2, 3, 16, 24))
    found = load_model(path, trust=True)
    assert (found.window, found.fixed) == ((16, 24), True)
    assert "takes images of 16 x 24 px (y, x) only" in (found.whole_image_refusal or "")
    images = torch.rand(5, 3, 16, 24)
    # Batches of 2 and of 5 may be summed in another order.
    torch.testing.assert_close(found.module(images), net()(images))


def test_a_program_of_one_dynamic_side_is_refused(tmp_path: Path) -> None:
    path = export(tmp_path / "net.pt2", net(), (1, 3, 16, 16), {2: Dim.AUTO})
    with pytest.raises(ModelError, match="one of height and width dynamic"):
        load_model(path, trust=True)


def test_a_program_exported_in_training_mode_is_refused(tmp_path: Path) -> None:
    path = export(tmp_path / "net.pt2", net().train(), (1, 3, 16, 16), ANY_SIZE)
    with pytest.raises(ModelError, match=r"in training mode: its .* export model\.eval\(\)"):
        load_model(path, trust=True)


class Two(nn.Module):
    """Takes two images."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second


def test_a_program_of_two_inputs_is_refused(tmp_path: Path) -> None:
    image = torch.zeros(1, 3, 8, 8)
    torch.export.save(torch.export.export(Two(), (image, image)), tmp_path / "two.pt2")
    with pytest.raises(ModelError, match="takes 2 inputs"):
        load_model(tmp_path / "two.pt2", trust=True)


def test_a_malicious_program_does_not_run_unless_trusted(tmp_path: Path) -> None:
    mark = tmp_path / "canary"
    path = export(tmp_path / "net.pt2", net(), (1, 3, 16, 16), ANY_SIZE)
    song = singing_checkpoint(tmp_path / "song", mark).read_bytes()
    with_member(path, "net/data/sample_inputs/model.pt", song)
    with pytest.raises(
        ModelError, match=r"torch unpickles parts of it.*can run code; pass --trust"
    ):
        load_model(path)
    assert not mark.exists()
    # This is what trust is for: torch does run it.
    with pytest.raises(ModelError):
        load_model(path, trust=True)
    assert mark.exists()


def test_its_sha256_is_as_good_as_trust(tmp_path: Path) -> None:
    path = export(tmp_path / "net.pt2", net(), (1, 3, 16, 16), ANY_SIZE)
    assert load_model(path, sha256=sha256_of(path).upper()).sha256 == sha256_of(path)


def test_a_program_whose_members_lead_out_of_it_is_refused_even_if_trusted(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = export(tmp_path / "inner" / "net.pt2", net(), (1, 3, 16, 16), ANY_SIZE)
    with_member(path, "../canary", b"out")
    with pytest.raises(ModelError, match="leads out of the archive"):
        load_model(path, trust=True)
    assert not (tmp_path / "canary").exists()


def test_compiled_code_is_refused(tmp_path: Path) -> None:
    path = export(tmp_path / "net.pt2", net(), (1, 3, 16, 16), ANY_SIZE)
    with_member(path, "net/data/aotinductor/model/model.so", b"\x7fELF")
    with pytest.raises(ModelError, match="machine code of AOTInductor"):
        load_model(path, trust=True)


@pytest.mark.parametrize("content", [b"", b"weights"])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(content)
    with pytest.raises(ModelError, match=r"no archive of torch\.export\.save, or is damaged"):
        load_model(tmp_path / "net.pt2", trust=True)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "net.pt2")
    with pytest.raises(ModelError, match="cannot be loaded as an exported program"):
        load_model(tmp_path / "net.pt2", trust=True)
