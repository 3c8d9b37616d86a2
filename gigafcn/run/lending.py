"""What do other processes need to compute tiles of a run, and under which names do they find it?

A slide or model in memory is written into the lent folder; all else is named by absolute paths,
since processes on other machines start elsewhere.
"""

from __future__ import annotations

import hashlib
import inspect
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import cloudpickle
import numpy as np
import torch

from gigafcn.errors import GigafcnError, RunError
from gigafcn.geometry import Box
from gigafcn.schedule.handover import Handover, JobFiles, lent_folder, write_handover
from gigafcn.schedule.job import PICKLED
from gigafcn.storage.url_path import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from gigafcn.run.request import Request
    from gigafcn.slide.protocol import Slide

WRITTEN_ROWS = 1024
"""Of an array in memory at a time."""

KNOWN_CODE = ("torch.", "monai.", "torchvision.", "timm.")
"""Packages whose classes are the same as long as their version is."""


@contextmanager
def handed_over(request: Request, path: Path, run: str) -> Iterator[Handover]:
    """Leave everything that other processes need beside a map.

    Raises
    ------
    RunError
        If the disk refuses.
    """
    with ExitStack() as lent:
        try:
            folder = lent.enter_context(lent_folder(path, run))
            # Arrays and modules in memory are read by position, so they go to a disk.
            near = lent.enter_context(TemporaryDirectory(prefix=".gigafcn-"))
            own = Path(near) if is_url(path) else folder
            files = _job_files(request, path.absolute(), own)
            handover = write_handover(folder, files, request.plan.to_json())
        except GigafcnError:
            raise
        except (OSError, RuntimeError) as error:  # the latter is torch's for a full disk
            raise RunError(
                f"cannot write slide and model for the worker processes beside {path}: {error}"
            ) from error
        yield handover


def _job_files(request: Request, store: Path, folder: Path) -> JobFiles:
    options, slide, model = request.options, request.slide.source, request.model.source
    if slide is None:
        slide = str(folder / "slide.npy")
        _write_array(request.slide, slide)
    elif not is_url(slide):
        slide = str(Path(slide).absolute())
    weights = None
    if model is None or request.classifier is not None:
        model = str(folder / f"model{PICKLED}")
        torch.save(request.model.module, model, pickle_module=cloudpickle)
        key = hashlib.sha256(Path(model).read_bytes()).hexdigest()
    else:
        weights = request.model.weights_hash()
        key = _model_key(model, request.model.sha256, weights, request.model.module, folder)
    return JobFiles(
        str(store),
        slide,
        model,
        trust=options.trust,
        sha256=options.sha256,
        allow_unexpected=options.allow_unexpected,
        strict=options.strict,
        weights=weights,
        plane=None if options.plane is None else dict(options.plane),
        orient=options.orient,
        image=request.slide.traits.image,
        levels_from=options.levels_from,
        profile=options.profile,
        called=request.slide.name if options.deidentify else None,
        key=key,
    )


def _model_key(
    source: str, sha256: str | None, weights: str, module: nn.Module, folder: Path
) -> str:
    """Text that differs when weights or code of a module differ; unlike any other if in doubt."""
    digest = hashlib.sha256(f"{source}\0{sha256}\0{weights}\0{module}".encode())
    if sha256 is None:
        kinds = {type(layer) for layer in module.modules()}
        for kind in sorted(kinds, key=lambda k: f"{k.__module__}.{k.__qualname__}"):
            if not f"{kind.__module__}.".startswith(KNOWN_CODE):
                digest.update(_code_of(kind) or folder.name.encode())
    return digest.hexdigest()


def _code_of(kind: type) -> bytes | None:
    """The file that a class is written in."""
    try:
        return Path(inspect.getfile(kind)).read_bytes()
    except (OSError, TypeError):
        return None


def _write_array(slide: Slide, path: str) -> None:
    """Write a slide in memory as an array file, some rows at a time."""
    height, width = slide.levels[0].shape
    shape = (height, width, slide.channels)
    descr = np.lib.format.dtype_to_descr(slide.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    with Path(path).open("wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        for row in range(0, height, WRITTEN_ROWS):
            rows = slide.read(Box(row, 0, min(row + WRITTEN_ROWS, height), width))
            file.write(np.ascontiguousarray(rows).data)
