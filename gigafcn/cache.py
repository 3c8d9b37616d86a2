"""Where does gigafcn keep what it need not find out again?

``$GIGAFCN_CACHE``, else ``gigafcn`` below the user's cache folder.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "GIGAFCN_CACHE"


def cache_root() -> Path | None:
    """The folder; it need not exist.  None if there is no place for it."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given)
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # an account without a home
        return None
    return Path(base) / "gigafcn"
