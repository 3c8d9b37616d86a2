"""What makes two runs the same: slide, model, options that shape the map, and version.

Where and how fast a run computes is no part of it: device, processes and memory may differ when
it is taken up again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from gigafcn.run.options import Options
from gigafcn.run.tissue import tissue_identity
from gigafcn.schedule.run_folder import FULL
from gigafcn.slide.fingerprint import sha256_of

if TYPE_CHECKING:
    from gigafcn.run.request import Request

NOT_OF_THE_MAP = frozenset(
    {
        "allow_unexpected",
        "crew",
        "deidentify_key",
        "device",
        "full_hash",
        "memory",
        "profile",
        "sha256",
        "strict",
        "tissue",
        "trust",
        "verify",
        "workers",
    }
)
"""Options that do not shape the map."""


def fingerprint(request: Request) -> dict[str, Any]:
    """Named values, as JSON would give them back."""
    model = request.original
    code = hashlib.sha256(str(model.module).encode()).hexdigest()
    options = {
        field.name: getattr(request.options, field.name)
        for field in fields(Options)
        if field.name not in NOT_OF_THE_MAP
    }
    place = request.plan.spec.place
    found = {
        "gigafcn": version("gigafcn"),
        "slide": request.slide.fingerprint(),
        "weights": model.weights_hash(),
        "layers": code,
        "tissue": tissue_identity(request.options),
        "place": None if place is None else place.to_json(),
        FULL: _full_hash(request),
        **options,
    }
    plain: dict[str, Any] = json.loads(json.dumps(found, default=list))
    return plain


def _full_hash(request: Request) -> str | None:
    """SHA-256 of the whole slide, if it is asked for; what is in memory is hashed whole anyway."""
    source = request.slide.source
    return sha256_of(source) if request.options.full_hash and source is not None else None
