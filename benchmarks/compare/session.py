"""The processes of one network's rows: all alive at once, so that rows can take turns."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.compare.environments import EnvironmentFailure, python_of
from benchmarks.compare.images import drawn
from benchmarks.compare.peers.task import Task
from benchmarks.compare.process import Peer, PeerFailure
from benchmarks.compare.rows import BARE, Row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WARM_UP_PX = 1024
BARE_AGE_SECONDS = 3.0
"""A measurement of the bare module this old still stands for now."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are kept, none of them in the repository."""

    cache: Path
    """Environments, networks, images and what is mapped."""

    threads: int
    limit: float
    """Seconds that one run of a row may take."""

    @property
    def images(self) -> Path:
        """Drawn slides."""
        return self.cache / "images"

    @property
    def work(self) -> Path:
        """Maps, logs and difference maps."""
        return self.cache / "work"


@dataclass(slots=True)
class Session:
    """Peers of one network."""

    places: Places
    network: str
    network_path: Path
    rows: Sequence[Row]
    versions: dict[str, dict[str, str]]
    """By environment; filled as peers start."""

    warm_up_px: int = WARM_UP_PX
    """Side of the image that is mapped before any time counts."""

    _peers: dict[str, Peer] = field(default_factory=dict)
    _warm: dict[str, dict[str, Any]] = field(default_factory=dict)
    _unmade: dict[str, str] = field(default_factory=dict)
    _bare: tuple[float, float] | None = None

    def row(self, name: str) -> Row:
        """A row by name."""
        return next(row for row in self.rows if row.name == name)

    def map_path(self, row: Row) -> Path:
        """Where a row writes."""
        return self.places.work / f"{self.network}-{row.name.replace(' ', '-')}.zarr"

    def run(
        self, row: Row, settings: dict[str, Any], size: int, dtype: str = "uint8"
    ) -> dict[str, Any]:
        """Map the image of ``size`` px; the peer is started and warmed up first if it must be.

        Raises
        ------
        PeerFailure
            If that fails or takes too long.
        """
        peer = self._ready(row, settings)
        try:
            return peer.ask(self._task(row, settings, size, dtype), self.places.limit)
        except PeerFailure:
            self.end(row)
            raise

    def bare_speed(self, settings: dict[str, Any]) -> float:
        """Mpx/s of the bare module now."""
        if self._bare is None or time.monotonic() - self._bare[0] > BARE_AGE_SECONDS:
            answer = self.run(self.row(BARE), settings, self.warm_up_px)
            self._bare = time.monotonic(), answer["pixels"] / answer["seconds"] / 1e6
        return self._bare[1]

    def end(self, row: Row) -> None:
        """End a row's process; the next run starts a new one."""
        self._peers.pop(row.name).stop()
        self._warm.pop(row.name, None)

    def stop(self) -> None:
        """End every process, and remove what they wrote."""
        for peer in self._peers.values():
            peer.stop()
        for row in self.rows:
            shutil.rmtree(self.map_path(row), ignore_errors=True)

    def _ready(self, row: Row, settings: dict[str, Any]) -> Peer:
        if row.name not in self._peers:
            python = self._python(row.environment)
            log = self.places.work / f"{self.network}-{row.name.replace(' ', '-')}.log"
            peer = Peer(python, row.peer, threads=self.places.threads, log=log)
            self._peers[row.name] = peer
            self.versions.setdefault(row.environment, {}).update(peer.versions)
        peer = self._peers[row.name]
        if row.name != BARE and self._warm.get(row.name) != settings:
            try:
                peer.ask(self._task(row, settings, self.warm_up_px, "uint8"), self.places.limit)
            except PeerFailure:
                self.end(row)
                raise
            self._warm[row.name] = settings
        return peer

    def _python(self, environment: str) -> Path:
        """The interpreter of an environment; what could not be made is not tried again."""
        if environment not in self._unmade:
            try:
                return python_of(environment, self.places.cache / "environments")
            except EnvironmentFailure as problem:
                self._unmade[environment] = str(problem)
        raise PeerFailure(f"its environment could not be made: {self._unmade[environment]}")

    def _task(self, row: Row, settings: dict[str, Any], size: int, dtype: str) -> Task:
        image, _ = drawn(self.places.images, size)
        return Task(str(image), str(self.network_path), str(self.map_path(row)), dtype, settings)
