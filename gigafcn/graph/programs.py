"""A module traced at several image sizes, at each once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigafcn.errors import ModelError
from gigafcn.graph.trace import TracedProgram, traced_program

if TYPE_CHECKING:
    from torch import nn

SIZES = (256, 224, 64, 512, 572, 480)
"""Image sizes tried, in px, when none is given; the last is a multiple of 3 and 5."""

LIKELY_PERIOD = 32
"""Px of which the periods of most models are divisors."""


def likely_padded(image: tuple[int, int]) -> tuple[int, int]:
    """Size (y, x) in px to which most models want an image padded."""
    y, x = (max(SIZES[0], -(-n // LIKELY_PERIOD) * LIKELY_PERIOD) for n in image)
    return y, x


class Programs:
    """A module traced at several image sizes.

    Parameters
    ----------
    module
        Maps (1, channels, y, x) to one tensor or several.
    channels
        Input channels.
    """

    def __init__(self, module: nn.Module, channels: int) -> None:
        self.module, self.channels = module, channels
        self._traced: dict[tuple[int, int], TracedProgram | ModelError] = {}

    def at(self, size: tuple[int, int]) -> TracedProgram:
        """The program for one image size; a size that failed fails again."""
        if size not in self._traced:
            try:
                self._traced[size] = traced_program(self.module, self.channels, size)
            except ModelError as error:
                self._traced[size] = error
        found = self._traced[size]
        if isinstance(found, ModelError):
            raise found
        return found

    def gives_map(self, size: tuple[int, int]) -> bool:
        """Whether the module takes an image of this size and gives it a map of more than one px."""
        try:
            outputs = self.at(size).built.outputs
        except ModelError:
            return False
        shapes = [output.value.shape for output in outputs]
        return any(len(shape) == 4 and max(shape[2:]) > 1 for shape in shapes)

    def first(self, size: int | None) -> TracedProgram:
        """The program at the first size that exports."""
        errors: list[ModelError] = []
        for candidate in SIZES if size is None else (size,):
            try:
                return self.at((candidate, candidate))
            except ModelError as error:
                errors.append(error)
        raise errors[0]
