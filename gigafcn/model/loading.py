"""From what a user calls a model to a torch module with what is known about it.

A model is given as

- a torch module, in Python;
- the name of a bundled model: ``demonstration``;
- a ``.safetensors`` checkpoint that ``python -m gigafcn.train`` wrote, with its ``.json`` card
  beside it if there is one: class names and normalisation are the card's;
- ``package.module:factory`` or ``path/file.py:factory``, called without arguments.

A file of Python code can do anything when it is loaded, so it is refused unless it is trusted;
an installed package is trusted as the environment is.  Pickled modules are not read at all.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from gigafcn.errors import ModelError
from gigafcn.model.demonstration import DemonstrationNet

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHTS = Path(__file__).with_name("weights")
BUNDLED = ("demonstration",)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A module and what is known of it; None where nothing is."""

    module: nn.Module
    """In eval mode, on the CPU."""

    name: str
    source: str | None
    """What :func:`load_model` needs to load it again; None for a module in memory."""

    classes: tuple[str, ...] | None = None
    colours: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    """Per channel, for pixels scaled to 0..1."""

    std: tuple[float, ...] | None = None
    activation: str | None = None
    """What turns its output into scores, if its author said so."""

    @property
    def channels(self) -> int | None:
        """Input channels, by its first convolution; None if it has none."""
        for layer in self.module.modules():
            if isinstance(layer, nn.Conv2d):
                return layer.in_channels
        return None

    def weights_hash(self) -> str:
        """Sha256 over the names and values of all weights and buffers."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(name.encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def load_model(model: str | Path | nn.Module, *, trust: bool = False) -> LoadedModel:
    """Load a model.

    Parameters
    ----------
    model
        See the module's docstring.
    trust
        Run the code of a Python file.

    Raises
    ------
    ModelError
        If it is missing, of the wrong kind or not trusted.
    """
    if isinstance(model, nn.Module):
        return LoadedModel(model.eval(), type(model).__name__, None)
    text = str(model)
    if text in BUNDLED:
        return _bundled(text)
    if Path(text).suffix == ".safetensors":
        return _checkpoint(Path(text))
    if ":" in text:
        return _factory(text, trust=trust)
    raise ModelError(_unknown(text))


def _unknown(text: str) -> str:
    path = Path(text)
    ways = (
        f"give a bundled name ({', '.join(BUNDLED)}), a .safetensors checkpoint of "
        f"gigafcn.train, or package.module:factory"
    )
    if path.is_dir():
        return f"model {text} is a directory; {ways}"
    if path.is_file():
        kind = path.suffix or "without a suffix"
        return f"model {text} is a file of a kind that is not read ({kind}); {ways}"
    return f"no model {text!r}: not a bundled name and no such file; {ways}"


def _bundled(name: str) -> LoadedModel:
    return replace(_checkpoint(WEIGHTS / f"{name}.safetensors"), name=name, source=name)


def _checkpoint(path: Path) -> LoadedModel:
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    net = DemonstrationNet()
    try:
        net.load_state_dict(load_file(path), strict=True)
    except (OSError, SafetensorError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ModelError(
            f"model file {path} holds no weights of the demonstration net: {reason}"
        ) from problem
    source = str(path.resolve())
    return LoadedModel(net.eval(), path.stem, source, **_card_of(path), activation="softmax")


def _card_of(path: Path) -> dict[str, tuple[Any, ...]]:
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


def _factory(text: str, *, trust: bool) -> LoadedModel:
    place, _, name = text.rpartition(":")
    if place.endswith(".py"):
        namespace = _module_of_file(Path(place), trust=trust)
    else:
        try:
            namespace = importlib.import_module(place)
        except ImportError as error:
            raise ModelError(f"model {text}: cannot import {place}: {error}") from error
    factory: Callable[[], Any] | None = getattr(namespace, name, None)
    if not callable(factory):
        raise ModelError(f"model {text}: {place} has no callable named {name!r}")
    try:
        module = factory()
    except Exception as error:  # the user's own code may raise anything
        raise ModelError(
            f"model {text}: {name}() raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"model {text}: {name}() returned {type(module).__name__}, no torch module"
        )
    return LoadedModel(module.eval(), name, text)


def _module_of_file(path: Path, *, trust: bool) -> Any:
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    if not trust:
        raise ModelError(
            f"model file {path} is Python code, which can do anything when loaded; "
            f"pass --trust (trust=True) if you trust it"
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own code may raise anything
        raise ModelError(f"model file {path} failed: {type(error).__name__}: {error}") from error
    return module
