"""Weights of the demonstration net: the bundled ones, or those that a training run wrote.

``python -m gigafcn.train`` writes a ``.safetensors`` checkpoint with a ``.json`` card beside it;
class names and normalisation are the card's.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from gigafcn.errors import ModelError
from gigafcn.model.demonstration import DemonstrationNet
from gigafcn.model.loaded import LoadedModel
from gigafcn.model.trust import Trust, require_same

WEIGHTS = Path(__file__).with_name("weights")
BUNDLED = ("demonstration",)


def is_named(text: str) -> bool:
    """Whether this is the name of a bundled model."""
    return text in BUNDLED


def load_named(name: str) -> LoadedModel:
    """Load a bundled model.

    Raises
    ------
    ModelError
        If there is none of this name.
    """
    if not is_named(name):
        raise ModelError(f"no bundled model {name!r}; there are: {', '.join(BUNDLED)}")
    return replace(
        load_trained(WEIGHTS / f"{name}.safetensors", Trust()),
        name=name,
        source=name,
        format="bundled",
    )


def load_trained(path: Path, trust: Trust) -> LoadedModel:
    """Load a checkpoint of the demonstration net.

    Raises
    ------
    ModelError
        If there is none, or it holds other weights.
    """
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    digest = require_same(path, trust.sha256)
    net = DemonstrationNet()
    try:
        net.load_state_dict(load_file(path), strict=True)
    except (OSError, SafetensorError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ModelError(
            f"model file {path} holds no weights of the demonstration net: {reason}; for another "
            f"net give a model file (model.toml) with factory and checkpoint"
        ) from problem
    source = str(path.resolve())
    known = LoadedModel(net.eval(), path.stem, source, activation="softmax", sha256=digest)
    return replace(known, format="checkpoint", **_card_of(path))


def _card_of(path: Path) -> dict[str, Any]:
    """What the card beside a checkpoint says of classes and normalisation; empty without one."""
    card = path.with_suffix(".json")
    if not card.exists():
        return {}
    try:
        written = json.loads(card.read_text(encoding="utf-8"))
        return {name: tuple(written[name]) for name in ("classes", "colours", "mean", "std")}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise ModelError(
            f"model card {card}, beside {path.name}, cannot be read: {type(problem).__name__}: "
            f"{problem}; mend it or move it away"
        ) from problem
