"""How does a model folder of the WSInfer zoo become a model?

Such a folder holds a patch classifier as TorchScript and ``config.json``: classes, patch size,
micrometres per px, and the transforms between a patch and the net.  The resizing among them becomes
part of the module, so that a window is the patch as it is cut from the slide (``patch_size_pixels``
at ``spacing_um_px``).  WSInfer resizes 8-bit pictures and rounds in between; here nothing is
rounded, so scores may differ by about one grey level's worth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn
from torch.nn import functional

from gigafcn.errors import ModelError
from gigafcn.model.loaded import LoadedModel
from gigafcn.model.torchscript import first_convolution_channels, load_script

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn.model.trust import Trust

CONFIG = "config.json"
SCRIPT = "torchscript_model.pt"

Pair = tuple[int, int]


class Transform(BaseModel):
    """One step between a patch and the net."""

    model_config = ConfigDict(frozen=True)

    name: Literal["Resize", "ToTensor", "Normalize"]
    arguments: dict[str, Any] | None = None

    def argument(self, name: str) -> Any:
        """An argument by name; None if it is not given."""
        return (self.arguments or {}).get(name)


class WSInferConfig(BaseModel):
    """What ``config.json`` of specification 1.0 says; other keys are of no concern."""

    model_config = ConfigDict(frozen=True)

    spec_version: Literal["1.0"]
    architecture: str
    num_classes: int = Field(gt=0)
    class_names: tuple[str, ...]
    patch_size_pixels: int = Field(gt=0)
    spacing_um_px: float = Field(gt=0)
    transform: tuple[Transform, ...]

    @model_validator(mode="after")
    def _fits(self) -> WSInferConfig:
        if len(self.class_names) != self.num_classes:
            raise ValueError(f"{len(self.class_names)} class_names for {self.num_classes} classes")
        order = [step.name for step in self.transform]
        if order not in (known := [["Resize", *ORDER], ORDER]):
            raise ValueError(f"transforms {order} in another order than {known[0]} or {known[1]}")
        return self

    def resize(self) -> Pair | None:
        """Size (y, x) px that patches are resized to before they are fed."""
        step = self.transform[0]
        if step.name != "Resize":
            return None
        size = step.argument("size")
        pair = (size, size) if isinstance(size, int) else tuple(size or ())
        if len(pair) != 2 or not all(isinstance(n, int) and n > 0 for n in pair):
            raise ValueError(f"Resize to {size!r}")
        return pair[0], pair[1]


ORDER = ["ToTensor", "Normalize"]


class ResizedInput(nn.Module):
    """A net behind the resizing of its patches, bilinear and antialiased as Pillow's."""

    def __init__(self, net: nn.Module, size: Pair) -> None:
        super().__init__()
        self.net = net
        self.size = size

    def forward(self, image: Tensor) -> Tensor:
        """Resize, run."""
        scores: Tensor = self.net(
            functional.interpolate(image, self.size, mode="bilinear", antialias=True)
        )
        return scores


def is_wsinfer(folder: Path) -> bool:
    """Whether a folder is a WSInfer model."""
    return (folder / CONFIG).is_file() and (folder / SCRIPT).is_file()


def load_wsinfer(folder: Path, trust: Trust) -> LoadedModel:
    """Load a WSInfer model folder.

    Raises
    ------
    ModelError
        If its TorchScript is not trusted, or its configuration is none that is known.
    """
    path = folder / CONFIG
    try:
        config = WSInferConfig.model_validate_json(path.read_bytes())
        resized = config.resize()
        mean, std = _numbers(config.transform[-1])
    except (ValidationError, ValueError, OSError) as problem:
        raise ModelError(f"{path} is no WSInfer configuration: {_reason(problem)}") from problem
    script, digest = load_script(folder / SCRIPT, trust)
    window = (config.patch_size_pixels, config.patch_size_pixels)
    return LoadedModel(
        script if resized is None or resized == window else ResizedInput(script, resized).eval(),
        folder.resolve().name,
        str(folder.resolve()),
        classes=config.class_names,
        mean=mean,
        std=std,
        activation="sigmoid" if config.num_classes == 1 else "softmax",
        mpp=config.spacing_um_px,
        window=window,
        fixed=True,
        exportable=False,
        input_channels=first_convolution_channels(script),
        format=f"WSInfer {config.architecture}",
        sha256=digest,
    )


def _numbers(normalize: Transform) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = (normalize.argument(name) for name in ("mean", "std"))
    if not mean or not std or len(mean) != len(std) or not all(std):
        raise ValueError(f"Normalize with mean {mean} and std {std}")
    return tuple(float(m) for m in mean), tuple(float(s) for s in std)


def _reason(problem: Exception) -> str:
    if not isinstance(problem, ValidationError):
        return str(problem)
    first = problem.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
