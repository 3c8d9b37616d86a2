"""In patch, windows without enough tissue are not computed, whatever chunk they lie in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gigafcn
from gigafcn.cli.reporting import closing_line
from gigafcn.errors import SlideError
from gigafcn.output import open_map
from tests.run.whole import small_image

if TYPE_CHECKING:
    from pathlib import Path

HEIGHT, WIDTH, WINDOW = 203, 331, 16
ROWS, COLUMNS = HEIGHT // WINDOW, WIDTH // WINDOW
COMPUTED: list[int] = []
"""Windows of each call."""


class Classifier(nn.Module):
    """Two scores of a window."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Conv2d(3, 2, WINDOW)

    def forward(self, x: Tensor) -> Tensor:
        COMPUTED.append(len(x))
        scores: Tensor = self.head(x).flatten(1)
        return scores


def tissue() -> np.ndarray:
    """A disc and a speck: px of the slide."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mask = (y - 60) ** 2 + (x - 90) ** 2 < 33**2
    mask[150:155, 250:256] = True  # 30 px of windows of 256
    return np.asarray(mask)


def shares(step: int = WINDOW) -> np.ndarray:
    """Part of each window that is tissue, counted px by px."""
    mask, rows = tissue(), range(0, HEIGHT - WINDOW + 1, step)
    columns = range(0, WIDTH - WINDOW + 1, step)
    return np.array([[mask[y : y + WINDOW, x : x + WINDOW].mean() for x in columns] for y in rows])


def mapped(path: Path, **options: Any) -> gigafcn.Result:
    given: dict[str, Any] = {"device": "cpu", "mode": "patch", "window": WINDOW}
    return gigafcn.infer(small_image(HEIGHT, WIDTH), Classifier(), path, **given | options)


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    path = tmp_path / "tissue.png"
    Image.fromarray(tissue().astype(np.uint8) * 255).save(path)
    return path


@pytest.mark.parametrize("step", [16, 8])
@pytest.mark.parametrize("least", [None, 0.0, 0.5, 1.0])
def test_windows_with_enough_tissue_are_computed_and_no_others(
    least: float | None, step: int, mask: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {} if least is None else {"min_tissue": least}
    common: dict[str, Any] = {"dtype": "float32", "activation": "none", "step": step}
    mapped(tmp_path / "all.zarr", **common)
    COMPUTED.clear()
    result = mapped(tmp_path / "m.zarr", tissue=mask, **asked, **common)
    share = shares(step)
    kept = (share >= (0.1 if least is None else least)) & (share > 0)
    every, found = open_map(tmp_path / "all.zarr"), open_map(tmp_path / "m.zarr")
    scores, expected = np.asarray(found.scores[0]), np.asarray(every.scores[0])
    assert (np.isnan(scores) == ~kept).all()
    # Calls of fewer windows may add in another order.
    assert np.abs(scores - expected)[:, kept].max() <= 1e-5
    labels = np.asarray(found.labels[0])
    assert (labels[~kept] == 255).all()
    assert (labels[kept] == np.asarray(every.labels[0])[kept]).all()
    assert result.summary["windows_kept"] == (kept.sum(), kept.size)
    assert found.provenance["tissue"]["windows"] == kept.sum()
    assert found.provenance["tissue"]["of_windows"] == kept.size
    assert f"{kept.sum()} of {kept.size} windows kept" in closing_line(result)


def test_as_many_windows_are_computed_as_are_kept(mask: Path, tmp_path: Path) -> None:
    mapped(tmp_path / "warm.zarr", tissue=mask)
    COMPUTED.clear()
    mapped(tmp_path / "few.zarr", tissue=mask)
    few = sum(COMPUTED)
    COMPUTED.clear()
    mapped(tmp_path / "all.zarr")
    # What planning and probing call is the same in both.
    kept = int((shares() >= 0.1).sum())
    assert sum(COMPUTED) - few == ROWS * COLUMNS - kept
    assert kept < 0.1 * ROWS * COLUMNS


def test_scores_of_8_bit_say_in_an_array_of_their_own_what_was_computed(
    mask: Path, tmp_path: Path
) -> None:
    mapped(
        tmp_path / "m.zarr", tissue=mask, save="probabilities", dtype="uint8", activation="softmax"
    )
    found = open_map(tmp_path / "m.zarr")
    assert (np.asarray(found.marks[0]) == np.where(shares() >= 0.1, 1, 255)).all()
    masked = found.masked_scores(found.spec.classes[0])
    assert (np.ma.getmaskarray(masked) == (shares() < 0.1)).all()


def test_polygons_are_measured_too(tmp_path: Path) -> None:
    path = tmp_path / "areas.geojson"
    ring = "[[16, 16], [40, 16], [40, 36], [16, 36], [16, 16]]"
    path.write_text('{"type": "Polygon", "coordinates": [' + ring + "]}")
    result = mapped(tmp_path / "m.zarr", tissue=path, min_tissue=0.5)
    # Of the second column of windows all is drawn, of the third a half; below them a quarter and
    # an eighth.
    assert result.summary["windows_kept"] == (2, ROWS * COLUMNS)
    assert np.argwhere(np.asarray(open_map(tmp_path / "m.zarr").labels[0]) != 255).tolist() == [
        [1, 1], [1, 2],
    ]  # fmt: skip


def test_a_slide_that_keeps_no_window_fails(mask: Path, tmp_path: Path) -> None:
    Image.fromarray(np.eye(HEIGHT, WIDTH, dtype=np.uint8) * 255).save(mask)
    with pytest.raises(SlideError, match=r"none of 240 windows holds 10% of tissue"):
        mapped(tmp_path / "m.zarr", tissue=mask)
    assert not (tmp_path / "m.zarr").exists()


def test_what_no_window_reaches_is_said(tmp_path: Path) -> None:
    result = mapped(tmp_path / "m.zarr")
    assert "11 px at right and 11 px below lie in no window" in closing_line(result)
    covered = mapped(tmp_path / "c.zarr", border="cover")
    assert "lie in no window" not in closing_line(covered)


def test_the_plan_says_how_many_windows_are_kept(mask: Path) -> None:
    report = gigafcn.plan_run(
        small_image(HEIGHT, WIDTH), Classifier(), mode="patch", window=WINDOW, tissue=mask,
        device="cpu",
    )  # fmt: skip
    kept = int((shares() >= 0.1).sum())
    rows = dict(report.rows())
    assert f"{kept} of {ROWS * COLUMNS} windows" in rows["tissue"]
    assert "11 px at right" in rows["rest"]
