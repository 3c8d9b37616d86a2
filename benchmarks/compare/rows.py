"""The rows of the table: which peer, in which environment, at which settings.

What ``search`` lists is tried before anything counts, every combination of it, and the fastest is
taken; ``like`` takes the settings that another row found.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.compare.environments import OWN

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOW_PX, LARGE_PX, OVERLAP, HALO_PX = 512, 1024, 0.25, 64
"""Which window is fastest depends on how many fit the image: MONAI has rows of two."""

PATCH_PX = 256
BARE, EXACT, MONAI, BLEND = "bare", "exact", "MONAI constant", "blend"
MONAI_LARGE = "MONAI 1024"
BARE_SECONDS = 2.0
"""How long the bare module runs before and after each run of a row."""

MOST_RECOMPUTED_PX = 4096
"""Side of the part of larger images that recomputed windows map: each px costs the same."""

LAYOUTS = (True, False)


@dataclass(frozen=True, slots=True)
class Row:
    """One way of mapping an image."""

    name: str
    """Short, without spaces where a file is named after it."""

    title: str
    """In the table."""

    peer: str
    """Module in ``benchmarks/compare/peers``."""

    environment: str = OWN
    settings: dict[str, Any] = field(default_factory=dict)
    search: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    like: str | None = None
    """Row whose found settings these take over, as far as they are named in ``taken``."""

    taken: tuple[str, ...] = ()
    same_memory: bool = False
    """Gets the memory that gigafcn's exact run took as the setting ``memory``."""

    variant: bool = False
    """Whether another row tells most of it already, so that its long runs are not repeated."""

    differences: bool = True
    """Whether its map can be compared with the whole run."""

    def candidates(self) -> Iterator[dict[str, Any]]:
        """Settings to try."""
        for values in itertools.product(*self.search.values()):
            yield self.settings | dict(zip(self.search, values, strict=True))


_BARE_SEARCH = {"channels_last": LAYOUTS, "folded": LAYOUTS}
_WINDOW_SEARCH = {"channels_last": LAYOUTS, "batch": (1, 4)}
_MONAI = {"window": WINDOW_PX, "overlap": OVERLAP, "buffer_steps": 0}


def segmentation_rows(memory: int) -> tuple[Row, ...]:
    """Rows of a segmentation net; gigafcn is given ``memory`` bytes."""
    return (
        Row(
            BARE, "bare module", "bare_module",
            settings={"batch": 1, "least_seconds": BARE_SECONDS},
            search=_BARE_SEARCH | {"crop": (256, 512, 1024, 2048)}, differences=False,
        ),
        Row(EXACT, "**gigafcn, exact, fp32**", "gigafcn_infer", settings={"memory": memory}),
        Row(
            "exact bf16", "gigafcn, exact, bf16", "gigafcn_infer",
            settings={"memory": memory, "precision": "bf16"}, variant=True,
        ),
        Row(
            "windows", "exact windows, recomputed", "exact_windows",
            settings={"most_px": MOST_RECOMPUTED_PX}, same_memory=True,
        ),
        *_monai_rows(memory),
        *_other_rows(),
    )  # fmt: skip


def _monai_rows(memory: int) -> tuple[Row, ...]:
    return (
        Row(
            MONAI, "MONAI, constant", "monai_windows", "monai",
            settings=_MONAI | {"weights": "constant"}, search=_WINDOW_SEARCH,
        ),
        Row(
            MONAI_LARGE, "MONAI, constant, windows of 1024 px", "monai_windows", "monai",
            settings=_MONAI | {"weights": "constant", "window": LARGE_PX},
            like=MONAI, taken=("channels_last", "batch"), variant=True,
        ),
        Row(
            "MONAI gaussian", "MONAI, gaussian", "monai_windows", "monai",
            settings=_MONAI | {"weights": "gaussian"},
            like=MONAI, taken=("channels_last", "batch"), variant=True,
        ),
        Row(
            "MONAI buffered", "MONAI, constant, buffered", "monai_windows", "monai",
            settings=_MONAI | {"weights": "constant", "batch": 1},
            search={"buffer_steps": (1, 4)},
            like=MONAI, taken=("channels_last",), variant=True,
        ),
        Row(
            BLEND, "gigafcn, blend as MONAI", "gigafcn_infer",
            settings={
                "memory": memory, "mode": "blend", "window": WINDOW_PX, "overlap": OVERLAP,
                "blend_weights": "constant",
            },
            like=MONAI, taken=("batch",),
        ),
    )  # fmt: skip


def _other_rows() -> tuple[Row, ...]:
    return (
        Row(
            "torch-em", "torch-em predict_with_halo", "torch_em_halo", "torch-em",
            settings={"halo": HALO_PX, "pipelined": False},
            search={"channels_last": LAYOUTS, "block": (512, 1024)},
        ),
        Row(
            "torch-em pipelined", "torch-em, pipelined", "torch_em_halo", "torch-em",
            settings={"halo": HALO_PX, "pipelined": True},
            search={"block": (512, 1024), "batch": (1, 4)},
            like="torch-em", taken=("channels_last",),
        ),
        Row(
            "TIAToolbox", "TIAToolbox SemanticSegmentor", "tiatoolbox_segmentor", "tiatoolbox",
            settings={"overlap": OVERLAP},
            search=_WINDOW_SEARCH | {"window": (WINDOW_PX, LARGE_PX)},
        ),
        Row(
            "dask", "dask map_overlap", "dask_overlap", "dask",
            settings={"halo": HALO_PX, "channels_last": True},
            search={"chunk": (512, 1024), "workers": (1, 2)}, variant=True,
        ),
    )  # fmt: skip


def classifier_rows(memory: int) -> tuple[Row, ...]:
    """Rows of a classifier of patches: batches in memory against an image in patch mode."""
    return (
        Row(
            BARE, "bare module on preloaded batches", "bare_module",
            settings={"crop": PATCH_PX, "least_seconds": BARE_SECONDS},
            search=_BARE_SEARCH | {"batch": (1, 4, 16)}, differences=False,
        ),
        Row(
            "patch", "gigafcn, patch", "gigafcn_infer",
            settings={
                "memory": memory, "mode": "patch", "window": PATCH_PX, "step": PATCH_PX,
            },
            differences=False,
        ),
    )  # fmt: skip
