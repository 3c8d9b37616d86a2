"""How does a ``.pt2`` file of ``torch.export.save`` become a module?

The exported program is unlifted again; it can be traced at any size that it was exported for, so a
program of dynamic height and width is mapped exactly, as its module would be.  One of a single size
runs on windows of that size.

Loading needs trust: ``torch.export.load`` reads weights and example inputs by unpickling them,
with ``weights_only=False`` where that is asked for or the safe way fails (torch 2.11 to 2.13), and
evaluates size expressions as text.
"""

from __future__ import annotations

import logging
import warnings
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind

from gigafcn.errors import ModelError
from gigafcn.model.loaded import LoadedModel
from gigafcn.model.trust import Trust, refuse_traversal, require_trust

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch.export import ExportedProgram

UNPICKLED = (
    "is an exported program, and torch unpickles parts of it when it is loaded, which can run code"
)
COMPILED = "data/aotinductor/"
"""Folder of machine code within an archive."""

MODES = {
    torch.ops.aten.dropout.default: ("dropout", 2),
    torch.ops.aten.feature_dropout.default: ("dropout", 2),
    torch.ops.aten.alpha_dropout.default: ("dropout", 2),
    torch.ops.aten.batch_norm.default: ("batch norm", 5),
}
"""Ops that compute something else in training, and which argument says so."""


class UnliftedProgram(nn.Module):
    """An exported program as a module that has just one mode.

    Parameters
    ----------
    program
        The unlifted program.
    batch
        Images that it takes at once, no more and no fewer; None takes any number.
    """

    def __init__(self, program: nn.Module, batch: int | None = None) -> None:
        super().__init__()
        self.program = program
        self.batch = batch
        for part in self.modules():
            part.training = False

    def train(self, mode: bool = True) -> UnliftedProgram:
        """Stay in eval mode: the mode was settled at export, and torch refuses to be asked."""
        return self

    def forward(self, image: Tensor) -> Any:
        """Run the program, on groups of images if it takes a fixed number."""
        if self.batch is None or image.shape[0] == self.batch:
            return self.program(image)
        parts = [self._group(part) for part in torch.split(image, self.batch)]
        return torch.utils._pytree.tree_map(lambda *outputs: torch.cat(outputs), *parts)

    def _group(self, part: Tensor) -> Any:
        """Outputs of one group, filled up with its last image."""
        assert self.batch is not None
        count = part.shape[0]
        if count < self.batch:
            part = torch.cat((part, part[-1:].expand(self.batch - count, -1, -1, -1)))
        return torch.utils._pytree.tree_map(lambda output: output[:count], self.program(part))


def load_exported(path: Path, trust: Trust) -> LoadedModel:
    """Load a ``.pt2`` file.

    Raises
    ------
    ModelError
        If it is not trusted, damaged, compiled, or no model of one image.
    """
    digest = require_trust(path, trust, UNPICKLED)
    refuse_traversal(path)
    _refuse_compiled(path)
    try:
        with quiet_torch():
            program = torch.export.load(path)
    except Exception as problem:  # torch documents none, and raises many
        reason = " ".join(str(problem).split())[:200]
        raise ModelError(
            f"model file {path} cannot be loaded as an exported program: "
            f"{type(problem).__name__}: {reason}"
        ) from problem
    return of_program(program, path, "exported program", digest)


def of_program(program: ExportedProgram, path: Path, kind: str, digest: str) -> LoadedModel:
    """What is known of an exported program.

    Raises
    ------
    ModelError
        If it takes anything but one image, or was exported in training mode.
    """
    shape = _image_shape(program, path)
    _refuse_training(program, path)
    batch, channels, *sides = (n if isinstance(n, int) else None for n in shape)
    height, width = sides
    fixed = height is not None or width is not None
    if fixed and (height is None or width is None):
        raise ModelError(
            f"model file {path} was exported with one of height and width dynamic; "
            f"export it with both, or neither"
        )
    return LoadedModel(
        UnliftedProgram(program.module(), batch),
        path.stem,
        str(path.resolve()),
        window=(height, width) if height is not None and width is not None else None,
        fixed=fixed,
        # Several images at once cannot be told from one in a graph of their shapes.
        exportable=batch in (None, 1),
        input_channels=channels,
        format=kind,
        sha256=digest,
    )


def _refuse_compiled(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise ModelError(f"model file {path} is no archive of torch.export.save, or is damaged")
    with zipfile.ZipFile(path) as archive:
        if any(COMPILED in name for name in archive.namelist()):
            raise ModelError(
                f"model file {path} holds machine code of AOTInductor, made for one device and "
                f"size; give the program that torch.export.save writes"
            )


def _image_shape(program: ExportedProgram, path: Path) -> tuple[Any, ...]:
    """Shape of the one input; sizes that may vary are symbols."""
    specs = [s for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    images = [values.get(spec.arg.name) for spec in specs]
    if len(images) != 1 or not isinstance(images[0], Tensor) or images[0].dim() != 4:
        shapes = ", ".join(str(tuple(getattr(image, "shape", ()))) for image in images)
        raise ModelError(
            f"model file {path} takes {len(images)} inputs ({shapes}), not one image "
            f"(b, c, y, x); wrap the model and export that"
        )
    return tuple(images[0].shape)


def _refuse_training(program: ExportedProgram, path: Path) -> None:
    for node in program.graph.nodes:
        what, position = MODES.get(node.target, ("", 0))
        if what and len(node.args) > position and node.args[position] is True:
            raise ModelError(
                f"model file {path} was exported in training mode: its {what} {node.name!r} "
                f"would make the map depend on chance or on the batch; export model.eval()"
            )


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Keep what torch logs of a failure from the user: the error says it in one line."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch._export")]
    before = [logger.disabled for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.disabled = True
        try:
            yield
        finally:
            for logger, disabled in zip(loggers, before, strict=True):
                logger.disabled = disabled
