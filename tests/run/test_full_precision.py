"""A tile computes in the precision that was asked for, whatever torch is set to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gigafcn
from gigafcn.engine.precision import as_asked
from tests.run.small_nets import random_numbers
from tests.run.whole import scores_of, small_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BACKENDS: Any = torch.backends


def _coarse_products() -> None:
    torch.set_float32_matmul_precision("medium")


def _coarse_everywhere() -> None:
    BACKENDS.fp32_precision = "tf32"


def _coarse_convolutions() -> None:
    BACKENDS.mkldnn.conv.fp32_precision = "bf16"


def _fine_convolutions() -> None:
    """The new way; torch refuses to be asked the old way, and to export, after that."""
    BACKENDS.cudnn.conv.fp32_precision = "ieee"


def _coarse_cuda_products() -> None:
    BACKENDS.cuda.matmul.fp32_precision = "tf32"


def _contradictory() -> None:
    torch.set_float32_matmul_precision("high")
    BACKENDS.mkldnn.matmul.fp32_precision = "bf16"
    BACKENDS.cudnn.conv.fp32_precision = "ieee"


SETTINGS = (
    _coarse_products, _coarse_everywhere, _coarse_convolutions, _fine_convolutions,
    _coarse_cuda_products, _contradictory,
)  # fmt: skip


def operands() -> list[str]:
    """How torch rounds what is multiplied."""
    cuda, cpu = BACKENDS.cudnn, BACKENDS.mkldnn
    ops = (BACKENDS.cuda.matmul, cuda.conv, cuda.rnn, cpu.matmul, cpu.conv, cpu.rnn)
    return [op.fp32_precision for op in ops]


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    before = operands()
    yield
    BACKENDS.fp32_precision = "none"
    cuda, cpu = BACKENDS.cudnn, BACKENDS.mkldnn
    cuda.fp32_precision = "none"  # torch's own export leaves this behind, and the next
    cpu.set_flags(_fp32_precision="none")
    torch.set_float32_matmul_precision("highest")
    cuda.allow_tf32 = True
    for op in (BACKENDS.cuda.matmul, cpu.matmul, cpu.conv, cpu.rnn):
        op.fp32_precision = "none"
    assert operands() == before


class Mixed(nn.Module):
    """A convolution, and a product over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.product = nn.Conv2d(3, 64, 3, padding=1), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.product(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return scores


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.__name__.strip("_"))
def test_a_map_is_the_same_bytes_however_torch_is_told_to_round(
    setting: Callable[[], None], tmp_path: Path
) -> None:
    image, net = small_image(60, 50), random_numbers(Mixed())
    gigafcn.infer(image, net, tmp_path / "right.zarr", dtype="float32")
    setting()
    told = operands()
    gigafcn.infer(image, net, tmp_path / "found.zarr", dtype="float32")
    assert operands() == told
    assert np.array_equal(scores_of(tmp_path / "found.zarr"), scores_of(tmp_path / "right.zarr"))


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.__name__.strip("_"))
def test_nothing_is_rounded_within(setting: Callable[[], None]) -> None:
    setting()
    with as_asked():
        assert set(operands()) == {"ieee"}
        assert not BACKENDS.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
        assert BACKENDS.cudnn.deterministic
        assert torch.is_inference_mode_enabled()
    assert not BACKENDS.cudnn.deterministic


def test_a_thread_that_goes_first_takes_the_precision_from_no_other() -> None:
    _coarse_products()
    entered, left = threading.Event(), threading.Event()

    def brief() -> None:
        with as_asked():
            entered.set()
        left.set()

    with as_asked():
        thread = threading.Thread(target=brief)
        thread.start()
        assert entered.wait(10)
        assert left.wait(10)
        assert set(operands()) == {"ieee"}
        thread.join()
    assert torch.get_float32_matmul_precision() == "medium"


def test_the_first_that_goes_leaves_the_second_its_precision() -> None:
    _coarse_products()
    first, second = as_asked(), threading.Event()
    go, seen = threading.Event(), []

    def later() -> None:
        with as_asked():
            second.set()
            go.wait(10)
            seen.append(set(operands()))

    with first:
        thread = threading.Thread(target=later)
        thread.start()
        assert second.wait(10)
    go.set()
    thread.join()
    assert seen == [{"ieee"}]
    assert torch.get_float32_matmul_precision() == "medium"


def test_what_was_said_the_older_way_is_put_back_where_it_may_not_be_asked() -> None:
    _contradictory()
    with as_asked():
        pass
    # Without the contradictions torch answers again.
    BACKENDS.mkldnn.matmul.fp32_precision = "tf32"
    BACKENDS.cudnn.conv.fp32_precision = "tf32"
    assert torch.get_float32_matmul_precision() == "high"
    assert BACKENDS.cudnn.allow_tf32
