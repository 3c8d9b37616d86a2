"""Checkpoints: unwrapped from what frameworks put around weights, and refused if they misfit."""

from __future__ import annotations

import argparse
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gigafcn.errors import ModelError
from gigafcn.model.checkpoint import Checkpoint, load_checkpoint
from tests.model.canary import singing_checkpoint, singing_pickle, with_member

Weights = dict[str, torch.Tensor]


def net() -> nn.Sequential:
    """Zeros, so that loading shows."""
    made = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    for parameter in made.parameters():
        nn.init.zeros_(parameter)
    return made


def weights() -> Weights:
    """What is to be loaded."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).state_dict()


def behind(prefix: str) -> Weights:
    """The weights with a prefix before each name."""
    return {prefix + name: tensor for name, tensor in weights().items()}


WRAPPED: dict[str, Any] = {
    "bare": weights(),
    "DataParallel": behind("module."),
    "Lightning": {"state_dict": behind("model."), "epoch": 3, "optimizer_states": [{}]},
    "Lightning and compile": {"state_dict": behind("model._orig_mod.")},
    "nested": {"model": {"state_dict": behind("net.")}, "optimizer": {"state": {}}},
    "with arguments": {"model_state_dict": weights(), "args": argparse.Namespace(lr=0.1)},
    "with a score": {"model": weights(), "best": np.float64(0.9), "path": Path("runs/1")},
    "ema only": {"ema": behind("module.model."), "step": 7},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_weights_are_found_in_what_frameworks_write(kind: str, tmp_path: Path) -> None:
    torch.save(WRAPPED[kind], tmp_path / "net.pt")
    module = net()
    load_checkpoint(module, Checkpoint(tmp_path / "net.pt"))
    assert torch.equal(module.state_dict()["0.weight"], weights()["0.weight"])


def test_what_was_unwrapped_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(WRAPPED["Lightning"], tmp_path / "last.ckpt")
    with caplog.at_level("INFO"):
        load_checkpoint(net(), Checkpoint(tmp_path / "last.ckpt"))
    said = "7 tensors loaded from last.ckpt, unwrapped from key 'state_dict', prefix 'model.'"
    assert said in caplog.text


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(behind("module."), tmp_path / "net.safetensors")
    module = net()
    load_checkpoint(module, Checkpoint(tmp_path / "net.safetensors"))
    assert torch.equal(module.state_dict()["0.bias"], weights()["0.bias"])


def test_of_several_sets_of_weights_one_must_be_named(tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in weights().items()}
    torch.save(
        {"model": weights(), "ema": {"shadow": other}, "model_ema": other}, tmp_path / "a.pt"
    )
    with pytest.raises(ModelError, match=r"several sets of weights: model, model_ema; name one"):
        load_checkpoint(net(), Checkpoint(tmp_path / "a.pt"))
    module = net()
    load_checkpoint(module, Checkpoint(tmp_path / "a.pt", key="ema.shadow"))
    assert torch.equal(module.state_dict()["0.bias"], other["0.bias"])


def test_a_key_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    torch.save({"model": weights(), "step": 1}, tmp_path / "a.pt")
    with pytest.raises(ModelError, match="no key 'ema'; keys there: model, step"):
        load_checkpoint(net(), Checkpoint(tmp_path / "a.pt", key="ema"))


def test_weights_under_an_unknown_key_are_refused_with_the_keys(tmp_path: Path) -> None:
    torch.save({"mine": weights(), "step": 1}, tmp_path / "a.pt")
    with pytest.raises(ModelError, match="no weights where they are usual: mine, step; name one"):
        load_checkpoint(net(), Checkpoint(tmp_path / "a.pt"))


def test_missing_weights_are_refused_with_their_names(tmp_path: Path) -> None:
    held = weights()
    del held["0.bias"], held["1.running_var"]
    torch.save(held, tmp_path / "a.pt")
    with pytest.raises(ModelError, match=r"lacks 2 of 7 weights: 0\.bias, 1\.running_var; it is"):
        load_checkpoint(net(), Checkpoint(tmp_path / "a.pt"))


def test_batch_counts_may_be_missing(tmp_path: Path) -> None:
    held = weights()
    del held["1.num_batches_tracked"]
    torch.save(held, tmp_path / "a.pt")
    load_checkpoint(net(), Checkpoint(tmp_path / "a.pt"))


def test_unexpected_weights_are_refused_with_their_names_unless_allowed(tmp_path: Path) -> None:
    held = behind("model.") | {"loss.weight": torch.ones(2)}
    torch.save({"state_dict": held}, tmp_path / "a.pt")
    with pytest.raises(ModelError, match=r"has not: loss\.weight; pass --allow-unexpected"):
        load_checkpoint(net(), Checkpoint(tmp_path / "a.pt"))
    load_checkpoint(net(), Checkpoint(tmp_path / "a.pt", allow_unexpected=True))


def test_a_checkpoint_of_another_architecture_is_told_by_names_or_shapes(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "a.pt")
    with pytest.raises(ModelError, match=r"lacks 6 of 7.*and has 2 others: weight, bias; it is of"):
        load_checkpoint(net(), Checkpoint(tmp_path / "a.pt"))
    torch.save(nn.Sequential(nn.Conv2d(3, 2, 5), nn.BatchNorm2d(2)).state_dict(), tmp_path / "b.pt")
    with pytest.raises(
        ModelError, match=r"1 weights have other shapes: 0\.weight is \(2, 3, 5, 5\), the model has"
    ):
        load_checkpoint(net(), Checkpoint(tmp_path / "b.pt"))


def test_half_precision_weights_are_taken_at_the_model_s_precision(tmp_path: Path) -> None:
    held = {name: t.half() if t.is_floating_point() else t for name, t in weights().items()}
    torch.save(held, tmp_path / "a.pt")
    module = net()
    load_checkpoint(module, Checkpoint(tmp_path / "a.pt"))
    assert module.state_dict()["0.weight"].dtype == torch.float32


def test_a_malicious_checkpoint_is_refused_and_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "canary"
    path = singing_checkpoint(tmp_path / "evil.ckpt", mark)
    with pytest.raises(ModelError, match=r"holds more than weights.*could run code.*save the wei"):
        load_checkpoint(net(), Checkpoint(path))
    (tmp_path / "evil.pkl").write_bytes(singing_pickle(mark))
    with pytest.raises(ModelError, match="could run code"):
        load_checkpoint(net(), Checkpoint(tmp_path / "evil.pkl"))
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # the canary sings when it may


def test_an_archive_whose_members_lead_out_of_it_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    torch.save(weights(), folder / "a.pt")
    path = with_member(folder / "a.pt", "../canary", b"out")
    with pytest.raises(ModelError, match=r"its member '\.\./canary' leads out of the archive"):
        load_checkpoint(net(), Checkpoint(path))
    assert not (tmp_path / "canary").exists()


def test_a_tar_of_old_with_members_that_lead_out_of_it_is_not_unpacked(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w") as archive:
        for name in ("storages", "tensors", "pickle", "../canary"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"out"))
    with pytest.raises(ModelError, match=r"a\.tar"):
        load_checkpoint(net(), Checkpoint(folder / "a.tar"))
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04broken"])
def test_a_damaged_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"checkpoint .*a\.pt"):
        load_checkpoint(net(), Checkpoint(tmp_path / "a.pt"))


def test_a_checkpoint_with_another_sha256_is_refused(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "a.pt")
    with pytest.raises(ModelError, match=f"expected {'0' * 64}"):
        load_checkpoint(net(), Checkpoint(tmp_path / "a.pt", sha256="0" * 64))
