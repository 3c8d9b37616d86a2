"""Under which name does a slide go through a run whose outputs shall not tell whose it is?"""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from gigafcn.pseudonym import Disguise, key_place, pseudonym, read_key

if TYPE_CHECKING:
    from gigafcn.run.options import Options
    from gigafcn.slide.opening import Source

log = logging.getLogger(__name__)


def disguise_of(source: Source, options: Options) -> Disguise | None:
    """The disguise of a slide; None if none is asked for, or it has no name of its own.

    Raises
    ------
    UsageError
        If there is no key.
    """
    place = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    place = place or getattr(source, "source", None)
    if not options.deidentify or place is None:
        return None
    name = pseudonym(place, read_key(options.deidentify_key))
    log.info(
        "the slide is called %s: a hash of its name with the key of %s",
        name, key_place(options.deidentify_key),
    )  # fmt: skip
    return Disguise(place, name)


def wearing(disguise: Disguise | None) -> AbstractContextManager[None]:
    """Clean what is logged and raised meanwhile, if there is a disguise."""
    return nullcontext() if disguise is None else disguise.worn()
