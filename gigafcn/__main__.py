"""``python -m gigafcn``: the same as the ``gigafcn`` command."""

from __future__ import annotations

import sys

from gigafcn.cli import main

if __name__ == "__main__":
    sys.exit(main())
