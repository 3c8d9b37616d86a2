"""A net that kills whoever runs it on a window with a certain pixel, unless it is the driver."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
from torch import Tensor, nn

MARK = 200
"""Value of the pixel, in all channels, of an image whose other values are below 8."""


class Deadly(nn.Module):
    """Kills other processes than the one that made it, up to a number of times."""

    def __init__(self, folder: str, times: int = 1 << 30) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, 2, 3, padding=1)
        with torch.no_grad():
            self.net.weight.fill_(0.5)
        self.driver, self.folder, self.times = os.getpid(), folder, times

    def forward(self, image: Tensor) -> Tensor:
        if os.getpid() != self.driver and bool((image == MARK).all(dim=1).any()):
            deaths = len(list(Path(self.folder).iterdir()))
            if deaths < self.times:
                (Path(self.folder) / str(deaths)).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        result: Tensor = self.net(image)
        return result
