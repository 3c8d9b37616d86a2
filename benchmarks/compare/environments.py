"""One virtual environment per peer, from PyPI, in a folder that outlives the run.

``pip install`` is run step by step; an environment is finished when the steps it was made with
stand in it, and is made again when they change.  torchvision's wheel asks for another build of
torch than the one that is measured: it comes without its dependencies, and is imported as
``benchmarks/architectures/torchvision_models.py`` describes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

STORING = ("zarr==3.1.6", "tifffile==2026.3.3", "imagecodecs==2026.3.6", "numpy==2.4.6")
"""What constraints.txt says, for peers that leave reading and writing to the caller."""

TORCH = ("torch==2.13.0",)

TIATOOLBOX_NEEDS = (
    "dask<2026.7.1", "zarr<3.2", "imagecodecs<2026.3.6", "openslide-bin<4.0.1.2",
    "openslide-python", "tifffile<2026.3.3", "numpy<2.4.4", "opencv-python-headless",
    "pandas<3.0.3", "pydicom", "glymur", "wsidicom", "scikit-image", "scikit-learn", "shapely",
    "s3fs", "matplotlib", "defusedxml", "Click<8.4.2", "joblib", "numba", "flask", "flask-cors",
    "bokeh", "requests", "huggingface_hub", "aiohttp", "filelock", "umap-learn", "transformers",
    "SimpleITK", "tqdm", "pyyaml", "pillow", "ipywidgets",
)  # fmt: skip
"""TIAToolbox pins torch below what is measured, so its other dependencies are named here."""

STEPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "monai": ((*TORCH, "monai==1.6.1", *STORING),),
    "torch-em": (
        (*TORCH, *STORING),
        ("--no-deps", "torchvision==0.28.0"),
        (*TORCH, "torch-em==0.10.9", "bioimageio.core==0.11.0", *STORING),
    ),
    "tiatoolbox": (
        (*TORCH, *TIATOOLBOX_NEEDS),
        ("--no-deps", "tiatoolbox==2.1.3", "torchvision==0.28.0", "timm<1.0.28"),
    ),
    "dask": ((*TORCH, "dask[array]==2026.8.0", *STORING),),
}
"""Arguments of ``pip install``, one tuple per call."""

OWN = "gigafcn"
"""The environment that runs the comparison."""

STAMP = "made-with.json"
INSTALL_SECONDS = 1800


class EnvironmentFailure(Exception):
    """An environment could not be made; says what pip said last."""


def python_of(name: str, folder: Path) -> Path:
    """The interpreter of a peer's environment, which is made if it is not there.

    Parameters
    ----------
    name
        Key of :data:`STEPS`, or :data:`OWN`.
    folder
        Where environments are kept.

    Raises
    ------
    EnvironmentFailure
        If pip fails or takes too long.
    """
    if name == OWN:
        return Path(sys.executable)
    place = folder / name
    stamp, steps = place / STAMP, json.dumps(STEPS[name])
    python = place / "bin" / "python"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == steps:
        return python
    print(f"making the environment of {name} in {place}", flush=True)
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, with_pip=True)
    for step in STEPS[name]:
        _install(python, step)
    stamp.write_text(steps, encoding="utf-8")
    return python


def _install(python: Path, arguments: tuple[str, ...]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired as problem:
        raise EnvironmentFailure(f"pip took more than {INSTALL_SECONDS} s") from problem
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise EnvironmentFailure(" ".join(lines)[:400] or done.stderr[-400:])
