"""What a peer's process is asked, and how it answers: a line of JSON for a line of JSON.

A process first says that it is ready, then maps one image after the other.  The first, small one is
the warm-up of every peer: libraries are loaded and the model is built by then, and no time counts.
Of later ones, what counts is the time from the path of an image to the finished map.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmarks.compare.networks import Network, load_network
from benchmarks.machine import peak_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Pixels = NDArray[Any]

CHUNK_PX = 512
"""Side of the chunks that peers write who leave that to the caller."""


@dataclass(frozen=True, slots=True)
class Task:
    """An image to map."""

    image: str
    """Tiled TIFF."""

    network: str
    """File that :mod:`benchmarks.compare.networks` wrote."""

    output: str
    """Zarr to write; whatever is there is replaced."""

    dtype: str
    """Of stored probabilities: "uint8" is round(255 p), or "float32"."""

    settings: dict[str, Any]
    """Of the peer."""

    def loaded(self) -> Network:
        """The network in the layout asked for."""
        return load_network(self.network, channels_last=self.settings.get("channels_last", False))

    def input(self, network: Network, stored: Tensor) -> Tensor:
        """Normalised pixels in the layout asked for."""
        pixels = network.pixels(stored)
        if self.settings.get("channels_last", False):
            return pixels.contiguous(memory_format=torch.channels_last)
        return pixels.contiguous()

    def stored(self, logits: Tensor) -> Pixels:
        """Probabilities as stored, from logits with the classes in dimension -3."""
        scores = logits.softmax(dim=-3)
        if self.dtype == "uint8":
            scores = (scores * 255).round_().to(torch.uint8)
        array: Pixels = scores.numpy()
        return array


def new_map(task: Task, shape: tuple[int, ...], *, chunks: tuple[int, ...] | None = None) -> Any:
    """An empty Zarr array with zarr's own compression; (c, y, x) in chunks of ``CHUNK_PX``."""
    import zarr  # not every peer has a use for it

    shutil.rmtree(task.output, ignore_errors=True)
    return zarr.create_array(
        store=task.output,
        shape=shape,
        chunks=chunks or (shape[0], CHUNK_PX, CHUNK_PX),
        dtype=task.dtype,
    )


def read_image(path: str) -> Tensor:
    """The whole image (1, c, y, x), as stored, channels last in memory."""
    import tifffile  # not every peer has a use for it

    return torch.from_numpy(tifffile.imread(path)).permute(2, 0, 1).unsqueeze(0)


def serve(run: Callable[[Task], dict[str, Any]], packages: Sequence[str]) -> None:
    """Answer tasks until no more come.

    Parameters
    ----------
    run
        Maps an image; returns what else there is to say, such as ``array`` and ``axes``: the
        name of the map's array within the store, and the order of its axes.
    packages
        Whose versions are told.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the answers
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    _say(answers, {"ready": {name: metadata.version(name) for name in ("torch", *packages)}})
    for line in sys.stdin:
        task = Task(**json.loads(line))
        start = time.perf_counter()
        try:
            found = run(task)
        except Exception as error:  # whatever a library raises is this row's answer
            traceback.print_exc()
            _say(answers, {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]})
        else:
            seconds = time.perf_counter() - start
            _say(answers, {"seconds": seconds, "peak_bytes": peak_bytes()} | found)
        gc.collect()


def _say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def empty(path: str) -> Path:
    """A path that nothing is at any more."""
    shutil.rmtree(path, ignore_errors=True)
    return Path(path)
