"""Which options does a TOML file set?

A file holds the options of :class:`~gigafcn.config.options.InferOptions` at its top level or in a
table ``[infer]``.  Everything unknown is refused with the nearest name that is known, and a file
that describes a model is told apart, since the two kinds are easily confused.  Paths inside are
relative to the working directory, as they are on the command line.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gigafcn.config.options import InferOptions
from gigafcn.errors import UsageError

TABLE = "infer"
MODEL_KEYS = frozenset({"factory", "checkpoint", "checkpoint_key", "arguments"})
"""Keys that only a file describing a model has."""


def read_config(path: Path) -> InferOptions:
    """Read the options that a TOML file sets.

    Parameters
    ----------
    path
        A file with the options at top level or in ``[infer]``.

    Raises
    ------
    UsageError
        If the file cannot be read, is no TOML, describes a model, or has an unknown key or a
        value that the option cannot take.
    """
    data = _load(path)
    if _describes_model(data):
        raise UsageError(f"--config {path}: this describes a model: pass it as --model {path}")
    table = _options_of(data, path)
    known = InferOptions.model_fields
    for key in table:
        if key not in known:
            raise UsageError(f"--config {path}: unknown key {key!r}{nearest(key, known)}")
    try:
        return InferOptions.model_validate(table)
    except ValidationError as error:
        raise UsageError(f"--config {path}: {first_problem(error, str)}") from error


def nearest(key: str, known: Iterable[str]) -> str:
    """Name the known key nearest to an unknown one, as the end of a sentence.

    Examples
    --------
    >>> nearest("slide-mp", ["tile", "slide_mpp"])
    '; did you mean slide_mpp?'
    """
    close = difflib.get_close_matches(key.replace("-", "_").lower(), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def first_problem(error: ValidationError, label: Callable[[str], str]) -> str:
    """Say in one line what is wrong with the first wrong value.

    Parameters
    ----------
    error
        What pydantic found.
    label
        How the option of a key is named to the reader.
    """
    details = error.errors(include_url=False)
    problem = _most_telling(details)
    subject = f"{label(str(problem['loc'][0]))}: " if problem["loc"] else ""
    return subject + _explained(problem)


def _most_telling(details: list[ErrorDetails]) -> ErrorDetails:
    # A union reports every branch; a value out of range tells more than one that is no number,
    # and that more than one of the wrong kind.
    def vagueness(problem: ErrorDetails) -> int:
        return 2 * problem["type"].endswith("_type") + problem["type"].endswith("_parsing")

    first = details[0]["loc"][:1]
    return min((item for item in details if item["loc"][:1] == first), key=vagueness)


def _explained(problem: ErrorDetails) -> str:
    context: Mapping[str, Any] = problem.get("ctx", {})
    given = problem["input"]
    match problem["type"]:
        case "value_error":
            return str(context["error"])
        case "literal_error":
            return f"{given!r} is not one of {context['expected']}"
        case "string_pattern_mismatch":
            return f"{given!r} is not one of 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'"
        case "greater_than" | "greater_than_equal":
            limit = context.get("gt", context.get("ge"))
            least = "more than" if problem["type"] == "greater_than" else "at least"
            return f"must be {least} {limit:g}, got {given}"
        case "int_parsing" | "int_type" | "int_from_float":
            return f"expected a whole number, got {given!r}"
        case "float_parsing" | "float_type":
            return f"expected a number, got {given!r}"
        case _:
            return f"{problem['msg'].replace('Input should be', 'expected')}, got {given!r}"


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: not TOML: {error}") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"--config {path}: cannot be read: {reason}") from error


def _describes_model(data: Mapping[str, Any]) -> bool:
    return isinstance(data.get("model"), dict) or not MODEL_KEYS.isdisjoint(data)


def _options_of(data: dict[str, Any], path: Path) -> dict[str, Any]:
    table = data.get(TABLE)
    if table is None:
        return data
    if not isinstance(table, dict):
        raise UsageError(f"--config {path}: {TABLE} must be a table [{TABLE}], got {table!r}")
    beside = [key for key in data if key != TABLE]
    if beside:
        raise UsageError(
            f"--config {path}: {beside[0]!r} stands outside [{TABLE}]; "
            "put all options in the table, or all at top level"
        )
    return table
