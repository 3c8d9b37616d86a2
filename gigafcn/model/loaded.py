"""What is known of a model once it is loaded: the module, and what its author said about it.

Every format is brought into this one form.  What a format cannot tell stays None; what the author
left open although there is a place for it is listed, so that a run can name it.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd

log = logging.getLogger(__name__)

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A module and what is known of it; None where nothing is."""

    module: nn.Module
    """In eval mode, on the CPU."""

    name: str
    source: str | None
    """What :func:`gigafcn.load_model` needs to load it again; None for a module in memory."""

    classes: tuple[str, ...] | None = None
    colours: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    """Per channel, for pixels scaled to 0..1."""

    std: tuple[float, ...] | None = None
    activation: str | None = None
    """What turns its output into scores, if its author said so."""

    scale: float | None = None
    """Stored values are multiplied by it before the mean is taken off."""

    mpp: float | None = None
    """Micrometres per px that it was trained at."""

    window: Pair | None = None
    """Input size (y, x) in px: the only one it takes if ``fixed``, else what it was trained on."""

    fixed: bool = False
    """Whether it takes no other size than ``window``."""

    step: Pair | None = None
    """Px (y, x) between windows, if its author said so."""

    exportable: bool = True
    """False for what only its own runtime executes: run it in patch or blend."""

    output: str | int | None = None
    """Which of several outputs is the map."""

    input_channels: int | None = None
    """Channels that it takes, where its layers do not tell."""

    format: str = "torch module"
    """What it was loaded from, in words."""

    sha256: str | None = None
    """Of the file it came from, if that was one file."""

    unset: tuple[str, ...] = ()
    """Keys that its model file leaves open although the model's author could fill them."""

    @property
    def channels(self) -> int | None:
        """Input channels, as stated or by its first convolution; None if it has none."""
        if self.input_channels is not None:
            return self.input_channels
        for layer in self.module.modules():
            if isinstance(layer, nn.Conv2d):
                return layer.in_channels
        return None

    @property
    def whole_image_refusal(self) -> str | None:
        """Why the model cannot be mapped exactly, whatever its layers, and the remedy; or None."""
        if self.fixed and self.window is not None:
            size = f"{self.window[0]} x {self.window[1]} px (y, x)"
            return (
                f"model {self.name} ({self.format}) takes images of {size} only; for an exact "
                f"map export it with dynamic height and width"
            )
        if not self.exportable:
            return (
                f"model {self.name} ({self.format}) does not show what its layers do to one "
                f"image of any size, so nothing can be proved about it; for an exact map export "
                f"its torch module with torch.export, for one image of dynamic height and width"
            )
        return None

    def weights_hash(self) -> str:
        """Sha256 over the names and values of all weights and buffers; the file's if it has none.

        An ONNX session, for one, keeps its weights to itself.
        """
        weights = self.module.state_dict()
        if not weights and self.sha256 is not None:
            return self.sha256
        digest = hashlib.sha256()
        for name, tensor in sorted(weights.items()):
            digest.update(name.encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy())
        return digest.hexdigest()


def to_eval(module: nn.Module, name: str) -> nn.Module:
    """Switch a module to eval mode, and say so where that changes what it computes."""
    switched = [type(m).__name__ for m in module.modules() if m.training and _has_modes(m)]
    if switched:
        log.info(
            "model %s was in training mode (%s); it is run in eval mode",
            name,
            ", ".join(sorted(set(switched))),
        )
    return module.eval()


def _has_modes(layer: nn.Module) -> bool:
    """Whether a layer computes something else in training."""
    if isinstance(layer, _NormBase):
        # Without stored statistics it uses those of the image in either mode.
        return layer.track_running_stats or isinstance(layer, _BatchNorm)
    return isinstance(layer, _DropoutNd)
