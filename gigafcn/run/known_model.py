"""A model that several slides are mapped with: loaded, converted and analysed once.

What is kept depends on the model and on options that are part of the key.  It is found at the size
of the first slide and holds for all: where a model does something else at another size, the trace
that each slide has of its own is refused.  Models are not changed by runs, so what was found of one
holds for the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from gigafcn.run import choices
from gigafcn.run.classifiers import Classifier, as_classifier

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from gigafcn.analysis import Footprint
    from gigafcn.meaning import Meaning
    from gigafcn.model.loading import LoadedModel
    from gigafcn.run.options import Options

Found = TypeVar("Found")


class KnownModel:
    """A model with what has been found out about it.

    Parameters
    ----------
    model
        What :func:`gigafcn.load_model` takes.
    """

    def __init__(self, model: str | Path | nn.Module) -> None:
        self._model = model
        self._kept: dict[tuple[Any, ...], Any] = {}

    @staticmethod
    def of(model: str | Path | nn.Module | KnownModel) -> KnownModel:
        """The model itself if it is known already."""
        return model if isinstance(model, KnownModel) else KnownModel(model)

    def loaded(self, options: Options) -> LoadedModel:
        """The model as :func:`gigafcn.load_model` returns it."""
        key = ("loaded", options.trust, options.sha256, options.allow_unexpected)
        return self._once(key, lambda: choices.model(self._model, options))

    def classifier(
        self, options: Options, channels: int, gives_map: Callable[[], bool]
    ) -> Classifier | None:
        """The model converted, if it is a classifier of patches.

        Parameters
        ----------
        gives_map
            Whether the model gives an image a map, so that it is none.
        """
        key = ("classifier", channels, options.patch, options.output_stride)
        return self._once(
            key, lambda: as_classifier(self.loaded(options), channels, options, gives_map)
        )

    def footprint(self, key: tuple[Any, ...], find: Callable[[], Footprint]) -> Footprint:
        """The footprint that ``find`` finds, for what ``key`` says."""
        return self._once(("footprint", *key), find)

    def meaning(self, key: tuple[Any, ...], find: Callable[[], Meaning]) -> Meaning:
        """What the output is, for what ``key`` says."""
        return self._once(("meaning", *key), find)

    def _once(self, key: tuple[Any, ...], find: Callable[[], Found]) -> Found:
        if key not in self._kept:
            self._kept[key] = find()
        found: Found = self._kept[key]
        return found
