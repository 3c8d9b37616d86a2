"""What is tried before a map is begun: input, model, and what coarse arithmetic changes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gigafcn.engine.precision import threads
from gigafcn.run.coarse import Coarseness, coarseness
from gigafcn.run.observed import Doubt, doubts
from gigafcn.run.verify import check_before_run
from gigafcn.schedule.resources import threads_per_worker

if TYPE_CHECKING:
    from gigafcn.certificate.certificate import Certificate
    from gigafcn.run.request import Request

log = logging.getLogger(__name__)

THREADS = 4  # the images are small


@dataclass(frozen=True, slots=True)
class Checks:
    """What was tried, and held."""

    certificate: Certificate | None
    """None in blend and patch, and where the caller declined."""

    coarseness: Coarseness | None
    """None in fp32 and finer."""

    doubts: tuple[Doubt, ...]
    """What of the input is doubtful."""


def checks_before(request: Request) -> Checks:
    """Look at the input, try the model, and say what its precision changes.

    Raises
    ------
    SlideError
        If every pixel is the same, or with ``--strict`` if the input is doubtful.
    CertificateError
        If tiling the model is not exact.
    RunError
        If a part of the slide cannot be read or computed.
    """
    doubtful, certificate = doubts(request), None
    if request.plan.windows is None and request.options.verify:
        with threads(min(THREADS, threads_per_worker(1))):
            certificate = check_before_run(request)
    coarse = coarseness(request)
    if coarse is not None:
        log.info("%s", coarse)
        if not coarse.certified:
            log.warning(
                "the map is not certified: in %s the model's own output changes by %.2g, and %.2g "
                "is the most that is; take a finer --precision",
                coarse.precision, coarse.output, coarse.cap,
            )  # fmt: skip
    return Checks(certificate, coarse, doubtful)
