"""How does a TorchScript file become a module?

It runs as it is, on windows.  Where torch's converter turns it into an exported program of any
height and width that gives the same numbers, that program is used instead, and can be mapped
exactly.  Traced nets convert; scripted ones with loops over sizes mostly do not.

Loading needs trust: TorchScript is a language with functions that write files (``aten::save``),
and a module's ``__setstate__`` runs while it is loaded.
"""

from __future__ import annotations

import logging
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gigafcn.errors import ModelError
from gigafcn.model.exported import of_program, quiet_torch
from gigafcn.model.loaded import LoadedModel, to_eval
from gigafcn.model.trust import Trust, refuse_traversal, require_trust

if TYPE_CHECKING:
    from pathlib import Path

    from torch.export import ExportedProgram
    from torch.fx import Node
    from torch.jit import ScriptModule

log = logging.getLogger(__name__)

RUNS_CODE = "is TorchScript, a program that can write files as soon as it is loaded"
SAMPLES_PX = (64, 224)
"""Image sizes at which a script is converted, and compared with what it was converted to."""

TOLERANCE = 1e-5
"""Of the largest output: rounding of fp32 sums in another order; a wrong op is off by far more."""


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive of ``torch.jit.save``."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.partition("/")[2].startswith("code/") for name in archive.namelist())


def load_torchscript(path: Path, trust: Trust) -> LoadedModel:
    """Load a TorchScript file.

    Raises
    ------
    ModelError
        If it is not trusted, or damaged.
    """
    script, digest = load_script(path, trust)
    channels = first_convolution_channels(script)
    program = _converted(script, channels or 3)
    if program is not None:
        log.info("%s was converted to an exported program of any image size", path.name)
        model = of_program(program, path, "TorchScript, converted", digest)
        return replace(model, input_channels=channels)
    return LoadedModel(
        script,
        path.stem,
        str(path.resolve()),
        exportable=False,
        input_channels=channels,
        format="TorchScript",
        sha256=digest,
    )


def load_script(path: Path, trust: Trust) -> tuple[ScriptModule, str]:
    """The script as it is, in eval mode, and its file's sha256."""
    digest = require_trust(path, trust, RUNS_CODE)
    refuse_traversal(path)
    try:
        with quiet_torch():
            script: ScriptModule = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ModelError(
            f"model file {path} cannot be loaded as TorchScript: {reason}"
        ) from problem
    to_eval(script, path.stem)
    return script, digest


def first_convolution_channels(script: nn.Module) -> int | None:
    """Input channels by the first four-dimensional weight; groups aside, a convolution's."""
    weight = next((p for p in script.parameters() if p.dim() == 4), None)
    return None if weight is None else int(weight.shape[1])


def _converted(script: ScriptModule, channels: int) -> ExportedProgram | None:
    """The script as a program of any size that gives the same numbers; None if that fails."""
    try:
        with quiet_torch(), torch.no_grad():
            # Two images, for a size of one would be taken for a constant.
            sample = torch.rand(2, channels, SAMPLES_PX[0], SAMPLES_PX[0])
            from torch._export.converter import TS2EPConverter  # private: absence is no failure

            program: ExportedProgram = TS2EPConverter(script, (sample,)).convert()
            _name_convolutions(program)
            if _is_dynamic(program) and _same(script, program.module(), channels):
                return program
    except Exception as problem:  # a private converter of a deprecated format raises anything
        log.debug("TorchScript not converted: %s: %s", type(problem).__name__, problem)
    return None


def _is_dynamic(program: ExportedProgram) -> bool:
    image = program.graph_signature.user_inputs[0]
    node = next(node for node in program.graph.nodes if node.name == image)
    batch, _, height, width = node.meta["val"].shape
    return not any(isinstance(n, int) for n in (batch, height, width))


def _same(script: nn.Module, program: nn.Module, channels: int) -> bool:
    """Whether both give the same numbers, at sizes beyond the one of the conversion too."""
    generator = torch.Generator().manual_seed(0)
    for height, width in ((SAMPLES_PX[0], SAMPLES_PX[1]), (SAMPLES_PX[1], 2 * SAMPLES_PX[0])):
        image = torch.rand(1, channels, height, width, generator=generator)
        expected: Any = script(image)
        found: Any = program(image)
        if not isinstance(expected, Tensor) or not isinstance(found, Tensor):
            return False
        if expected.shape != found.shape:
            return False
        if not (expected - found).abs().max() <= TOLERANCE * expected.abs().max():
            return False
    return True


def _name_convolutions(program: ExportedProgram) -> None:
    """Write convolutions as ``torch.export`` does; tracing knew one op for all kinds of them."""
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.convolution.default:
            _name_convolution(node)
    program.graph_module.recompile()


def _name_convolution(node: Node) -> None:
    image, weight, bias, stride, padding, dilation, transposed, extra, groups = node.args
    if len(node.args[3]) != 2:  # type: ignore[arg-type]  # a list
        return
    if transposed:
        node.target = torch.ops.aten.conv_transpose2d.input
        node.args = (image, weight, bias, stride, padding, extra, groups, dilation)
    else:
        node.target = torch.ops.aten.conv2d.default
        node.args = (image, weight, bias, stride, padding, dilation, groups)
