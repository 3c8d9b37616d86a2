"""Which of the numbers in a checkpoint belong to which weight of the module?

A checkpoint is a ``.safetensors`` file or what ``torch.save`` wrote, read with ``weights_only``:
tensors and plain values, and nothing that could run code.  Training frameworks wrap the weights:
in a mapping beside the optimiser's state, and every name behind a prefix (``module.``,
``model.net.``).  Both are undone, and said.  What does not fit the module after that is refused.
"""

from __future__ import annotations

import argparse
import logging
import pickle
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PosixPath, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gigafcn.errors import ModelError
from gigafcn.model.trust import refuse_traversal, require_same

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import nn

log = logging.getLogger(__name__)

LISTED = 5
WRAPPERS = frozenset(
    {
        "state_dict", "model_state_dict", "model_state", "network_weights", "weights", "params",
        "model", "net", "network", "module", "backbone", "student", "teacher", "generator",
        "ema", "model_ema", "ema_state_dict", "state_dict_ema", "params_ema", "ema_model",
    }
)  # fmt: skip
"""Keys under which training frameworks keep weights."""

HARMLESS = (
    argparse.Namespace, PosixPath, PurePosixPath,
    np.dtype, np.dtypes.Float32DType, np.dtypes.Float64DType, np.dtypes.Int64DType,
)  # fmt: skip
"""Classes that checkpoints hold beside weights, and that run nothing when they are made."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where weights are, and how much of a misfit is allowed."""

    path: Path
    key: str | None = None
    """Where in the file they are, dotted; None is found."""

    allow_unexpected: bool = False
    sha256: str | None = None


def load_checkpoint(module: nn.Module, checkpoint: Checkpoint) -> str:
    """Load weights into a module, and return the file's sha256.

    Raises
    ------
    ModelError
        If the file cannot be read safely, or its weights do not fit the module; with their names.
    """
    path = checkpoint.path
    if not path.is_file():
        raise ModelError(f"no checkpoint {path}")
    digest = require_same(path, checkpoint.sha256)
    weights, keys = unwrapped(read_checkpoint(path), checkpoint.key, path)
    target = module.state_dict()
    weights, prefix = _without_prefix(weights, target)
    _refuse_misfits(weights, target, checkpoint)
    fitting = {name: tensor for name, tensor in weights.items() if name in target}
    module.load_state_dict(fitting, strict=False)
    undone = [f"key {key!r}" for key in keys] + ([f"prefix {prefix!r}"] if prefix else [])
    log.info(
        "%d tensors loaded from %s%s",
        len(fitting),
        path.name,
        f", unwrapped from {', '.join(undone)}" if undone else "",
    )
    return digest


def read_checkpoint(path: Path) -> Any:
    """What a checkpoint file holds; nothing in it is executed.

    Raises
    ------
    ModelError
        If it is damaged, or holds more than tensors and plain values.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        refuse_traversal(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals([*HARMLESS, _scalar()]):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        raise ModelError(
            f"checkpoint {path} is not read: it is damaged or holds more than weights, and "
            f"unpickling that could run code ({_first_line(problem)}); save the weights alone, "
            f"with torch.save(model.state_dict(), PATH) or as .safetensors"
        ) from problem
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as problem:
        raise ModelError(f"checkpoint {path} cannot be read: {_first_line(problem)}") from problem


def _scalar() -> Any:
    """What numpy makes a scalar with when it is unpickled, such as a best score."""
    return np.float64(0).__reduce__()[0]


def _first_line(problem: Exception) -> str:
    # torch says at length how to switch the safety off; what it found comes last.
    text = " ".join(str(problem).split())
    found = text.rpartition("WeightsUnpickler error: ")[2]
    return found.partition(" Please use")[0][:200].strip()


def unwrapped(held: Any, key: str | None, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Weights by name, and the keys that they were found under.

    Raises
    ------
    ModelError
        If there are none, or several sets of them to choose from.
    """
    keys: list[str] = []
    if key is not None:
        held, keys = _at(held, key, path), [key]
    while not is_weights(held):
        if not isinstance(held, dict):
            raise ModelError(f"checkpoint {path} holds no weights but a {type(held).__name__}")
        found = [name for name in held if name in WRAPPERS and _holds_weights(held[name])]
        if len(found) != 1:
            where = f" under {'.'.join(keys)!r}" if keys else ""
            what = "several sets of weights" if found else "no weights where they are usual"
            listed = _listed(found or [str(name) for name in held])
            raise ModelError(
                f"checkpoint {path} holds {what}{where}: {listed}; name one as checkpoint_key "
                f"in a model file (model.toml)"
            )
        held = held[found[0]]
        keys.append(found[0])
    return {name: value for name, value in held.items() if isinstance(value, Tensor)}, keys


def is_weights(held: Any) -> bool:
    """Whether this maps names to tensors; a plain value or two among them is no harm."""
    if not isinstance(held, dict) or not held:
        return False
    tensors = sum(isinstance(value, Tensor) for value in held.values())
    nested = any(isinstance(value, dict | list) for value in held.values())
    return 2 * tensors > len(held) and not nested and all(isinstance(name, str) for name in held)


def _holds_weights(held: Any) -> bool:
    if is_weights(held):
        return True
    return isinstance(held, dict) and any(
        name in WRAPPERS and _holds_weights(value) for name, value in held.items()
    )


def _at(held: Any, key: str, path: Path) -> Any:
    if isinstance(held, dict) and key in held:
        return held[key]
    for part in key.split("."):
        if not isinstance(held, dict) or part not in held:
            names = _listed([str(name) for name in held]) if isinstance(held, dict) else "none"
            raise ModelError(f"checkpoint {path} has no key {key!r}; keys there: {names}")
        held = held[part]
    return held


def _without_prefix(
    weights: dict[str, Tensor], target: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str]:
    """Weights without the prefix that makes most of them fit, and that prefix."""
    fits: Counter[str] = Counter()
    for name in weights:
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in target:
                fits[".".join(parts[:cut])] += 1
    if not fits:
        return weights, ""
    best = max(fits, key=lambda prefix: (fits[prefix], -len(prefix)))
    if not best or fits[best] == fits[""]:
        return weights, ""
    start = f"{best}."
    bare = {n.removeprefix(start): tensor for n, tensor in weights.items() if n.startswith(start)}
    outside = {n: tensor for n, tensor in weights.items() if not n.startswith(start)}
    # Of two that would bear one name, the one behind the prefix is meant.
    return {f"{n} (outside {best})" if n in bare else n: outside[n] for n in outside} | bare, start


def _refuse_misfits(
    weights: Mapping[str, Tensor], target: Mapping[str, Tensor], checkpoint: Checkpoint
) -> None:
    path = checkpoint.path
    # Older checkpoints do not count batches, and nothing reads the count in eval mode.
    missing = [n for n in target if n not in weights and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in weights if name not in target]
    if missing:
        also = f" and has {len(unexpected)} others: {_listed(unexpected)}" if unexpected else ""
        raise ModelError(
            f"checkpoint {path} does not fit the model: it lacks {len(missing)} of "
            f"{len(target)} weights: {_listed(missing)}{also}; it is of another architecture, or "
            f"the factory needs other arguments"
        )
    other = [
        f"{name} is {tuple(weights[name].shape)}, the model has {tuple(target[name].shape)}"
        for name in target
        if name in weights and weights[name].shape != target[name].shape
    ]
    if other:
        raise ModelError(
            f"checkpoint {path} does not fit the model: {len(other)} weights have other shapes: "
            f"{_listed(other)}; it is of another architecture, or the factory needs other "
            f"arguments"
        )
    if unexpected and not checkpoint.allow_unexpected:
        raise ModelError(
            f"checkpoint {path} has {len(unexpected)} weights that the model has not: "
            f"{_listed(unexpected)}; pass --allow-unexpected (allow_unexpected=True) to leave "
            f"them out"
        )


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - LISTED} more" if len(every) > LISTED else ""
    return ", ".join(every[:LISTED]) + more
