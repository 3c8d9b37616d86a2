"""What does a finished run say of itself: mode, caption of the picture, figures, certificate?"""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

from gigafcn.certificate.certificate import CLASSES
from gigafcn.doing import Doing
from gigafcn.run.tissue import kept_windows, uncovered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.engine.tile import TileReceipt
    from gigafcn.run.checks import Checks
    from gigafcn.run.request import Request
    from gigafcn.schedule.driver import Outcome


def described_mode(request: Request) -> str:
    """Mode and what it depends on, such as "exact · halo 9/9/9/9 px", "patch 224/112"."""
    windows = request.plan.windows
    if windows is not None:
        return windows.described
    top, bottom, left, right = request.exact.halo
    return f"exact · halo {top}/{bottom}/{left}/{right} px"


def _window_certificate(request: Request, tiles: int) -> dict[str, Any]:
    """What a map of blend or patch is, for lack of a proof that it equals the whole run."""
    windows = request.plan.windows
    assert windows is not None
    meaning = (
        "a weighted mean of the model's output on overlapping windows, which differs from its "
        "output on the whole image"
        if windows.mode == "blend"
        else "the model's output on each window by itself"
    )
    return {
        "mode": windows.mode,
        "class": "approximate",
        "meaning": f"{meaning}; it does not depend on tiles",
        "tiles": tiles,
        "window": list(windows.size),
        "interval": list(windows.interval),
        "overlap": windows.overlap,
        "weights": windows.weights,
        "batch": windows.batch,
        "precision": request.plan.precision,
    }


def map_certificate(request: Request, count: int, checks: Checks) -> dict[str, Any]:
    """Exactness class and what it rests on: every tile's window holds the need of its pixels."""
    checked, coarse = checks.certificate, checks.coarseness
    changed = {} if coarse is None else {"coarseness": coarse.to_json()}
    if request.plan.windows is not None:
        return _window_certificate(request, count) | changed
    exactness = "structural" if checked is None else checked.exactness
    if coarse is not None and not coarse.certified:
        exactness = "rounded"
    return {
        "mode": "exact",
        "class": exactness,
        "meaning": CLASSES[exactness],
        "tiles": count,
        "ops": len(request.graph.nodes) - 1,
        "halo": list(request.exact.halo),
        "shift_invariant": request.exact.shift_invariant,
        "precision": request.plan.precision,
        "checks": None if checked is None else checked.to_json(),
        **changed,
    }


def versions() -> dict[str, str]:
    """What computed a map."""
    names = ("gigafcn", "torch", "numpy", "zarr", "tifffile", "openslide-python", "distributed")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def summary(request: Request, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """Figures for a closing line."""
    spec, windows = request.plan.spec, request.plan.windows
    cells = spec.shape[0] * spec.shape[1] * float(spec.stride[0] * spec.stride[1])
    pixels = round(cells * request.plan.computed_share)
    name, share = _bottleneck(outcome.receipts)
    return {
        "pixels": pixels,
        "mpx_per_s": pixels / 1e6 / seconds,
        "compute_seconds": seconds,
        "halo": None if windows is not None else request.exact.halo,
        "mode": "exact" if windows is None else windows.described,
        "padding": None if windows is not None else request.plan.geometry.described,
        "resolution": request.grid.described,
        "computed_share": request.plan.computed_share,
        "windows_kept": None if request.plan.kept is None else kept_windows(request.plan),
        "uncovered": uncovered(request.plan),
        "bottleneck": name,
        "bottleneck_share": share,
        "scores": f"{request.plan.activation} ({request.plan.meaning})",
        "model": request.model.name,
        "slide": request.slide.name,
    }


def _bottleneck(receipts: Sequence[TileReceipt]) -> tuple[str, float]:
    """What the run waited for most, and its share of the tiles' time."""
    total = sum(r.seconds for r in receipts) or 1.0
    waits = {
        "reading": sum(r.took[Doing.WAITING_FOR_PIXELS] for r in receipts),
        "storing": sum(r.took[Doing.WAITING_FOR_ROOM] for r in receipts),
    }
    waits["computing"] = total - sum(waits.values())
    name = max(waits, key=lambda key: waits[key])
    return name, waits[name] / total
