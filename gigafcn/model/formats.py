"""Which format does a file or folder hold, and who reads it?

By suffix where formats have their own, by content for ``.pt`` and its relatives, which stand for
TorchScript, for weights and for pickled modules alike.  Weights alone are no model, and a pickled
module cannot be told from a program that does harm before it has run: both are refused with what
to do instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gigafcn.errors import ModelError
from gigafcn.model.bundled import BUNDLED, load_trained
from gigafcn.model.checkpoint import read_checkpoint
from gigafcn.model.exported import load_exported
from gigafcn.model.onnx import load_onnx
from gigafcn.model.torchscript import is_torchscript, load_torchscript
from gigafcn.model.trust import refuse_traversal
from gigafcn.model.wsinfer import CONFIG, SCRIPT, is_wsinfer, load_wsinfer

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn.model.loaded import LoadedModel
    from gigafcn.model.trust import Trust

TORCH_SUFFIXES = frozenset({".pt", ".pth", ".ts", ".jit", ".torchscript", ".ckpt", ".bin", ".tar"})
WAYS = (
    f"give a bundled name ({', '.join(BUNDLED)}), a .safetensors checkpoint of gigafcn.train, "
    f"package.module:factory or path/file.py:factory, a model file (.toml), an exported program "
    f"(.pt2), TorchScript (.pt, .ts), ONNX (.onnx) or a WSInfer folder"
)


def load_path(path: Path, trust: Trust) -> LoadedModel:
    """Load a model that is a file or folder of its own.

    Raises
    ------
    ModelError
        If it is not there, of no known kind, not trusted, or damaged.
    """
    if path.is_dir():
        if is_wsinfer(path):
            return load_wsinfer(path, trust)
        raise ModelError(
            f"model {path} is a directory without {CONFIG} and {SCRIPT} of WSInfer; {WAYS}"
        )
    if path.suffix == ".safetensors":
        return load_trained(path, trust)
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    if path.suffix == ".pt2":
        return load_exported(path, trust)
    if path.suffix == ".onnx":
        return load_onnx(path, trust)
    if path.suffix in TORCH_SUFFIXES:
        refuse_traversal(path)
        if is_torchscript(path):
            return load_torchscript(path, trust)
        raise ModelError(_no_architecture(path))
    kind = path.suffix or "without a suffix"
    raise ModelError(f"model {path} is a file of a kind that is not read ({kind}); {WAYS}")


def _no_architecture(path: Path) -> str:
    read_checkpoint(path)  # raises, and says so, if there is more in it than weights
    return (
        f"model file {path} holds weights but no architecture: write a model file (model.toml) "
        f'with factory = "path/file.py:factory" and checkpoint = "{path.name}"'
    )
