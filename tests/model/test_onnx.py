"""ONNX files run on windows through onnxruntime."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from gigafcn.errors import ModelError
from gigafcn.model.loading import load_model
from gigafcn.model.trust import sha256_of
from tests.model.onnx_files import write_onnx

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype(np.float32)
ANY = ("b", 3, "y", "x")


def convolved(image: torch.Tensor) -> torch.Tensor:
    """What the file computes."""
    return nn.functional.conv2d(image, torch.from_numpy(WEIGHTS), padding=1)


def test_a_file_of_any_size_runs_in_its_runtime_and_needs_no_trust(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx", WEIGHTS, ANY)
    found = load_model(path)
    assert (found.window, found.fixed, found.exportable, found.channels) == (None, False, False, 3)
    assert found.weights_hash() == found.sha256 == sha256_of(path)
    image = torch.rand(2, 3, 10, 14)
    # Another library sums in another order.
    torch.testing.assert_close(found.module(image), convolved(image), atol=1e-5, rtol=1e-5)


def test_a_file_of_one_size_takes_windows_of_that_size_in_batches(tmp_path: Path) -> None:
    found = load_model(write_onnx(tmp_path / "net.onnx", WEIGHTS, (2, 3, 8, 12)))
    assert (found.window, found.fixed) == ((8, 12), True)
    images = torch.rand(5, 3, 8, 12)
    torch.testing.assert_close(found.module(images), convolved(images), atol=1e-5, rtol=1e-5)


def test_another_precision_is_refused(tmp_path: Path) -> None:
    found = load_model(write_onnx(tmp_path / "net.onnx", WEIGHTS, ANY))
    with pytest.raises(ModelError, match=r"computes in torch\.float32, not in torch\.float64"):
        found.module(torch.zeros(1, 3, 8, 8, dtype=torch.float64))


def test_channels_last_are_refused(tmp_path: Path) -> None:
    weights = np.zeros((2, 8, 3, 3), np.float32)
    path = write_onnx(tmp_path / "net.onnx", weights, (1, 8, 8, 3))
    with pytest.raises(ModelError, match=r"takes images \[1, 8, 8, 3\] with the channels last"):
        load_model(path)


def test_weights_outside_the_file_s_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    for place in ("../secret", str(tmp_path / "secret")):
        path = write_onnx(tmp_path / "inner" / "net.onnx", WEIGHTS, ANY, external=place)
        with pytest.raises(ModelError, match=r"cannot be read by onnxruntime: .*[Ee]xternal data"):
            load_model(path)


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(WEIGHTS.tobytes())
    found = load_model(write_onnx(tmp_path / "net.onnx", WEIGHTS, ANY, external="weights"))
    image = torch.rand(1, 3, 9, 9)
    torch.testing.assert_close(found.module(image), convolved(image), atol=1e-5, rtol=1e-5)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"weights")
    with pytest.raises(ModelError, match="cannot be read by onnxruntime"):
        load_model(tmp_path / "net.onnx")


def test_without_onnxruntime_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    with pytest.raises(ModelError, match=r"pip install 'gigafcn\[onnx\]'"):
        load_model(write_onnx(tmp_path / "net.onnx", WEIGHTS, ANY))
