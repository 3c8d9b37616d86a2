"""Where are certificates kept, so that a model is tried once and not before every map?

One small JSON file per model, rules, precision and device in ``$GIGAFCN_CACHE/certificates``, by
default below ``~/.cache/gigafcn``; beside it other rooms keep what they measured once.  It holds
figures of noise and nothing of any slide.  Only certificates that hold are kept, with what there
was no time for; a cache that cannot be read or written is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from tempfile import NamedTemporaryFile

from gigafcn.cache import cache_root
from gigafcn.certificate.certificate import Certificate

log = logging.getLogger(__name__)

CERTIFICATES = "certificates"


def cache_folder(kind: str) -> Path | None:
    """Folder of one kind of thing that is kept; None if there is no place for it."""
    root = cache_root()
    return None if root is None else root / kind


def cache_key(*parts: object) -> str:
    """Name of a certificate, by everything that it depends on."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def read_cached(key: str) -> Certificate | None:
    """A certificate written before, marked as such; None if there is none that can be read."""
    folder = cache_folder(CERTIFICATES)
    if folder is None:
        return None
    try:
        found = Certificate.from_json(json.loads((folder / f"{key}.json").read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found.from_cache() if found.holds else None


def write_cached(key: str, certificate: Certificate) -> None:
    """Keep a certificate that holds."""
    if certificate.holds:
        keep(CERTIFICATES, key, json.dumps(certificate.to_json()))


def keep(kind: str, key: str, text: str) -> None:
    """Write a file of the cache, whole or not at all; nothing is said if there is no place."""
    folder = cache_folder(kind)
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=folder, suffix=".part", delete=False) as file:
            file.write(text)
        Path(file.name).replace(folder / f"{key}.json")
    except OSError as error:
        log.debug("not kept in %s: %s", folder, error)
