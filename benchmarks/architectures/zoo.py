"""All rows of the table, library by library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.architectures.torchvision_models import import_torchvision

if TYPE_CHECKING:
    from benchmarks.architectures.entry import Entry


def entries() -> tuple[list[Entry], str]:
    """All rows, and how torchvision was imported."""
    how = import_torchvision()
    # timm and segmentation_models_pytorch import torchvision, so it must come first.
    from benchmarks.architectures import zoo_monai, zoo_smp, zoo_timm, zoo_torchvision

    zoos = (zoo_monai, zoo_smp, zoo_timm, zoo_torchvision)
    return [entry for zoo in zoos for entry in zoo.entries()], how
