"""Exact tiled inference of fully convolutional networks over images of any size.

The public names are loaded when first used, so that importing gigafcn costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gigafcn.analysis import Footprint, analyze
    from gigafcn.certificate.certificate import Certificate
    from gigafcn.errors import (
        CertificateError,
        GigafcnError,
        ModelError,
        NonLocalError,
        RunError,
        SlideError,
        UsageError,
    )
    from gigafcn.evaluate.scoring import Evaluation, evaluate_map
    from gigafcn.export.exporting import Export, export_map
    from gigafcn.model.loading import LoadedModel, load_model
    from gigafcn.output.opening import open_map
    from gigafcn.progress import Progress
    from gigafcn.run import PlanReport, Result, infer, plan_run
    from gigafcn.run.check import Checked, check
    from gigafcn.run.verify import verify
    from gigafcn.slide.opening import open_slide

_HOMES = {
    "Certificate": "gigafcn.certificate.certificate",
    "CertificateError": "gigafcn.errors",
    "Checked": "gigafcn.run.check",
    "Evaluation": "gigafcn.evaluate.scoring",
    "Export": "gigafcn.export.exporting",
    "Footprint": "gigafcn.analysis",
    "GigafcnError": "gigafcn.errors",
    "LoadedModel": "gigafcn.model.loading",
    "ModelError": "gigafcn.errors",
    "NonLocalError": "gigafcn.errors",
    "PlanReport": "gigafcn.run.report",
    "Progress": "gigafcn.progress",
    "Result": "gigafcn.run.inference",
    "RunError": "gigafcn.errors",
    "SlideError": "gigafcn.errors",
    "UsageError": "gigafcn.errors",
    "analyze": "gigafcn.analysis",
    "check": "gigafcn.run.check",
    "evaluate_map": "gigafcn.evaluate.scoring",
    "export_map": "gigafcn.export.exporting",
    "infer": "gigafcn.run.inference",
    "load_model": "gigafcn.model.loading",
    "open_map": "gigafcn.output.opening",
    "open_slide": "gigafcn.slide.opening",
    "plan_run": "gigafcn.run.report",
    "verify": "gigafcn.run.verify",
}

__all__ = [
    "Certificate",
    "CertificateError",
    "Checked",
    "Evaluation",
    "Export",
    "Footprint",
    "GigafcnError",
    "LoadedModel",
    "ModelError",
    "NonLocalError",
    "PlanReport",
    "Progress",
    "Result",
    "RunError",
    "SlideError",
    "UsageError",
    "analyze",
    "check",
    "evaluate_map",
    "export_map",
    "infer",
    "load_model",
    "open_map",
    "open_slide",
    "plan_run",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home module."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names."""
    return sorted(__all__)
