"""``inspect`` of models whose layers cannot be seen, and the model file that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gigafcn.cli.reporting import say, show_table
from gigafcn.errors import GigafcnError

if TYPE_CHECKING:
    from gigafcn.analysis import Footprint
    from gigafcn.model.loaded import LoadedModel

TRIED_PX = (256, 224, 64, 512)
"""Image sizes tried to count classes, where neither analysis nor model states one."""


def hidden_json(loaded: LoadedModel) -> dict[str, Any]:
    """What can be said of a model whose layers cannot be seen, or whose size is fixed."""
    return {
        "local": False,
        "blockers": [],
        "refusal": loaded.whole_image_refusal,
        "format": loaded.format,
        "window": loaded.window,
        "fixed": loaded.fixed,
    }


def show_hidden(loaded: LoadedModel) -> None:
    """Print the same."""
    size = "any" if loaded.window is None else f"{loaded.window[0]} x {loaded.window[1]} px (y, x)"
    only = " only" if loaded.fixed else ""
    show_table(
        [
            ("model", loaded.name),
            ("format", loaded.format),
            ("image size", size + only),
            ("exact tiling", "no"),
        ]
    )
    say(f"not exact: {loaded.whole_image_refusal}")


def write_config(
    path: Path,
    loaded: LoadedModel,
    channels: int,
    footprint: Footprint | None,
    *,
    quiet: bool,
) -> None:
    """Write a model file with what is known of the model."""
    from gigafcn.model.describing import Derived, write_model_file  # loads torch

    notes = [f"Format: {loaded.format}."]
    if footprint is not None and footprint.local:
        top, bottom, left, right = footprint.halo
        notes.append(
            f"Can be mapped exactly: halo {top}/{bottom}/{left}/{right} px (top, bottom, left, "
            f"right), stride {footprint.stride[0]} x {footprint.stride[1]}, "
            f"period {footprint.period[0]} x {footprint.period[1]} px."
        )
    else:
        notes.append("Cannot be mapped exactly: run it with --mode blend or --mode patch.")
    classes = _classes(loaded, channels, footprint)
    write_model_file(path, loaded, Derived(channels, classes, tuple(notes)))
    if not quiet:
        say(f"wrote {path}: fill in what is commented out, then --model {path}")


def _classes(loaded: LoadedModel, channels: int, footprint: Footprint | None) -> int | None:
    """Output channels, by the graph or by running the model once; None if it does not run."""
    if footprint is not None and footprint.graph is not None:
        return footprint.graph.result.channels
    import torch

    from gigafcn.engine.forward import Forward

    sizes = [loaded.window] if loaded.window is not None else [(px, px) for px in TRIED_PX]
    for size in sizes:
        try:
            with torch.inference_mode():
                scores = Forward(loaded.module, loaded.output)(torch.zeros(1, channels, *size))
        except GigafcnError:
            continue
        return int(scores.shape[1])
    return None
