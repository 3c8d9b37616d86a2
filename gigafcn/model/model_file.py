"""What may a model file (``model.toml``) say, and how does it become a model?

Three tables: ``[model]`` says what to load, ``[input]`` what the model is fed, ``[output]`` what
comes out.  Paths are relative to the file.  What it says counts where the user gives no option, and
what it leaves open is listed.  Complete examples are in ``configs/models/``.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic import model_validator as validator

from gigafcn.errors import ModelError
from gigafcn.model.bundled import load_named
from gigafcn.model.checkpoint import Checkpoint, load_checkpoint
from gigafcn.model.factory import make_module, parse_factory
from gigafcn.model.formats import load_path
from gigafcn.model.loaded import LoadedModel, to_eval
from gigafcn.model.trust import Trust, require_same
from gigafcn.model.wsinfer import SCRIPT

if TYPE_CHECKING:
    from pathlib import Path

Size = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]
Colour = Annotated[str, StringConstraints(pattern=r"^#?[0-9A-Fa-f]{6}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{64}$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelTable(_Table):
    """What to load: a factory, a file or folder, or a bundled model."""

    name: str | None = None
    """What the model is called in maps and pictures."""

    factory: str | None = None
    """package.module:factory, or path/file.py:factory."""

    root: str | None = None
    """Folder that the imports of the factory's file start from."""

    arguments: dict[str, Any] = Field(default_factory=dict)
    """What the factory is called with."""

    checkpoint: str | None = None
    """Weights for the factory's module."""

    checkpoint_key: str | None = None
    """Where in the checkpoint the weights are, dotted."""

    allow_unexpected: bool = False
    """Leave weights out that the module has not."""

    file: str | None = None
    """An exported program, TorchScript, ONNX, a checkpoint of gigafcn.train, a WSInfer folder."""

    bundled: str | None = None
    """Name of a bundled model."""

    sha256: Sha256 | None = None
    """Of the file or checkpoint; any other is refused."""

    @validator(mode="after")
    def _one_source(self) -> ModelTable:
        given = [key for key in ("factory", "file", "bundled") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give one of factory, file and bundled, got {' and '.join(given) or 'none'}"
            )
        for key in ("root", "arguments", "checkpoint"):
            if getattr(self, key) and self.factory is None:
                raise ValueError(f"{key} goes with a factory")
        if self.checkpoint_key is not None and self.checkpoint is None:
            raise ValueError("checkpoint_key goes with a checkpoint")
        if self.sha256 is not None and self.file is None and self.checkpoint is None:
            raise ValueError("sha256 goes with a file or a checkpoint")
        return self


class InputTable(_Table):
    """What the model is fed: (stored * scale - mean) / std."""

    channels: Size | None = None
    mpp: Positive | None = None
    """Micrometres per px that it was trained at."""

    scale: Positive | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None
    window: Size | tuple[Size, Size] | None = None
    """Px, or [y, x], of the patches it was trained on."""

    @validator(mode="after")
    def _one_length(self) -> InputTable:
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if numbers is None or self.channels is None:
                continue
            if len(numbers) not in (1, self.channels):
                raise ValueError(f"{name} has {len(numbers)} numbers for {self.channels} channels")
        return self


class OutputTable(_Table):
    """What comes out."""

    name: str | int | None = None
    """Which of several outputs is the map."""

    activation: Literal["none", "sigmoid", "softmax"] | None = None
    classes: tuple[str, ...] | None = None
    colours: tuple[Colour, ...] | None = None
    step: Size | tuple[Size, Size] | None = None
    """Px, or [y, x], between windows."""

    @validator(mode="after")
    def _one_colour_each(self) -> OutputTable:
        if self.colours is not None and len(self.colours) != len(self.classes or ()):
            raise ValueError(
                f"{len(self.colours)} colours for {len(self.classes or ())} named classes"
            )
        return self


class ModelFile(_Table):
    """A model file."""

    model: ModelTable
    input: InputTable = InputTable()
    output: OutputTable = OutputTable()


OPEN = {
    "input.mpp": "mpp",
    "input.mean": "mean",
    "input.std": "std",
    "output.activation": "activation",
    "output.classes": "classes",
    "output.colours": "colours",
}
"""What only the model's author knows, and where it is kept."""


def read_model_file(path: Path) -> ModelFile:
    """Read a model file.

    Raises
    ------
    ModelError
        If it cannot be read, is no TOML, holds the options of a run, or says what it cannot mean.
    """
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except FileNotFoundError as error:
        raise ModelError(f"no model file {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"model file {path}: not TOML: {error}") from error
    except OSError as error:
        raise ModelError(f"model file {path} cannot be read: {error.strerror or error}") from error
    if not isinstance(data.get("model"), dict):
        hint = "this holds options of a run: pass it as --config" if data else "it is empty"
        raise ModelError(f"model file {path} has no table [model]; {hint}")
    try:
        return ModelFile.model_validate(data)
    except ValidationError as error:
        raise ModelError(f"model file {path}: {_first_problem(error)}") from error


def load_model_file(path: Path, trust: Trust, *, allow_unexpected: bool = False) -> LoadedModel:
    """Load what a model file describes.

    Raises
    ------
    ModelError
        If the file or the model is not as it should be, or not trusted.
    """
    said = read_model_file(path)
    base = _loaded(said.model, path.resolve().parent, trust, allow_unexpected=allow_unexpected)
    model = _described(base, said, path)
    left_open = tuple(key for key, name in OPEN.items() if getattr(model, name) is None)
    return replace(model, source=str(path.resolve()), unset=left_open)


def _loaded(
    table: ModelTable, folder: Path, trust: Trust, *, allow_unexpected: bool
) -> LoadedModel:
    if table.bundled is not None:
        return load_named(table.bundled)
    if table.file is not None:
        path = folder / table.file
        pinned = path / SCRIPT if path.is_dir() else path
        if table.sha256 is not None and pinned.is_file():
            require_same(pinned, table.sha256)
        return load_path(path, trust)
    assert table.factory is not None
    factory = parse_factory(table.factory)
    factory = replace(
        factory,
        place=str(folder / factory.place) if factory.is_file else factory.place,
        root=None if table.root is None else folder / table.root,
        arguments=table.arguments,
        named_by_file=True,
    )
    module, digest = make_module(factory, trust), None
    if table.checkpoint is not None:
        checkpoint = Checkpoint(
            folder / table.checkpoint,
            table.checkpoint_key,
            table.allow_unexpected or allow_unexpected,
            table.sha256,
        )
        digest = load_checkpoint(module, checkpoint)
    name = table.name or factory.name
    return LoadedModel(to_eval(module, name), name, None, format="factory", sha256=digest)


def _described(base: LoadedModel, said: ModelFile, path: Path) -> LoadedModel:
    """The model with what the file says of it."""
    stated: dict[str, Any] = {
        "name": said.model.name,
        "classes": said.output.classes,
        "colours": _plain_colours(said.output.colours),
        "mean": said.input.mean,
        "std": said.input.std,
        "scale": said.input.scale,
        "mpp": said.input.mpp,
        "activation": said.output.activation,
        "window": _pair(said.input.window),
        "step": _pair(said.output.step),
        "output": said.output.name,
        "input_channels": said.input.channels,
    }
    known = {"input_channels": base.channels, "window": base.window if base.fixed else None}
    for key, own in known.items():
        if None not in (own, stated[key]) and own != stated[key]:
            what = f"[input] {key.removeprefix('input_')}"
            raise ModelError(f"model file {path}: {what} is {stated[key]}, the model's is {own}")
    # Names of classes that were replaced do not keep the colours of the old ones.
    if stated["classes"] is not None and stated["classes"] != base.classes:
        base = replace(base, colours=None)
    return replace(base, **{key: value for key, value in stated.items() if value is not None})


def _plain_colours(colours: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if colours is None else tuple(c.removeprefix("#").upper() for c in colours)


def _pair(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return (size, size) if isinstance(size, int) else size


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    # Branches of a union and positions say nothing to who wrote the file.
    parts = [str(part) for part in problem["loc"][:2]]
    place = f"[{parts[0]}] {parts[1]}" if len(parts) > 1 else f"[{parts[0]}]" if parts else ""
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown {'key' if len(parts) > 1 else 'table'}"
    if problem["type"] == "value_error":
        return f"{place}: {problem['ctx']['error']}"
    return f"{place}: {problem['msg'].replace('Input should', 'should')}, got {problem['input']!r}"
