"""The options of a run that shape its plan, and which values they may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gigafcn.engine.pixels import ACTIVATIONS, PRECISIONS
from gigafcn.errors import UsageError
from gigafcn.plan.map_geometry import BORDERS, PADS
from gigafcn.slide.wanted import LEVELS_FROM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gigafcn.schedule.crew import Crew

Pair = tuple[int, int]
MODES = ("exact", "blend", "patch")
MODES_OF = {
    "batch": ("blend", "patch"),
    "overlap": ("blend",),
    "blend_weights": ("blend",),
    "step": ("patch",),
    "strip": ("exact",),
    "pad": ("exact",),
    "patch": ("exact",),
    "output_stride": ("exact",),
}
"""Modes in which an option means something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of :func:`gigafcn.infer` that shape the plan, with its defaults."""

    activation: str | None = None
    scale: float | Sequence[float] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    dtype: str = "auto"
    precision: str = "fp32"
    tile: int | Pair | None = None
    strip: int | None = None
    memory: int | None = None
    region: tuple[int, int, int, int] | None = None
    device: str = "auto"
    workers: int | None = None
    level: int | None = None
    channels: Sequence[int | str] | None = None
    plane: Mapping[str, int] | None = None
    image: int | str | None = None
    levels_from: str | None = None
    crop: bool = True
    orient: bool = False
    border: str | None = None
    pad: str | None = None
    tissue: str | Path | None = None
    tissue_class: Sequence[str] | None = None
    min_tissue: float = 0.1
    mpp: float | tuple[float, float] | None = None
    slide_mpp: float | tuple[float, float] | None = None
    mpp_tolerance: float = 0.02
    save: str = "both"
    save_mpp: float | None = None
    classes: Sequence[str] | None = None
    trust: bool = False
    sha256: str | None = None
    allow_unexpected: bool = False
    force_activation: bool = False
    mode: str = "exact"
    window: int | Pair | None = None
    overlap: float = 0.25
    step: int | Pair | None = None
    blend_weights: str = "constant"
    batch: int | None = None
    output_name: str | int | None = None
    patch: int | Pair | None = None
    output_stride: int | None = None
    verify: bool = True
    full_hash: bool = False
    deidentify: bool = False
    deidentify_key: str | Path | None = None
    crew: Crew | None = None
    """What workers that somebody else started have; None for those of this machine."""

    strict: bool = False
    profile: bool = False

    def __post_init__(self) -> None:
        """Refuse what no slide and no model could make right."""
        _one_of("activation", self.activation, (None, *ACTIVATIONS))
        _one_of("dtype", self.dtype, ("auto", "uint8", "float16", "float32"))
        _one_of("precision", self.precision, tuple(PRECISIONS))
        _one_of("save", self.save, ("both", "probabilities", "labels"))
        _one_of("mode", self.mode, MODES)
        _one_of("blend_weights", self.blend_weights, ("constant", "gaussian"))
        _one_of("border", self.border, (None, *BORDERS))
        _one_of("pad", self.pad, (None, *PADS))
        _one_of("levels_from", self.levels_from, (None, *LEVELS_FROM))
        if isinstance(self.image, str):
            raise UsageError(
                f"image {self.image!r} stands for several maps: call infer once with the number of "
                f"each image, or use the command line"
            )
        if not 0 <= self.overlap < 1:
            raise UsageError(f"overlap must be at least 0 and below 1, got {self.overlap}")
        if self.save_mpp is not None and not 0 < self.save_mpp < float("inf"):
            raise UsageError(f"save-mpp must be positive, got {self.save_mpp} µm/px")
        if not 0 <= self.mpp_tolerance < 1:
            raise UsageError(
                f"mpp_tolerance must be at least 0 and below 1, got {self.mpp_tolerance}"
            )
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"batch must be at least 1, got {self.batch}")
        for name, modes in MODES_OF.items():
            given, default = getattr(self, name), Options.__dataclass_fields__[name].default
            if given != default and self.mode not in modes:
                raise UsageError(
                    f"{name.replace('_', '-')} {given} is for mode {' and '.join(modes)}, not "
                    f"for mode {self.mode}"
                )
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers must be at least 1, got {self.workers}")


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        known = ", ".join(str(a) for a in allowed if a is not None)
        raise UsageError(f"{name} is {value!r}; choose one of {known}")
