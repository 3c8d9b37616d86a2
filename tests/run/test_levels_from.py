"""Where a pyramid's scales contradict its sizes, the user says what decides, if it matters."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from torch import nn

import gigafcn
from gigafcn.errors import QuestionError
from gigafcn.output import open_map
from tests.commands import gigafcn as command
from tests.run.whole import resized, scores_of

if TYPE_CHECKING:
    from pathlib import Path

GIVEN: dict[str, Any] = {
    "scale": 1.0, "activation": "none", "dtype": "float32", "save": "probabilities",
    "verify": False,
}  # fmt: skip


@pytest.fixture
def image() -> Any:
    """(y, x, c) of 800 x 1200 px, of blocks of 16 px."""
    blocks = np.random.default_rng(0).integers(0, 255, (50, 75, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((16, 16, 1), np.uint8))


@pytest.fixture
def slide(tmp_path: Path, image: Any) -> Path:
    """Levels of 1 : 4 : 16 in size whose scales say 1 : 2 : 4.

    Layout imitated from bioformats2raw --use-existing-resolutions of an SVS.
    """
    group = zarr.open_group(tmp_path / "scales.zarr", mode="w", zarr_format=2)
    datasets: list[Any] = []
    for number, (step, scale) in enumerate(((1, 0.253), (4, 0.506), (16, 1.012))):
        level = np.moveaxis(image[::step, ::step], -1, 0)
        group.create_array(str(number), data=level, chunks=(1, 64, 64))
        steps = [{"type": "scale", "scale": [1, scale, scale]}]
        datasets.append({"path": str(number), "coordinateTransformations": steps})
    axes: list[Any] = [{"name": "c", "type": "channel"}]
    axes += [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    return tmp_path / "scales.zarr"


def mapped(slide: Path, **options: Any) -> gigafcn.run.Result:
    return gigafcn.infer(slide, nn.Conv2d(3, 3, 1), slide.parent / "m.zarr", **GIVEN | options)


def test_a_level_whose_scale_contradicts_its_size_is_not_believed(slide: Path) -> None:
    with pytest.raises(QuestionError, match="4 times as large, but its metadata say 2") as asked:
        mapped(slide, mpp=0.506)
    assert [(one.flag, one.value) for one in asked.value.answers] == [
        ("--levels-from", "sizes"), ("--levels-from", "metadata"),
    ]  # fmt: skip
    assert "200 x 300 of the 800 x 1200 px" in str(asked.value)
    assert not (slide.parent / "m.zarr").exists()


def test_sizes_decide_when_they_are_told_to(slide: Path, image: Any, tmp_path: Path) -> None:
    net = nn.Conv2d(3, 3, 1, bias=False)
    nn.init.dirac_(net.weight)
    result = gigafcn.infer(slide, net, tmp_path / "m.zarr", mpp=0.506, levels_from="sizes", **GIVEN)
    assert result.shape == (3, 400, 600)
    assert open_map(result.path).spec.mpp == pytest.approx((0.506, 0.506))
    expected = np.moveaxis(resized(image, (400, 600)), -1, 0)
    # Resampled in float32, against float64: a few roundings of values up to 255.
    np.testing.assert_allclose(scores_of(result.path), expected, atol=1e-3)


def test_metadata_decide_when_they_are_told_to(slide: Path) -> None:
    result = mapped(slide, mpp=0.506, levels_from="metadata")
    assert result.shape == (3, 200, 300)
    assert open_map(result.path).spec.mpp == pytest.approx((0.506, 0.506))


def test_a_level_that_was_asked_for_is_asked_about(slide: Path) -> None:
    with pytest.raises(QuestionError, match="level 2 of scales has 50 x 75"):
        mapped(slide, level=2)
    assert mapped(slide, level=2, levels_from="sizes").shape == (3, 50, 75)
    assert open_map(slide.parent / "m.zarr").spec.mpp == pytest.approx((4.048, 4.048))


@pytest.mark.parametrize("options", [{}, {"level": 0}, {"mpp": 0.253}, {"mpp": 0.3, "level": 0}])
def test_where_level_0_alone_is_read_the_other_scales_are_ignored_with_a_line(
    options: dict[str, Any], slide: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mapped(slide, **options)
    assert "level 0 is read alone; the scales of level 1, 2" in caplog.text
    spec = open_map(slide.parent / "m.zarr").spec
    assert spec.mpp is not None
    height, width = (n * m for n, m in zip(spec.shape, spec.mpp, strict=True))
    assert (height, width) == pytest.approx((202.4, 303.6), rel=1e-3)


def test_the_commands_that_are_printed_work_when_typed(slide: Path) -> None:
    (slide.parent / "nets.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Conv2d(3, 3, 1)\n"
    )
    words = ["infer", "scales.zarr", "-m", "nets.py:net", "--trust", "--mpp", "0.506"]
    ended = command(*words, "--no-verify", cwd=slide.parent)
    assert ended.code == 2
    lines = [line.partition("gigafcn:   gigafcn ")[2] for line in ended.err.splitlines()]
    typed = [shlex.split(line, comments=True) for line in lines if line]
    assert [one[-2:] for one in typed] == [["--levels-from", v] for v in ("sizes", "metadata")]
    for one, shape in zip(typed, [(400, 600), (200, 300)], strict=True):
        assert command(*one, "--overwrite", "-o", "m.zarr", cwd=slide.parent).code == 0
        assert open_map(slide.parent / "m.zarr").spec.shape == shape
