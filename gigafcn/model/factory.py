"""How does ``package.module:factory`` or ``path/file.py:factory`` become a module?

It is imported and called.  A Python file can do anything, so it needs trust.  An installed package
is as trusted as the environment is, so what the user names on the command line is called; what a
model file names is called unasked only if it is a class of torch modules, for a file from
elsewhere could name any function there is, with arguments of its choice.
"""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from gigafcn.errors import GigafcnError, ModelError
from gigafcn.model.loaded import LoadedModel, to_eval
from gigafcn.model.repository import import_file, import_place, importing_from, installed_only
from gigafcn.model.trust import Trust, require_trust

if TYPE_CHECKING:
    from collections.abc import Callable

PYTHON_CODE = "is Python code, which can do anything when loaded"


@dataclass(frozen=True, slots=True)
class Factory:
    """What makes a module."""

    place: str
    """Name of a package's module, or a path ending in ``.py``."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    root: Path | None = None
    """Folder that the file's imports start from; None is found from the file."""

    named_by_file: bool = False
    """Whether a model file names it, rather than the user."""

    def __str__(self) -> str:
        """As it is written on the command line."""
        return f"{self.place}:{self.name}"

    @property
    def is_file(self) -> bool:
        """Whether it lies in a Python file of no package."""
        return self.place.endswith(".py")


def parse_factory(text: str) -> Factory:
    """Split ``place:name``.

    Raises
    ------
    ModelError
        If either is missing.

    Examples
    --------
    >>> parse_factory("nets/unet.py:build").name
    'build'
    """
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise ModelError(
            f"model {text!r} is no factory; write package.module:factory or path/file.py:factory"
        )
    return Factory(place, name)


def load_factory(text: str, trust: Trust) -> LoadedModel:
    """Make the module of a factory that takes no arguments."""
    factory = parse_factory(text)
    source = str(Path(factory.place).resolve()) if factory.is_file else factory.place
    module = to_eval(make_module(factory, trust), factory.name)
    return LoadedModel(module, factory.name, f"{source}:{factory.name}", format="factory")


def make_module(factory: Factory, trust: Trust) -> nn.Module:
    """Import a factory and call it.

    Raises
    ------
    ModelError
        If it is not trusted, cannot be imported, fails, or makes no module.
    """
    if factory.is_file:
        return _made_from_file(factory, trust)
    if trust.sha256 is not None:
        raise ModelError(f"model {factory} is no file, so it has no sha256 to compare")
    guarded = factory.named_by_file and not trust.code
    try:
        with installed_only() if guarded else nullcontext():
            namespace = importlib.import_module(factory.place)
    except ImportError as error:
        raise ModelError(f"model {factory}: cannot import {factory.place}: {error}") from error
    made = _callable_of(factory, namespace)
    if guarded and not _is_module_class(made):
        raise ModelError(
            f"model {factory} is no class of torch modules but something else that a model file "
            f"asks to call, which can do anything; pass --trust (trust=True) if you trust the file"
        )
    return _called(factory, made)


def _made_from_file(factory: Factory, trust: Trust) -> nn.Module:
    path = Path(factory.place)
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    require_trust(path, trust, PYTHON_CODE)
    root, name = import_place(path, factory.root)
    if trust.file_alone and "." in name:
        raise ModelError(
            f"model file {path} belongs to the package {name.rpartition('.')[0]}, whose other "
            f"files its sha256 does not cover; pass --trust (trust=True) if you trust them all"
        )
    # What lies beside the file is code too, and no sha256 was given for it.
    with nullcontext() if trust.file_alone else importing_from(root):
        try:
            namespace = import_file(path, name)
        except Exception as error:  # the user's own code may raise anything
            raise ModelError(
                f"model file {path} failed: {type(error).__name__}: {error}{_hint(error, trust)}"
            ) from error
        return _called(factory, _callable_of(factory, namespace))


def _hint(error: Exception, trust: Trust) -> str:
    """What may help against a failed import."""
    if not isinstance(error, ImportError):
        return ""
    if trust.file_alone:
        return "; a sha256 covers this file alone: pass --trust if it may import others beside it"
    return (
        "; if that is part of the same repository, name the folder that its imports start from "
        "as root in a model file (model.toml)"
    )


def _callable_of(factory: Factory, namespace: Any) -> Callable[..., Any]:
    found = getattr(namespace, factory.name, None)
    if not callable(found):
        raise ModelError(f"model {factory}: {factory.place} has no callable named {factory.name!r}")
    made: Callable[..., Any] = found
    return made


def _is_module_class(made: object) -> bool:
    return isinstance(made, type) and issubclass(made, nn.Module)


def _called(factory: Factory, make: Callable[..., Any]) -> nn.Module:
    try:
        module = make(**factory.arguments)
    except GigafcnError:
        raise
    except Exception as error:  # the user's own code may raise anything
        hint = (
            "; arguments go into a model file (model.toml), table [model.arguments]"
            if isinstance(error, TypeError)
            else ""
        )
        raise ModelError(
            f"model {factory}: {factory.name}() raised {type(error).__name__}: {error}{hint}"
        ) from error
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"model {factory}: {factory.name}() returned {type(module).__name__}, no torch module"
        )
    return module
