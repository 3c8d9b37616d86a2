"""How is a torch module turned into a list of ops?

By ``torch.export`` of the module itself in eval mode with its real weights, its input a fake
tensor of the whole image's size, so that nothing is allocated.  The raw program is used as it is:
its ops are whole and made three times faster than a decomposed one.  Only where it writes into
views of a tensor is it decomposed with an empty table, which replaces writes by new tensors.
"""

from __future__ import annotations

import dataclasses
import logging
import traceback
import warnings
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from gigafcn.errors import ModelError
from gigafcn.graph.inline import inline_wrappers
from gigafcn.unrounded import UNROUNDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.export import ExportedProgram

log = logging.getLogger(__name__)

WRAPPED = "module"
"""Where the exported wrapper holds the user's module."""


class _DataAsDetached(TorchFunctionMode):
    """``tensor.data`` read as ``tensor.detach()``, which export can follow."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == _DATA:
            return args[0].detach()
        return func(*args, **(kwargs or {}))


_DATA = Tensor.data.__get__  # type: ignore[attr-defined]


class _Plain(nn.Module):
    """The user's module, its output made of tuples, lists and dicts."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.training = False

    def forward(self, x: Tensor) -> Any:
        with _DataAsDetached():
            return plain_output(self.module(x))


def plain_output(output: Any) -> Any:
    """Nested output in which dataclasses that torch does not know are dicts of their fields."""
    return pytree.tree_map(_fields, output)


def _fields(leaf: Any) -> Any:
    if not dataclasses.is_dataclass(leaf) or isinstance(leaf, type):
        return leaf
    return {
        field.name: plain_output(getattr(leaf, field.name)) for field in dataclasses.fields(leaf)
    }


def in_eval_mode(module: nn.Module) -> None:
    """Switch a module to eval mode if any part of it is not, and say so."""
    if any(part.training for part in module.modules()):
        log.info(
            "%s was in training mode; switched to eval mode, in which dropout is off and batch "
            "norm uses its stored statistics",
            type(module).__name__,
        )
        module.eval()


def precision_of(module: nn.Module) -> torch.dtype:
    """The one floating type of a module's parameters.

    Raises
    ------
    ModelError
        If there are several; the message names a parameter of each.
    """
    found: dict[torch.dtype, str] = {}
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point():
            found.setdefault(parameter.dtype, name)
    if len(found) > 1:
        each = ", ".join(f"{name} is {str(t).removeprefix('torch.')}" for t, name in found.items())
        raise ModelError(
            f"{type(module).__name__} mixes precisions ({each}); convert it to one, "
            f"for instance with module.float()"
        )
    return next(iter(found), torch.float32)


def exported(module: nn.Module, channels: int, size: tuple[int, int]) -> ExportedProgram:
    """The module's ops for one image size.

    Parameters
    ----------
    module
        Switched to eval mode if it is not.
    channels
        Input channels.
    size
        Image size (y, x) in px; nothing of that size is allocated.

    Raises
    ------
    ModelError
        If the module cannot be exported for this input, or mixes precisions.
    """
    in_eval_mode(module)
    dtype = precision_of(module)
    shape = (1, channels, *size)
    try:
        with quiet(), torch.no_grad(), UNROUNDED:
            with FakeTensorMode(allow_non_fake_inputs=True):
                example = torch.empty(shape, dtype=dtype, device=_device(module))
            program = torch.export.export(_Plain(module), (example,), strict=False)
    except Exception as error:  # torch.export documents no common base
        raise _failure(module, shape, error) from error
    inline_wrappers(program.graph_module)
    return program


def _device(module: nn.Module) -> torch.device:
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def functional(program: ExportedProgram) -> ExportedProgram:
    """The same ops without any that write into their inputs."""
    with quiet(), torch.no_grad(), UNROUNDED:
        decomposed: ExportedProgram = program.run_decompositions({})
    inline_wrappers(decomposed.graph_module)
    return decomposed


def _failure(module: nn.Module, shape: tuple[int, ...], error: Exception) -> ModelError:
    name, where = type(module).__name__, _user_line(error)
    if isinstance(error, GuardOnDataDependentSymNode | DataDependentOutputException):
        return ModelError(
            f"{name} has data-dependent control flow{where}: what it computes depends on the "
            f"values of pixels, so no fixed set of ops describes it; replace the Python branch or "
            f"number by tensor ops"
        )
    reason = " ".join(str(error).split())[:300]
    return ModelError(
        f"{name} cannot be exported for an input of shape {shape}{where}: "
        f"{type(error).__name__}: {reason}"
    )


def _user_line(error: Exception) -> str:
    """The last line outside torch and gigafcn that led to an error, as " at file:line"."""
    ours = str(Path(__file__).parent.parent)
    torchs = str(Path(torch.__file__).parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((ours, torchs, "<")):
            return f" at {Path(frame.filename).name}:{frame.lineno}"
    return ""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's own log of a failed export from the user: the error says it in one line."""
    names = (
        "torch._subclasses.fake_tensor",
        "torch.export",
        "torch._dynamo",
        "torch.fx.experimental.symbolic_shapes",
    )
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    # A partial graph is printed, not logged.
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.disabled = True
        try:
            yield
        finally:
            for logger, disabled in zip(loggers, before, strict=True):
                logger.disabled = disabled
