"""Fixtures that several rooms of the tests share."""

from __future__ import annotations

import os

# Before torch is loaded: small images mean many short parallel stretches, each as long as its
# slowest thread, and on shared processors that makes a test ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "dev", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", max_examples=40, deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

REAL_SLIDE = "CMU-1-Small-Region.svs"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep certificates of these runs away from the user's own."""
    os.environ["GIGAFCN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_slide() -> Path:
    """Path of the real slide, from GIGAFCN_TEST_DATA or the folder beside the checkout."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("GIGAFCN_TEST_DATA", root.parent / "shared" / "data"))
    path = folder / REAL_SLIDE
    if not path.is_file():
        pytest.skip(f"{REAL_SLIDE} is not in {folder}; set GIGAFCN_TEST_DATA to its folder")
    return path
