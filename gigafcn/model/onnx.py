"""How does an ONNX file become a module?

It becomes a module that hands each batch to onnxruntime, on windows only: its layers are not torch
ops, so nothing can be proved about them.  ONNX files are data.  Custom ops come from libraries that
are never registered here, and onnxruntime itself refuses weights outside the file's folder.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from gigafcn.errors import ModelError
from gigafcn.model.loaded import LoadedModel
from gigafcn.model.trust import Trust, require_same

if TYPE_CHECKING:
    from pathlib import Path

TYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
}
COLOURS = (1, 3, 4)


class OnnxNet(nn.Module):
    """A net that onnxruntime computes.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.session = _session(path)
        self.input = self.session.get_inputs()[0]
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.dtype = TYPES.get(self.input.type)
        self.batch = self.input.shape[0] if isinstance(self.input.shape[0], int) else None

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxNet:
        """Itself: a session cannot be copied, and nothing in it changes."""
        return self

    def __reduce__(self) -> tuple[type[OnnxNet], tuple[Path]]:
        """By its path, for other processes."""
        return OnnxNet, (self.path,)

    def forward(self, image: Tensor) -> Tensor | dict[str, Tensor]:
        """Run the session: one tensor, or tensors by name if there are several."""
        if image.dtype != self.dtype:
            raise ModelError(
                f"{self.path.name} computes in {self.dtype}, not in {image.dtype}; "
                f"choose another --precision"
            )
        parts = [self._run(part) for part in torch.split(image, self.batch or image.shape[0])]
        joined = [
            torch.from_numpy(np.concatenate(arrays)).to(image.device)
            for arrays in zip(*parts, strict=True)
        ]
        return joined[0] if len(joined) == 1 else dict(zip(self.outputs, joined, strict=True))

    def _run(self, part: Tensor) -> list[Any]:
        count = part.shape[0]
        if self.batch is not None and count < self.batch:
            part = torch.cat((part, part[-1:].expand(self.batch - count, -1, -1, -1)))
        pixels = np.ascontiguousarray(part.detach().cpu().numpy())
        return [array[:count] for array in self.session.run(None, {self.input.name: pixels})]


def load_onnx(path: Path, trust: Trust) -> LoadedModel:
    """Load an ONNX file.

    Raises
    ------
    ModelError
        If onnxruntime is not installed or refuses the file, or it is no model of one image.
    """
    digest = require_same(path, trust.sha256)
    net = OnnxNet(path).eval()
    shape = list(net.input.shape)
    if len(net.session.get_inputs()) != 1 or len(shape) != 4 or net.dtype is None:
        described = ", ".join(f"{i.name} {i.type} {i.shape}" for i in net.session.get_inputs())
        raise ModelError(f"model file {path} takes {described}; expected one image (b, c, y, x)")
    _, channels, height, width = (n if isinstance(n, int) else None for n in shape)
    if width in COLOURS and channels not in COLOURS:
        raise ModelError(
            f"model file {path} takes images {shape} with the channels last; "
            f"convert it to (b, c, y, x)"
        )
    if (height is None) != (width is None):
        raise ModelError(f"model file {path} takes images {shape} of which one side is fixed")
    fixed = height is not None
    return LoadedModel(
        net,
        path.stem,
        str(path.resolve()),
        window=(height, width) if height is not None and width is not None else None,
        fixed=fixed,
        exportable=False,
        input_channels=channels,
        format="ONNX",
        sha256=digest,
    )


def _session(path: Path) -> Any:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ModelError(
            f"model file {path} needs onnxruntime, which is not installed: "
            f"pip install 'gigafcn[onnx]'; or export the torch module to .pt2"
        ) from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised; what is logged goes past the caller
    providers = ["CPUExecutionProvider"]
    if torch.cuda.is_available() and "CUDAExecutionProvider" in runtime.get_available_providers():
        providers.insert(0, "CUDAExecutionProvider")
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as problem:  # onnxruntime has an exception of its own for each status
        reason = " ".join(str(problem).split())[:300]
        raise ModelError(f"model file {path} cannot be read by onnxruntime: {reason}") from problem
