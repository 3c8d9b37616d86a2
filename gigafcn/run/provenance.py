"""What a map says about its making: slide, model, resolution, plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gigafcn.plan.image_grid import as_described
from gigafcn.run.tissue import described_tissue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gigafcn.run.request import Request


def provenance(request: Request, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What a map says about its making, but for what only the run itself knows.

    Parameters
    ----------
    fingerprint
        Of the run, which has hashed the weights already.
    """
    slide, plan = request.slide, request.plan
    return {
        "slide": {
            "name": slide.name,
            "fingerprint": slide.fingerprint(),
            "shape": list(slide.levels[0].shape),
            "mpp": request.mpp,
            **_channel_names(request),
            **slide.traits.to_json(),
        },
        "geo": _geo(request),
        "model": {
            "name": request.model.name,
            "source": request.model.source,
            "weights_sha256": fingerprint["weights"],
        },
        "resolution": as_described(request.grid),
        "tissue": described_tissue(plan, request.options),
        "mode": plan.mode,
        **_of_mode(request),
        **(request.classifier.provenance() if request.classifier else {}),
        "plan": plan.to_json(),
    }


def _channel_names(request: Request) -> dict[str, list[str]]:
    """Names of the channels that the model sees: free text of the file, which may tell much."""
    if request.options.deidentify:
        return {}
    names = request.slide.channel_names
    return {"channels": [names[channel] for channel in request.plan.channels]}


def _geo(request: Request) -> dict[str, Any] | None:
    """Where on the earth the map lies, if the slide says where it does itself."""
    geo, spec = request.slide.traits.geo, request.plan.spec
    if geo is None:
        return None
    y, x = map(float, request.plan.pixel)
    scale = (float(spec.stride[0]) * y, float(spec.stride[1]) * x)
    return geo.of_part(scale, (spec.offset[0] * y, spec.offset[1] * x)).to_json()


def _of_mode(request: Request) -> dict[str, Any]:
    windows = request.plan.windows
    if windows is not None:
        return {"windows": windows.to_json()}
    geometry, exact = request.plan.geometry, request.exact
    return {
        "halo": list(exact.halo),
        "period": list(exact.period),
        "padding": {
            "definition": geometry.pad,
            "input": list(geometry.padded),
            "no_period": exact.no_period or None,
        },
    }
