"""Modules that write in forward are mapped as they answer; those that change are not mapped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import zarr
from torch import Tensor, nn

import gigafcn
from gigafcn.errors import CertificateError, UnsteadyError
from tests.changing_nets import CHANGING, OWN_EACH_SIZE, RANDOM, SETTLING, Net
from tests.model.onnx_files import write_noise_onnx
from tests.run.whole import small_image

if TYPE_CHECKING:
    from pathlib import Path

HEIGHT, WIDTH = 71, 93
OPTIONS: dict[str, Any] = {"device": "cpu", "dtype": "float32", "activation": "none"}
STEADY = {**SETTLING, **OWN_EACH_SIZE}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGAFCN_CACHE", str(tmp_path / "cache"))


def answer(net: nn.Module, image: np.ndarray) -> np.ndarray:
    """What a fresh module says to its user."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        return np.asarray(net.eval()(pixels)[0])


def mapped(net: nn.Module, path: Path, **options: Any) -> tuple[np.ndarray, gigafcn.Result]:
    image = small_image(HEIGHT, WIDTH)
    result = gigafcn.infer(image, net, path, **OPTIONS | options)
    return np.asarray(zarr.open_group(path, mode="r")["0"]), result


@pytest.mark.parametrize("name", STEADY)
def test_the_map_is_the_answer_of_the_module(name: str, tmp_path: Path) -> None:
    found, result = mapped(STEADY[name](), tmp_path / "m.zarr", tile=32)
    expected = answer(STEADY[name](), small_image(HEIGHT, WIDTH))
    # Rounding of sums of 27 products in fp32, some 1e-7 each.
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max() + 1e-6
    assert result.certificate["class"] == "structural+measured"


@pytest.mark.parametrize("name", STEADY)
def test_a_window_of_blend_is_the_answer_of_the_module(name: str, tmp_path: Path) -> None:
    found, _ = mapped(STEADY[name](), tmp_path / "m.zarr", mode="blend", window=(HEIGHT, WIDTH))
    expected = answer(STEADY[name](), small_image(HEIGHT, WIDTH))
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max() + 1e-6


@pytest.mark.parametrize("name", ["data replaced", "fused at the first call", "table of columns"])
def test_workers_have_the_same_weights(name: str, tmp_path: Path) -> None:
    found, _ = mapped(STEADY[name](), tmp_path / "m.zarr", tile=32, workers=2)
    expected = answer(STEADY[name](), small_image(HEIGHT, WIDTH))
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max() + 1e-6


class Patches(nn.Module):
    """A classifier of patches of 8 px whose convolution is written in forward."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c, self.e = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.e.weight.data = self.c.weight * 2
        scores: Tensor = self.head(self.e(x).flatten(1))
        return scores


def test_a_classifier_that_writes_its_weights_is_mapped_as_it_answers(tmp_path: Path) -> None:
    found, _ = mapped(Patches(), tmp_path / "m.zarr", patch=8, output_stride=1)
    net, image = Patches().eval(), small_image(HEIGHT, WIDTH)
    for y, x in ((0, 0), (31, 40), (HEIGHT - 8, WIDTH - 8)):
        expected = answer(net, np.ascontiguousarray(image[y : y + 8, x : x + 8]))
        assert np.abs(found[:, y, x] - expected).max() <= 1e-5


@pytest.mark.parametrize("mode", [{}, {"mode": "blend", "window": 32}], ids=["exact", "blend"])
@pytest.mark.parametrize("name", [*CHANGING, *RANDOM])
def test_what_changes_from_call_to_call_is_refused(
    name: str, mode: dict[str, Any], tmp_path: Path
) -> None:
    make, what = {**CHANGING, **RANDOM}[name]
    with pytest.raises(UnsteadyError) as caught:
        mapped(make(), tmp_path / "m.zarr", **mode)
    assert re.search(what, str(caught.value))
    assert "--mode blend" not in str(caught.value)  # on windows it would be no steadier
    assert not (tmp_path / "m.zarr").exists()


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.c(x)
        for _ in range(x.shape[2] % 2 + 1):  # a loop, which torch's converter does not take
            y = y + torch.rand_like(y)
        result: Tensor = y
        return result


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_random_script_is_refused(tmp_path: Path) -> None:
    script: Any = torch.jit.script(Scripted().eval())
    script.save(tmp_path / "net.pt")
    with pytest.raises(UnsteadyError, match="random"):
        gigafcn.infer(
            small_image(HEIGHT, WIDTH), tmp_path / "net.pt", tmp_path / "m.zarr", trust=True,
            mode="blend", window=32, **OPTIONS,
        )  # fmt: skip


def test_a_random_onnx_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    write_noise_onnx(tmp_path / "net.onnx", ("b", 3, "h", "w"))
    with pytest.raises(UnsteadyError, match="differently from call to call"):
        gigafcn.infer(
            small_image(HEIGHT, WIDTH), tmp_path / "net.onnx", tmp_path / "m.zarr", mode="blend",
            window=32, **OPTIONS,
        )  # fmt: skip


def _cancelled(net: Any, y: Any, x: Any) -> Any:
    """Loses five digits: a mistake of that size could not be told from rounding."""
    return (y + 1e5) - 1e5


def test_a_module_that_rounds_too_coarsely_is_not_certified(tmp_path: Path) -> None:
    with pytest.raises(CertificateError) as caught:
        mapped(Net(_cancelled), tmp_path / "m.zarr")
    message = str(caught.value)
    assert "where rounding explains at most" in message
    assert "above its cap of" in message
    assert "--precision fp64" in message
    assert "mistake" not in message
    assert not (tmp_path / "m.zarr").exists()


def test_in_double_it_is_certified(tmp_path: Path) -> None:
    _, result = mapped(Net(_cancelled), tmp_path / "m.zarr", precision="fp64")
    assert result.certificate["class"] == "structural+measured"


def test_probabilities_have_a_cap_of_half_a_step_of_8_bits() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.Softmax(1))
    assert {one.cap for one in gigafcn.verify(net).differences} == {1 / 510}
