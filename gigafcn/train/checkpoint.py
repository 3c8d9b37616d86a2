"""How are weights of the demonstration net kept?  As safetensors, with the class names inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from gigafcn.errors import ModelError
from gigafcn.model.demonstration import CLASSES, DemonstrationNet

if TYPE_CHECKING:
    from pathlib import Path


def save_checkpoint(path: Path, net: DemonstrationNet, step: int) -> None:
    """Write the net's weights and running statistics, replacing the file in one move."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial")
    save_file(tensors, unfinished, {"classes": ",".join(CLASSES), "step": str(step)})
    unfinished.chmod(0o644)  # safetensors makes it private, but weights are shared
    unfinished.replace(path)


def load_checkpoint(path: Path) -> tuple[DemonstrationNet, int]:
    """Return the net in eval mode, and the training step it was saved at.

    Raises
    ------
    ModelError
        If the file is missing, no safetensors file, or of another net.
    """
    try:
        with safe_open(path, "pt") as stored:
            step = int((stored.metadata() or {}).get("step", "0"))
        net = DemonstrationNet()
        net.load_state_dict(load_file(path), strict=True)
    except (OSError, SafetensorError, RuntimeError) as problem:
        reason = str(problem).splitlines()[0]
        raise ModelError(
            f"checkpoint {path} cannot be loaded into DemonstrationNet: {reason}; "
            f"write one with python -m gigafcn.train"
        ) from problem
    return net.eval(), step
