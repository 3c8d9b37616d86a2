"""What was measured so far, as a JSON file that is written anew after every run.

A comparison that is ended and begun again goes on with what is not in the file yet.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

EMPTY: dict[str, Any] = {
    "versions": {}, "networks": {}, "settings": {}, "references": {}, "runs": [], "quality": [],
    "failed": [],
}  # fmt: skip


class Results:
    """The file and what it holds.

    Parameters
    ----------
    path
        JSON file; need not exist.
    conditions
        What figures must share to stand in one table; a file with others is refused.
    fresh
        Forget what the file holds.
    """

    def __init__(self, path: Path, conditions: dict[str, Any], *, fresh: bool) -> None:
        self.path = path
        self.data = json.loads(json.dumps({"conditions": conditions} | EMPTY))
        if path.exists() and not fresh:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["conditions"] != self.data["conditions"]:
                raise SystemExit(
                    f"{path} was measured under other conditions, {found['conditions']}; "
                    f"give --fresh, or another --out"
                )
            self.data = found

    @staticmethod
    def read(path: Path) -> dict[str, Any]:
        """What a finished file holds."""
        if not path.exists():
            raise SystemExit(f"{path} is not there; measure first")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def save(self) -> None:
        """Write the file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")
        part.replace(self.path)

    def put(self, key: str, name: str, value: Any) -> None:
        """Keep a value by name."""
        self.data[key][name] = value
        self.save()

    def add(self, key: str, row: dict[str, Any]) -> None:
        """Keep one more line."""
        self.data[key].append(row)
        self.save()

    def found(self, key: str, **like: Any) -> list[dict[str, Any]]:
        """The lines that have these values."""
        return [row for row in self.data[key] if all(row.get(k) == v for k, v in like.items())]

    def fail(self, network: str, row: str, why: str) -> None:
        """Keep why a row has no figures."""
        self.forgive(network, row)
        self.add("failed", {"network": network, "row": row, "why": why})

    def forgive(self, network: str, row: str) -> None:
        """Forget that a row failed, since it is tried again."""
        kept = [f for f in self.data["failed"] if (f["network"], f["row"]) != (network, row)]
        self.data["failed"] = kept
