"""The whole run of a network, and the largest image whose whole run fits the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.compare.environments import OWN, python_of
from benchmarks.compare.images import TILE_PX, drawn
from benchmarks.compare.peers.task import Task
from benchmarks.compare.process import Peer

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.compare.session import Places

MOST_BYTES = 20 << 30
SHARE_OF_FREE = 0.85
TRIED_PX = (1024, 2048)
"""Whole runs whose memory is measured; it is linear in the pixels."""


def reference(
    places: Places, network: str, network_path: Path, largest_px: int
) -> tuple[Path, dict[str, Any]]:
    """The map of the whole run at the largest size that fits, and what it took.

    Parameters
    ----------
    largest_px
        No larger image is taken.

    Raises
    ------
    PeerFailure
        If the run fails all the same.
    """
    size = largest_px
    if largest_px > min(TRIED_PX):
        tried = {px: whole(places, network, network_path, px)[1] for px in TRIED_PX}
        size = min(largest_px, _largest(tried))
    path, found = whole(places, network, network_path, size)
    told = {"size": size, "seconds": found["seconds"], "peak_bytes": found["peak_bytes"]}
    return path, told | {"most_bytes": MOST_BYTES}


def whole(
    places: Places, network: str, network_path: Path, size: int
) -> tuple[Path, dict[str, Any]]:
    """One whole run, in a process of its own."""
    image, _ = drawn(places.images, size)
    path = _path(places, network, size)
    log = places.work / f"{network}-whole.log"
    python = python_of(OWN, places.cache)
    peer = Peer(python, "whole_run", threads=places.threads, log=log)
    try:
        task = Task(str(image), str(network_path), str(path), "float32", {})
        return path, peer.ask(task, 2 * places.limit)
    finally:
        peer.stop()


def _largest(known: dict[int, dict[str, Any]]) -> int:
    """Side of the largest image, whole tiles, that the measured ones promise to fit."""
    near, far = sorted(known)
    slope = (known[far]["peak_bytes"] - known[near]["peak_bytes"]) / (far**2 - near**2)
    base = known[near]["peak_bytes"] - slope * near**2
    free = psutil.virtual_memory().available * SHARE_OF_FREE
    size = far
    while base + slope * (size + TILE_PX) ** 2 <= min(MOST_BYTES, free):
        size += TILE_PX
    return size


def _path(places: Places, network: str, size: int) -> Path:
    return places.work / f"{network}-whole-{size}.zarr"
