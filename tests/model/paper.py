"""A repository as papers leave it behind: no package, imports from its own folder, a checkpoint."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import torch

from gigafcn.model.repository import importing_from

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "settings.py": "WIDTH = 4\n",
    "utils.py": "import sys\n\ndef is_first_on_path(folder):\n    return sys.path[0] == folder\n",
    "segnet/__init__.py": "from .net import SegNet\n",
    "segnet/net.py": (
        "from torch import nn\n"
        "from .blocks import block\n\n"
        "class SegNet(nn.Module):\n"
        "    def __init__(self, width, classes=2):\n"
        "        super().__init__()\n"
        "        self.body = nn.Sequential(block(3, width), block(width, width))\n"
        "        self.head = nn.Conv2d(width, classes, 1)\n\n"
        "    def forward(self, image):\n"
        "        return self.head(self.body(image))\n"
    ),
    "segnet/blocks.py": (
        "from torch import nn\n\n"
        "def block(inputs, outputs):\n"
        "    layers = nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)\n"
        "    return nn.Sequential(*layers, nn.ReLU())\n"
    ),
    "models/wide.py": (  # in no package, yet with imports relative to the root
        "from segnet import SegNet\n"
        "from .depth import CLASSES\n\n"
        "def wide():\n"
        "    return SegNet(8, CLASSES)\n"
    ),
    "models/depth.py": "CLASSES = 5\n",
    "build.py": (
        "from settings import WIDTH\n"
        "from segnet import SegNet\n"
        "import utils\n\n"
        "def build(classes=2):\n"
        "    from models import depth  # imported late\n"
        "    return SegNet(WIDTH, classes)\n"
    ),
}


def write_paper(folder: Path) -> Path:
    """Write the repository into ``folder/paper``."""
    root = folder / "paper"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def paper_net(root: Path, classes: int) -> torch.nn.Module:
    """The net with random weights and statistics, as the repository's own code makes it."""
    with importing_from(root):
        made_by = importlib.import_module("build")
        torch.manual_seed(classes)
        net: torch.nn.Module = made_by.build(classes)
    forget("build", "settings", "segnet", "models", "utils")
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean)  # type: ignore[arg-type]  # it has one
    return net.eval()


def forget(*names: str) -> None:
    """Drop modules, as if nothing had been imported in this process."""
    for name in [n for n in sys.modules if n.partition(".")[0] in names]:
        del sys.modules[name]


def write_lightning(path: Path, net: torch.nn.Module) -> Path:
    """A checkpoint as Lightning leaves it: weights under a key, names behind a prefix."""
    weights = {f"model.{name}": tensor for name, tensor in net.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {"epoch": 99, "state_dict": weights, "optimizer_states": [{"state": {}}]}
    torch.save(held | {"hyper_parameters": {"lr": 1e-3}}, path)
    return path
