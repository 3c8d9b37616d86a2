"""Files that leave a mark where they are run, so that a test can see that nothing ran."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn


class Sings:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.mark,)  # type: ignore[return-value]  # touch(mark)


class SingingScript(nn.Module):
    """TorchScript that writes a file when it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.zeros(3)

    def forward(self, image: Tensor) -> Tensor:
        return image + self.weight[0]

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.weight = state[0]
        self.training = state[1]
        torch.save(state[0], "canary")


def singing_pickle(mark: Path) -> bytes:
    """A plain pickle that writes ``mark``."""
    return pickle.dumps(Sings(mark))


def singing_checkpoint(path: Path, mark: Path) -> Path:
    """A checkpoint of ``torch.save`` that writes ``mark`` if it is unpickled without care."""
    torch.save({"state_dict": {"weight": torch.zeros(3)}, "extra": Sings(mark)}, path)
    return path


def with_member(path: Path, name: str, content: bytes) -> Path:
    """Add a member to an archive, or replace the ones whose name ends alike."""
    source = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    with zipfile.ZipFile(path, "w") as archive:
        for item in source.infolist():
            if not item.filename.endswith(name):
                archive.writestr(item, source.read(item))
        archive.writestr(name, content)
    return path
