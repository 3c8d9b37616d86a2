"""Import torchvision with a torch that its compiled ops do not fit.

torchvision's wheel on PyPI is built for CUDA; beside a CPU build of torch its extension cannot be
loaded.  torchvision allows for that, and only detection models need the extension, but at import
it describes two of its ops (``nms``, ``qnms``) to torch, which must know their names.  So the names
are declared, without an implementation, and all that is plain Python runs as it is.
"""

from __future__ import annotations

import importlib
import sys

import torch

UNKNOWN_OPS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_declared: list[torch.library.Library] = []
"""Declarations last as long as the object that made them."""


def import_torchvision() -> str:
    """Make ``import torchvision`` work; return how: with its compiled ops or without."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        extension = importlib.import_module("torchvision.extension")
        return "with its compiled ops" if extension._has_ops() else "without its compiled ops"
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for op in UNKNOWN_OPS:
        library.define(f"{op}{SCHEMA}")  # type: ignore[no-untyped-call]
    _declared.append(library)
    importlib.import_module("torchvision")
    return "without its compiled ops"
