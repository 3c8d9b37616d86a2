"""Strips to the device and results back, while it computes.

On a GPU both go through pinned memory and on streams of their own.  The thread that decodes a strip
sends it as it is stored; results are taken up a few blocks later, in order.  So the processor only
waits where it is ahead of the device.  On the CPU nothing is copied and nothing is late.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gigafcn.engine.pixels import as_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gigafcn.slide.protocol import Pixels

OWED = 6
"""Results that a GPU may owe before the processor waits: those of about two blocks."""


@dataclass(frozen=True, slots=True)
class SentStrip:
    """Stored pixels (y, x, c) on a device, or on their way to it."""

    stored: Tensor
    arrival: torch.cuda.Event | None = None

    def part(self, rows: slice, columns: slice) -> Tensor:
        """Some of them; what is computed from these waits until they are there."""
        if self.arrival is not None:
            stream = torch.cuda.current_stream(self.stored.device)
            stream.wait_event(self.arrival)
            self.stored.record_stream(stream)
        return self.stored[rows, columns]


class Sender:
    """Sends strips to a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = stream_of(device)

    def __call__(self, stored: Pixels) -> SentStrip:
        """Begin to send a strip."""
        tensor = as_tensor(stored)
        if self._stream is None:
            return SentStrip(tensor.to(self._device))
        with torch.cuda.stream(self._stream):
            sent = tensor.pin_memory().to(self._device, non_blocking=True)
            return SentStrip(sent, self._stream.record_event())


class Results:
    """Hands on what was computed, in order.

    Parameters
    ----------
    device
        That computes.
    owed
        Results that may be late; None is none on the CPU.
    """

    def __init__(self, device: torch.device, owed: int | None = None) -> None:
        self._stream = stream_of(device)
        self._most = (0 if self._stream is None else OWED) if owed is None else owed
        self._owed: deque[tuple[list[Tensor], torch.cuda.Event | None, Callable[..., None]]]
        self._owed = deque()

    def take(self, tensors: Sequence[Tensor], then: Callable[..., None]) -> None:
        """Call ``then`` with the tensors in the processor's memory, at once or a little later."""
        self._owed.append((*self._copied(tensors), then))
        while len(self._owed) > self._most:
            self._settle()

    def settle(self) -> None:
        """Hand on all that is owed."""
        while self._owed:
            self._settle()

    def _copied(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], torch.cuda.Event | None]:
        if self._stream is None:
            return [tensor.cpu() for tensor in tensors], None
        # The device's own copies: what they were made from may be overwritten by the next block.
        own = [tensor.clone() for tensor in tensors]
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            copies = []
            for tensor in own:
                copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                copies.append(copy.copy_(tensor, non_blocking=True))
                tensor.record_stream(self._stream)
            return copies, self._stream.record_event()

    def _settle(self) -> None:
        copies, arrival, then = self._owed.popleft()
        if arrival is not None:
            arrival.synchronize()
        then(*copies)


def stream_of(device: torch.device) -> torch.cuda.Stream | None:
    """A stream beside the others of a device; None where there are none."""
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # of torch
