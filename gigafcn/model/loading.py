"""From what a user calls a model to a torch module with what is known about it.

A model is given as

- a torch module, in Python;
- the name of a bundled model: ``demonstration``;
- ``zoo:NAME``: a system of the literature with random weights, see :mod:`gigafcn.model.zoo`;
- ``package.module:factory`` or ``path/file.py:factory``, called without arguments;
- a model file, ``.toml``: a factory with arguments and checkpoint, or one of the formats below,
  with classes, normalisation and the like;
- an exported program (``.pt2``), TorchScript (``.pt``, ``.ts``), ONNX (``.onnx``), a WSInfer
  folder, or a ``.safetensors`` checkpoint that ``python -m gigafcn.train`` wrote.

This module only tells them apart; each has a module of its own.  What can run code while it is
loaded is refused unless it is trusted.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from gigafcn.errors import ModelError
from gigafcn.model.bundled import is_named, load_named
from gigafcn.model.factory import load_factory
from gigafcn.model.formats import WAYS, load_path
from gigafcn.model.loaded import LoadedModel, to_eval
from gigafcn.model.model_file import load_model_file
from gigafcn.model.trust import Trust
from gigafcn.model.zoo.named import is_of_zoo, load_of_zoo

__all__ = ["LoadedModel", "load_model"]


def load_model(
    model: str | Path | nn.Module,
    *,
    trust: bool = False,
    sha256: str | None = None,
    allow_unexpected: bool = False,
) -> LoadedModel:
    """Load a model.

    Parameters
    ----------
    model
        A torch module, a bundled name, a factory, a model file, or a file or folder of another
        format; see the README.
    trust
        Load what can run code while it is loaded.
    sha256
        Sha256 of the model's file, or of the factory's: load that very file, even if it can run
        code, and no other.
    allow_unexpected
        Leave weights of a checkpoint out that the module has not.

    Raises
    ------
    ModelError
        If it is missing, of the wrong kind, damaged or not trusted.

    Examples
    --------
    >>> load_model("demonstration").classes
    ('background', 'tissue', 'nuclei')
    """
    if isinstance(model, nn.Module):
        name = type(model).__name__
        return LoadedModel(to_eval(model, name), name, None)
    text, path, allowed = str(model), Path(model), Trust(trust, sha256)
    if is_named(text):
        return load_named(text)
    if is_of_zoo(text):
        return load_of_zoo(text)
    if path.suffix == ".toml":
        return load_model_file(path, allowed, allow_unexpected=allow_unexpected)
    if path.suffix == ".safetensors" or path.exists():
        return load_path(path, allowed)
    if ":" in text:
        return load_factory(text, allowed)
    raise ModelError(f"no model {text!r}: not a bundled name and no such file; {WAYS}")
