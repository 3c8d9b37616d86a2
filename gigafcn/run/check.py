"""Is a finished map still as it was written, and what must be computed again?

Every object is read back and its CRC32C compared with the receipt of the piece of work that wrote
it.  What differs or is missing can be computed again, alone, from slide and model, with the plan
of the run; the same machine gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from gigafcn.errors import SlideError, UsageError
from gigafcn.output.ownership import KEY, attributes_of, is_ours
from gigafcn.output.spec import map_levels, source_shards
from gigafcn.output.tile_pyramid import shards_across_tiles
from gigafcn.plan.run_plan import RunPlan
from gigafcn.run.beginning import At
from gigafcn.run.mapping import map_slide
from gigafcn.run.options import Options
from gigafcn.schedule.run_folder import RunFolder, level_piece, tile_piece
from gigafcn.schedule.site import Site
from gigafcn.storage.url_path import place_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

    from gigafcn.progress import ProgressCallback
    from gigafcn.slide.opening import Source


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of a map."""

    path: Path
    objects: int
    """That receipts know."""

    differing: tuple[str, ...]
    """Keys of objects that are not what was written, or cannot be read."""

    missing: tuple[str, ...]
    """Keys of objects that are not there."""

    unknown: tuple[str, ...]
    """Pieces of work without a receipt."""

    repaired: bool = False
    """Whether all of that was computed again."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong with the map as it is now."""
        return self.repaired or not (self.differing or self.missing or self.unknown)


def check(
    output: str | Path,
    *,
    repair: bool = False,
    source: Source | None = None,
    model: str | Path | nn.Module | None = None,
    site: Site | None = None,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Checked:
    """Compare a finished map with its receipts; compute again what is damaged.

    Parameters
    ----------
    output
        The map; its receipts are beside it, in ``OUT.zarr.run``.
    repair
        Compute again what differs or is missing, and nothing else.
    source, model
        For a repair; None is where the run found them.
    site
        Where a repair computes; None is this process.
    progress
        Called while a repair goes on.
    options
        Of a repair: those of :func:`gigafcn.infer` that do not shape the map, such as ``device``
        and ``trust``.

    Raises
    ------
    SlideError
        If there is no finished map.
    UsageError
        If it has no receipts; if slide or model of a repair are others, or not known.
    """
    folder = RunFolder(place_of(output))
    begun = _begun(folder)
    found = _compared(folder, RunPlan.from_json(begun["plan"]))
    if found.is_sound or not repair:
        return found
    given = begun["fingerprint"]
    source = source if source is not None else _known(begun, "slide", folder.map_path)
    model = model if model is not None else _known(begun, "model", folder.map_path)
    asked = {f.name: _tupled(given[f.name]) for f in fields(Options) if f.name in given}
    # The model was tried when the map was made.
    how = Options(**{**asked, "verify": False, **options})
    at = At(path=folder.map_path, reopen=True)
    map_slide(source, model, at, how, site=site or Site(), progress=progress)
    return Checked(
        found.path, found.objects, found.differing, found.missing, found.unknown, repaired=True
    )


def _begun(folder: RunFolder) -> dict[str, Any]:
    path = folder.map_path
    if not path.exists():
        raise SlideError(f"map {path} does not exist")
    if not is_ours(path):
        raise SlideError(f"{path} is not a map that gigafcn wrote")
    if KEY not in attributes_of(path):
        raise SlideError(
            f"map {path} cannot be checked: its run did not finish; the command that began it "
            f"goes on, and checks what is there"
        )
    begun = folder.begun()
    if begun is None or not folder.receipts():
        raise UsageError(
            f"map {path} cannot be checked: there are no receipts at {folder.path}, which is "
            f"written beside a map and belongs to it"
        )
    return begun


def _compared(folder: RunFolder, plan: RunPlan) -> Checked:
    receipts = folder.receipts()
    damaged = [key for receipt in receipts.values() for key in folder.damaged(receipt)]
    missing = {key for key in damaged if not (folder.map_path / key).exists()}
    return Checked(
        path=folder.map_path,
        objects=sum(len(receipt.objects) for receipt in receipts.values()),
        differing=tuple(sorted(set(damaged) - missing)),
        missing=tuple(sorted(missing)),
        unknown=tuple(piece for piece in _pieces(folder, plan) if piece not in receipts),
    )


def _pieces(folder: RunFolder, plan: RunPlan) -> Iterator[str]:
    """Every piece of work that a finished map has a receipt of."""
    described = attributes_of(folder.map_path)[KEY].get("tiles", {})
    given_up = [tuple(box) for box in described.get("failed", ())]
    yield from (tile_piece(box) for box in plan.tiles() if box not in given_up)
    for level in range(1, len(map_levels(plan.spec))):
        for index in shards_across_tiles(plan.spec, level, plan.stored_tile):
            if source_shards(plan.spec, level, index):
                yield level_piece(level, index)


def _known(begun: dict[str, Any], what: str, path: Path) -> str:
    place = begun.get("places", {}).get(what)
    if place is None:
        raise UsageError(
            f"the run of {path} does not say where its {what} is; give it with --{what}"
        )
    return str(place)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
