"""Is the bundled model what its card says?"""

from __future__ import annotations

import hashlib

import pytest
import torch

from gigafcn import analysis
from gigafcn.model.demonstration import CLASSES, COLOURS, PERIOD_PX, DemonstrationNet
from gigafcn.train.card import CARD_NAME, WEIGHTS_NAME, bundled, card_normalisation, read_card
from gigafcn.train.checkpoint import load_checkpoint
from gigafcn.train.data import TEST_SEED, drawn_samples
from gigafcn.train.loop import Settings, context_warning, evaluate

SMALL_BYTES = 2_000_000


def test_the_weights_are_small_and_load_strictly() -> None:
    path = bundled(WEIGHTS_NAME)
    assert path.stat().st_size < SMALL_BYTES
    net, step = load_checkpoint(path)
    assert step == read_card(bundled(CARD_NAME))["training"]["steps"]
    assert not net.training


def test_the_card_names_one_class_and_colour_per_output_channel() -> None:
    card = read_card(bundled(CARD_NAME))
    net, _ = load_checkpoint(bundled(WEIGHTS_NAME))
    with torch.inference_mode():
        channels = net(torch.zeros(1, 3, 16, 16)).shape[1]
    assert tuple(card["classes"]) == CLASSES
    assert tuple(card["colours"]) == COLOURS
    assert channels == len(card["classes"])


def test_the_card_belongs_to_these_weights() -> None:
    card = read_card(bundled(CARD_NAME))
    stored = bundled(card["weights"]).read_bytes()
    assert card["sha256"] == hashlib.sha256(stored).hexdigest()


def test_the_model_is_about_as_good_as_its_card_says() -> None:
    card = read_card(bundled(CARD_NAME))
    net, _ = load_checkpoint(bundled(WEIGHTS_NAME))
    _, found = evaluate(net, drawn_samples(TEST_SEED, 4, size_px=256), card_normalisation(card))
    # Four small pictures of the forty that the card is about.
    assert found.mean_iu == pytest.approx(card["metrics"]["drawn"]["mean_iu"], abs=0.08)


def test_the_net_is_local_and_its_footprint_fits_the_training_patches() -> None:
    found = analysis.analyze(DemonstrationNet().eval(), channels=3)
    assert found.blockers == ()
    assert found.period == (PERIOD_PX, PERIOD_PX)
    assert context_warning(found.halo, Settings().patch_px) is None


def test_the_net_can_be_exported() -> None:
    image = torch.rand(1, 3, 32, 48)
    net = DemonstrationNet().eval()
    exported = torch.export.export(net, (image,))
    assert torch.equal(exported.module()(image), net(image))
