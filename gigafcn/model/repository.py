"""How is a Python file imported that belongs to no installed package?

The way its author runs it: with the folder that its imports start from first on the path.  That is
the stated root, else the folder of the file, or, if that is a package, the one above the outermost
package, so that relative imports work.  The path is put back as soon as the model is made.  Names
that other repositories brought along (every second one has a ``utils``) are out of sight meanwhile.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gigafcn.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

NEVER_SHADOWED = frozenset(sys.stdlib_module_names) | {"torch", "numpy", "gigafcn"}
"""Modules that stay what they are, whatever a repository calls its files."""


def import_place(path: Path, root: Path | None) -> tuple[Path, str]:
    """Folder that a file's imports start from, and the file's module name there.

    Raises
    ------
    ModelError
        If the file is not below the root.

    Examples
    --------
    >>> import_place(Path("/paper/nets/unet.py"), Path("/paper"))[1]
    'nets.unet'
    """
    path = path.resolve()
    if root is None:
        root = path.parent
        while (root / "__init__.py").is_file():
            root = root.parent
    root = root.resolve()
    if not path.is_relative_to(root):
        raise ModelError(f"model file {path} is not below its root {root}")
    *folders, stem = path.relative_to(root).with_suffix("").parts
    return root, ".".join((*folders, stem.replace(".", "_") if not folders else stem))


@contextmanager
def importing_from(root: Path) -> Iterator[None]:
    """Let imports start from a folder, and put everything back after."""
    hidden = {name for name in _names_in(root) if _is_taken(name, root)}
    aside = {n: module for n, module in sys.modules.items() if n.partition(".")[0] in hidden}
    path = list(sys.path)
    _forget(set(aside))
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        _forget({name for name in sys.modules if name.partition(".")[0] in hidden})
        sys.modules.update(aside)


@contextmanager
def installed_only() -> Iterator[None]:
    """Let imports find what is installed, but not what lies in the working directory.

    ``python -m`` puts that first on the path, and a model file from elsewhere may lie in it next
    to code that it names.
    """
    here, path = Path.cwd(), list(sys.path)
    sys.path[:] = [entry for entry in path if Path(entry or ".").resolve() != here]
    try:
        yield
    finally:
        sys.path[:] = path


def import_file(path: Path, name: str) -> ModuleType:
    """Import a file under its module name, while imports start from its root."""
    if "." in name:
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses, for one, look their module up
    try:
        spec.loader.exec_module(module)
    finally:
        if before is not None:
            sys.modules[name] = before
    return module


def _forget(names: set[str]) -> None:
    for name in names:
        del sys.modules[name]


def _names_in(root: Path) -> frozenset[str]:
    """Top-level modules that a folder holds."""
    return (
        frozenset(
            entry.stem
            for entry in root.iterdir()
            if entry.suffix == ".py" or (entry.is_dir() and entry.name.isidentifier())
        )
        - NEVER_SHADOWED
    )


def _is_taken(name: str, root: Path) -> bool:
    """Whether a name stands for a module from elsewhere that the folder's own would win over."""
    module = sys.modules.get(name)
    if module is None or _lies_in(module, root):
        return False
    # Folders without __init__.py give way to a package that is installed, wherever they are.
    own_wins = (root / f"{name}.py").is_file() or (root / name / "__init__.py").is_file()
    return own_wins or getattr(module, "__file__", None) is None


def _lies_in(module: ModuleType, root: Path) -> bool:
    places = [getattr(module, "__file__", None), *list(getattr(module, "__path__", ()))]
    return any(place is not None and str(place).startswith(f"{root}/") for place in places)
