"""How do other processes learn where a run's slide, model and map are?

Through a folder beside the map, ``.gigafcn-<run>``, which holds what they have to know and what
exists only in the driver's memory; it is removed when the run ends.  Through Dask goes just the
folder's place and a key.  Names of slides can tell who a patient is, and a scheduler keeps and
logs what passes through it; so the folder is not named after the slide, and what it says is only
legible with the key, also when a killed run leaves it behind.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gigafcn.errors import RunError
from gigafcn.schedule.run_folder import folder_of
from gigafcn.storage.url_path import place_of
from gigafcn.storage.zarr_stores import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

NOTE = "lent"
"""File of the run folder that names the lent folder, for a later run to remove."""

_JOB = "job"


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Where another process finds everything; plain values."""

    store: str
    slide: str
    """Path or URL, or an ``.npy`` file that the run wrote for its workers."""

    model: str
    """What load_model takes, or a file that the run wrote for its workers (PICKLED)."""

    trust: bool
    sha256: str | None = None
    allow_unexpected: bool = False
    strict: bool = False
    """Whether a tile fails where the slide cannot be read."""

    weights: str | None = None
    """Hash of the weights that the run was planned with; None for a file it wrote itself."""

    plane: dict[str, int] | None = None
    """Of a stack; see :func:`gigafcn.slide.open_slide`."""

    orient: bool = False
    """Whether the slide is turned as it says itself."""

    image: int | None = None
    """Of a file that holds several."""

    levels_from: str | None = None
    """What decides about its levels."""

    profile: bool = False
    """Whether receipts of tiles hold what each thread did when."""

    called: str | None = None
    """Pseudonym of the slide, if it shall not be named."""

    key: str = ""
    """Stands for the module: processes that have loaded it for another run do not load it again."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What goes through Dask: a place, a key, and what must come out."""

    folder: str
    key: bytes
    digest: str

    def read(self) -> tuple[JobFiles, dict[str, Any]]:
        """Where everything is, and the plan.

        Raises
        ------
        RunError
            If the folder cannot be reached from here, or is another run's.
        """
        try:
            content = _mixed((place_of(self.folder) / _JOB).read_bytes(), self.key)
        except OSError as error:
            raise RunError(
                f"a worker cannot read {self.folder} ({error.strerror}): give an output on a "
                f"disk that all workers share, or start them on the machine that has it"
            ) from error
        if hashlib.sha256(content).hexdigest() != self.digest:
            raise RunError(f"{self.folder} is not what the run wrote for its workers")
        document = json.loads(content)
        return JobFiles(**document["files"]), document["plan"]


@contextmanager
def lent_folder(map_path: Path, run: str) -> Iterator[Path]:
    """A folder beside a map for what other processes need; an earlier run's is swept.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    note = folder_of(map_path) / NOTE
    sweep(map_path)
    folder = map_path.with_name(f".gigafcn-{run}").absolute()
    note.write_text(folder.name, "utf-8")
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        sweep(map_path)


def sweep(map_path: Path) -> None:
    """Remove what a run lent to its workers."""
    note = folder_of(map_path) / NOTE
    with suppress(OSError):
        name = note.read_text("utf-8")
        if name.startswith(".gigafcn-") and "/" not in name:
            remove_tree(map_path.with_name(name))
        note.unlink()


def write_handover(folder: Path, files: JobFiles, plan: Mapping[str, Any]) -> Handover:
    """Leave a job in a lent folder."""
    content = json.dumps({"files": asdict(files), "plan": plan}).encode()
    key = secrets.token_bytes(32)
    (folder / _JOB).write_bytes(_mixed(content, key))
    return Handover(str(folder), key, hashlib.sha256(content).hexdigest())


def _mixed(content: bytes, key: bytes) -> bytes:
    """The content mixed with a stream made from a key that is used once; its own inverse."""
    stream = hashlib.shake_256(key).digest(len(content))
    length = len(content)
    mixed = int.from_bytes(content, "big") ^ int.from_bytes(stream, "big")
    return mixed.to_bytes(length, "big")
