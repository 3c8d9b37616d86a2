"""What does a model file for this model say, as far as it can be derived?

What loads the model and what shows in its layers is filled in.  What only its author knows stays as
a comment that says what belongs there: a wrong guess would go unnoticed, a gap is named at each
run.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gigafcn.errors import UsageError
from gigafcn.model.bundled import is_named
from gigafcn.model.factory import parse_factory
from gigafcn.model.model_file import read_model_file

if TYPE_CHECKING:
    from gigafcn.model.loaded import LoadedModel

EXAMPLES = ("FFFFFF", "E58AB4", "3B2A8C", "F2A541", "4C9F70", "2E86AB")
"""Colours to start from."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What analysing a model shows."""

    channels: int
    classes: int | None
    """Output channels; None if it could not be run."""

    notes: tuple[str, ...] = ()
    """Lines for a comment at the top."""


def write_model_file(path: Path, loaded: LoadedModel, derived: Derived) -> None:
    """Write a model file for a loaded model.

    Raises
    ------
    UsageError
        If the file exists, cannot be written, or the model has no source to name.
    """
    text = model_file_text(loaded, derived, path.resolve().parent)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists and is not replaced; choose another name") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def model_file_text(loaded: LoadedModel, derived: Derived, folder: Path) -> str:
    """Text of a model file that lies in ``folder``."""
    lines = [f"# {note}" for note in (f"Model {loaded.name}.", *derived.notes)]
    lines += ["# Paths are relative to this file.", "", *_model_table(loaded, folder), ""]
    lines += [*_input_table(loaded, derived), "", *_output_table(loaded, derived), ""]
    return "\n".join(lines)


def _model_table(loaded: LoadedModel, folder: Path) -> list[str]:
    table = _source_table(loaded, folder)
    arguments = table.pop("arguments", None)
    lines = ["[model]", _line("name", loaded.name), *(_line(k, v) for k, v in table.items())]
    if "factory" in table and "checkpoint" not in table:
        lines += [
            '# checkpoint = "weights.safetensors"  # or .pt, .ckpt: weights only',
            '# checkpoint_key = "state_dict"       # where in it the weights are, if not found',
        ]
    pinned = "file" in table or "checkpoint" in table
    if loaded.sha256 is not None and pinned and "sha256" not in table:
        lines.append(_line("sha256", loaded.sha256))
    if arguments:
        lines += ["", "[model.arguments]", *(_line(k, v) for k, v in arguments.items())]
    elif "factory" in table:
        lines += ["", "# [model.arguments]                   # what the factory is called with"]
    return lines


def _source_table(loaded: LoadedModel, folder: Path) -> dict[str, Any]:
    """Keys that load the model again."""
    source = loaded.source
    if source is None:
        raise UsageError("a module in memory has no source that a model file could name")
    if is_named(source):
        return {"bundled": source}
    path = Path(source)
    if path.suffix == ".toml":
        return _moved_table(path, folder)
    if path.exists():
        return {"file": _relative(path, folder)}
    factory = parse_factory(source)
    place = _relative(Path(factory.place), folder) if factory.is_file else factory.place
    return {"factory": f"{place}:{factory.name}"}


def _moved_table(path: Path, folder: Path) -> dict[str, Any]:
    """The table of another model file, with paths as seen from ``folder``."""
    table = read_model_file(path).model.model_dump(exclude_unset=True, exclude={"name"})
    for key in ("root", "checkpoint", "file"):
        if key in table:
            table[key] = _relative(path.parent / table[key], folder)
    if "factory" in table:
        factory = parse_factory(table["factory"])
        if factory.is_file:
            place = _relative(path.parent / factory.place, folder)
            table["factory"] = f"{place}:{factory.name}"
    return table


def _input_table(loaded: LoadedModel, derived: Derived) -> list[str]:
    channels = derived.channels
    lines = ["[input]", _line("channels", channels)]
    lines.append(_or_open("mpp", loaded.mpp, 0.5, "micrometres per px it was trained at"))
    if loaded.scale is not None:
        lines.append(_line("scale", loaded.scale))
    normalised = "per channel: x = (stored * scale - mean) / std"
    lines.append(_or_open("mean", loaded.mean, [0.5] * channels, normalised))
    lines.append(_or_open("std", loaded.std, [0.25] * channels, "scale is 1/255 for 8 bit"))
    size = None if loaded.window is None else list(loaded.window)
    lines.append(_or_open("window", size, 512, "px of the patches it was trained on"))
    return lines


def _output_table(loaded: LoadedModel, derived: Derived) -> list[str]:
    count = derived.classes or 1
    names = [f"class {i}" for i in range(count)]
    lines = ["[output]"]
    if loaded.output is not None:
        lines.append(_line("name", loaded.output))
    known = '"none", "sigmoid" or "softmax"'
    lines.append(_or_open("activation", loaded.activation, "softmax", known))
    how_many = "in the order of its channels" if derived.classes is None else f"{count} of them"
    lines.append(_or_open("classes", loaded.classes, names, how_many))
    lines.append(
        _or_open(
            "colours",
            loaded.colours,
            [EXAMPLES[i % len(EXAMPLES)] for i in range(count)],
            "RRGGBB, one per class",
        )
    )
    if loaded.step is not None:
        lines.append(_line("step", list(loaded.step)))
    return lines


def _or_open(key: str, value: Any, example: Any, meaning: str) -> str:
    """A line with the value, or a comment that shows where it belongs."""
    return _line(key, value) if value is not None else f"# {_line(key, example)}  # {meaning}"


def _line(key: str, value: Any) -> str:
    name = key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _toml(key)
    return f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    """A value as TOML; JSON's strings, numbers and lists are TOML's too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(_line(k, v) for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)  # dates and times, which read in as they are written


def _relative(path: Path, folder: Path) -> str:
    """A path as seen from a folder, unless they share nothing but the root."""
    path = path.resolve()
    if len(Path(os.path.commonpath([path, folder])).parts) < 2:
        return str(path)
    return Path(os.path.relpath(path, folder)).as_posix()
