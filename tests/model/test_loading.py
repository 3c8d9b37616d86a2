"""What a user may call a model, and what is then known of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from gigafcn.errors import ModelError
from gigafcn.model.demonstration import DemonstrationNet
from gigafcn.model.loading import load_model
from gigafcn.train.checkpoint import save_checkpoint

NETS = Path(__file__).resolve().parents[1] / "cli" / "nets.py"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Weights as the training writes them, without a card."""
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "net.safetensors", DemonstrationNet(), 7)
    return tmp_path / "net.safetensors"


def test_a_module_is_taken_as_it_is_in_eval_mode() -> None:
    net = nn.Sequential(nn.Conv2d(5, 2, 3), nn.Dropout())
    found = load_model(net.train())
    assert found.module is net
    assert not net.training
    assert (found.name, found.source, found.channels) == ("Sequential", None, 5)


def test_the_bundled_model_knows_its_classes_and_normalisation() -> None:
    found = load_model("demonstration")
    assert found.classes == ("background", "tissue", "nuclei")
    assert (found.name, found.source) == ("demonstration", "demonstration")
    assert (found.channels, found.activation) == (3, "softmax")
    assert found.mean is not None
    assert len(found.mean) == 3
    assert found.colours is not None
    assert len(found.colours) == 3


def test_a_checkpoint_is_loaded_with_its_weights(checkpoint: Path) -> None:
    torch.manual_seed(0)
    expected = DemonstrationNet().state_dict()
    found = load_model(checkpoint)
    loaded = found.module.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    assert (found.name, found.source) == ("net", str(checkpoint))
    assert (found.classes, found.mean) == (None, None)


def test_a_card_beside_a_checkpoint_says_how_its_pixels_are_normalised(checkpoint: Path) -> None:
    card = {"classes": ["a", "b", "c"], "colours": ["000000"] * 3, "mean": [0.5], "std": [0.25]}
    checkpoint.with_suffix(".json").write_text(json.dumps(card))
    found = load_model(checkpoint)
    assert (found.classes, found.mean, found.std) == (("a", "b", "c"), (0.5,), (0.25,))


@pytest.mark.parametrize("text", ["{", "[]", '{"classes": 3}'])
def test_a_card_that_is_none_is_refused(text: str, checkpoint: Path) -> None:
    checkpoint.with_suffix(".json").write_text(text)
    with pytest.raises(ModelError, match=r"net\.json, beside net\.safetensors, cannot be read"):
        load_model(checkpoint)


def test_a_factory_of_an_installed_package_needs_no_trust() -> None:
    assert isinstance(load_model("gigafcn.model.demonstration:DemonstrationNet").module, nn.Module)


def test_a_factory_in_a_file_needs_trust_and_is_loaded_again_by_its_source() -> None:
    with pytest.raises(ModelError, match=r"is Python code.*trust=True"):
        load_model(f"{NETS}:tiny")
    found = load_model(f"{NETS}:tiny", trust=True)
    assert found.source is not None
    again = load_model(found.source, trust=True)
    assert found.weights_hash() == again.weights_hash()


def test_the_hash_is_of_the_weights_and_not_of_the_object(checkpoint: Path) -> None:
    first, second = load_model(checkpoint), load_model(checkpoint)
    assert first.weights_hash() == second.weights_hash()
    with torch.no_grad():
        next(second.module.parameters()).view(-1)[0] += 1e-3
    assert first.weights_hash() != second.weights_hash()


def test_a_model_without_convolutions_says_nothing_of_its_channels() -> None:
    assert load_model(nn.ReLU()).channels is None
