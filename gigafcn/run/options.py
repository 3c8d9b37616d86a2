"""The options of a run that shape its plan, and which values they may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gigafcn.engine.pixels import ACTIVATIONS, PRECISIONS
from gigafcn.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of :func:`gigafcn.infer` that shape the plan, with its defaults."""

    activation: str | None = None
    scale: float | None = None
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
    channels: Sequence[int] | None = None
    border: str = "cover"
    slide_mpp: float | tuple[float, float] | None = None
    save: str = "both"
    classes: Sequence[str] | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        """Refuse what no slide and no model could make right."""
        _one_of("activation", self.activation, (None, *ACTIVATIONS))
        _one_of("dtype", self.dtype, ("auto", "uint8", "float16", "float32"))
        _one_of("precision", self.precision, tuple(PRECISIONS))
        _one_of("save", self.save, ("both", "probabilities"))
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers must be at least 1, got {self.workers}")


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        known = ", ".join(str(a) for a in allowed if a is not None)
        raise UsageError(f"{name} is {value!r}; choose one of {known}")
