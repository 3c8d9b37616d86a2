"""What a run knows about itself, beside its map: ``OUT.zarr.run/``.

``run.json`` holds the fingerprint (what was asked for, of which slide and model) and the plan; it
is written before the map is created.  Every finished piece of work has a receipt, a file of its
own that is written after the piece's shards: their keys and CRC32C, what was counted and how long
it took.  So whatever ends a run, the same command finds what is done, checks it, and goes on with
the stored plan.  When the map is finished the receipts are folded into one file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gigafcn.errors import UsageError
from gigafcn.output.disk import checksum, replace_file
from gigafcn.storage.zarr_stores import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gigafcn.geometry import Box

FORMAT = 3
"""Raised when a later version could not go on with what an earlier one left."""


FULL = "slide_sha256"
"""Name in a fingerprint of the whole slide's hash, which is compared if both runs have it."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A piece of work that is done: a tile, or a shard of a coarser level."""

    piece: str
    """"tile-Y-X" by the tile's first map px, "level-K-Y-X" by the shard's index."""

    objects: dict[str, str]
    """CRC32C (hexadecimal) of every object it wrote, by key within the map."""

    counts: dict[str, Any] = field(default_factory=dict)
    """What was counted and measured: NaN, seconds, device, px that are not what was scanned."""

    status: list[str] = field(default_factory=list)
    """Of a tile: one digit per chunk, a row of chunks each; see ``output.store.ChunkStatus``."""

    failed: list[list[int]] = field(default_factory=list)
    """Of a tile: boxes (y0, x0, y1, x1) that could not be read, in px of the level."""

    sources: dict[str, str] = field(default_factory=dict)
    """Of a coarser level's shard: CRC32C by key of what it was made of."""


def tile_piece(tile: Box) -> str:
    """Name of a tile's receipt; the tile in map px."""
    return f"tile-{tile.y0}-{tile.x0}"


def level_piece(level: int, index: tuple[int, int]) -> str:
    """Name of the receipt of a coarser level's shard."""
    return f"level-{level}-{index[0]}-{index[1]}"


def folder_of(map_path: Path) -> Path:
    """Run folder of a map.

    Examples
    --------
    >>> from pathlib import Path
    >>> folder_of(Path("maps/case.zarr")).as_posix()
    'maps/case.zarr.run'
    """
    return map_path.with_name(f"{map_path.name}.run")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The run folder of one map; what it writes raises OSError if the disk refuses."""

    map_path: Path

    @property
    def path(self) -> Path:
        """The folder."""
        return folder_of(self.map_path)

    @property
    def lock(self) -> Path:
        """Lock file."""
        return self.path / "lock"

    @property
    def _run(self) -> Path:
        return self.path / "run.json"

    @property
    def _folded(self) -> Path:
        return self.path / "receipts.json"

    @property
    def _receipts(self) -> Path:
        return self.path / "receipts"

    def begin(
        self,
        fingerprint: Mapping[str, Any],
        plan: Mapping[str, Any],
        places: Mapping[str, Any] | None = None,
    ) -> None:
        """Forget an earlier run and note what this one is, and where slide and model are."""
        self._run.unlink(missing_ok=True)  # first: receipts without it mean nothing
        self.forget()
        self._receipts.mkdir(parents=True)
        document = {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "plan": plan,
            "places": places or {},
        }
        replace_file(self._run, _encoded(document))

    def replace_plan(self, plan: Mapping[str, Any]) -> None:
        """Note another plan of the run that was begun; its receipts stand."""
        begun = self.begun()
        assert begun is not None
        replace_file(self._run, _encoded({**begun, "plan": plan}))

    def forget(self) -> None:
        """Remove everything but the lock."""
        self._run.unlink(missing_ok=True)
        self._folded.unlink(missing_ok=True)
        remove_tree(self._receipts)

    def begun(self) -> dict[str, Any] | None:
        """What :meth:`begin` noted: fingerprint and plan; None if there is nothing readable."""
        document = _decoded(self._run)
        if document is None or document.get("format") != FORMAT:
            return None
        return document

    def write(self, receipt: Receipt) -> None:
        """Note a piece of work as done."""
        self._receipts.mkdir(exist_ok=True)
        replace_file(self._receipts / f"{receipt.piece}.json", _encoded(asdict(receipt)))

    def remove(self, piece: str) -> None:
        """Forget that a piece of work was done."""
        (self._receipts / f"{piece}.json").unlink(missing_ok=True)
        folded = _decoded(self._folded)
        if folded is not None:
            kept = [item for item in folded["receipts"] if item["piece"] != piece]
            replace_file(self._folded, _encoded({**folded, "receipts": kept}))

    def receipts(self) -> dict[str, Receipt]:
        """All receipts by piece, of a run under way or of a finished one.

        Pieces of a finished map that were computed again have a receipt of their own.
        """
        folded = _decoded(self._folded) or {"receipts": []}
        found = {item["piece"]: Receipt(**item) for item in folded["receipts"]}
        return found | {receipt.piece: receipt for receipt in self._single()}

    def _single(self) -> Iterator[Receipt]:
        if not self._receipts.is_dir():
            return
        for file in sorted(self._receipts.glob("*.json")):
            document = _decoded(file)
            if document is not None:
                yield Receipt(**document)

    def fold(self) -> None:
        """Put all receipts into one file, once every piece is done."""
        receipts = [asdict(receipt) for receipt in self.receipts().values()]
        replace_file(self._folded, _encoded({"format": FORMAT, "receipts": receipts}))
        remove_tree(self._receipts)

    def is_intact(self, receipt: Receipt) -> bool:
        """Whether every object of a receipt is there with the bytes that were written."""
        return not any(True for _ in self.damaged(receipt))

    def damaged(self, receipt: Receipt) -> Iterator[str]:
        """Keys of a receipt whose object is missing or differs."""
        for key, written in receipt.objects.items():
            try:
                intact = checksum(self.map_path / key) == written
            except OSError:
                intact = False
            if not intact:
                yield key


def refuse_another(begun: Mapping[str, Any], asked: Mapping[str, Any], map_path: Path) -> None:
    """Refuse to go on with, or to take for this one, a run of something else.

    Raises
    ------
    UsageError
        Naming the first differences.
    """
    before = begun["fingerprint"]
    names = [n for n in {**before, **asked} if before.get(n) != asked.get(n)]
    if before.get(FULL) is None or asked.get(FULL) is None:
        names = [n for n in names if n != FULL]
    if not names:
        return
    if unsaid := [n for n in names if n not in before or n not in asked]:
        raise UsageError(
            f"output {map_path} belongs to a run of another build of gigafcn (that was "
            f"{before.get('gigafcn')}, this is {asked.get('gigafcn')}, and only one of them knows "
            f"{', '.join(unsaid[:3])}); go on with that build, choose another name or replace it "
            f"with --overwrite"
        )
    shown = "; ".join(f"{n} was {before.get(n)!r}, now {asked.get(n)!r}" for n in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    raise UsageError(
        f"output {map_path} belongs to another run: {shown}{more}; choose another name or "
        f"replace it with --overwrite"
    )


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()


def _decoded(path: Path) -> dict[str, Any] | None:
    """A JSON document; None if there is none or it is cut short."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
