"""Resizes 100 000 px from the origin: boxes against torch's own run of the whole thin image.

torch finds source coordinates in float32 from global positions, so that far out they are not the
rational ones.  A box must follow torch, not the exact fraction.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional

from gigafcn.geometry import Box, Span
from gigafcn.graph.rules.resample import Bilinear, Nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

LONG = 100_000
THIN = 5


@dataclass(frozen=True, slots=True)
class Resize:
    """A resize of a thin image whose long axis is ``axis``."""

    mode: str
    axis: int
    size: int
    """Input size along the long axis."""

    factor: float | None
    out_size: int | None = None
    aligned: bool = False

    def by_axis(self, long: Any, thin: Any) -> tuple[Any, Any]:
        """(y, x) of a value along the long and one along the thin axis."""
        return (long, thin) if self.axis == 0 else (thin, long)

    def whole(self, image: Tensor) -> Tensor:
        """What torch says of the whole image."""
        corners = {"align_corners": self.aligned} if self.mode == "bilinear" else {}
        if self.factor is not None:
            amount: dict[str, Any] = {"scale_factor": self.by_axis(self.factor, 1.0)}
        else:
            amount = {"size": self.by_axis(self.out_size, THIN)}
        return functional.interpolate(image, mode=self.mode, **amount, **corners)

    def rule(self, out_grid: tuple[int, int]) -> Nearest | Bilinear:
        """The rule for the whole image."""
        scales = (None, None) if self.factor is None else self.by_axis(self.factor, 1.0)
        grid = self.by_axis(self.size, THIN)
        if self.mode == "bilinear":
            return Bilinear(scales, grid, out_grid, self.aligned, torch.empty(0))
        return Nearest(scales, grid, out_grid, self.mode == "nearest-exact")


NEAREST = [
    *(Resize(mode, axis, LONG, 3.0) for mode in ("nearest", "nearest-exact") for axis in (0, 1)),
    Resize("nearest", 1, LONG, 2.5),
    Resize("nearest", 1, LONG, 0.3),
    Resize("nearest", 1, LONG, 2.0),
    Resize("nearest", 0, LONG // 20, None, 41 * (LONG // 20)),
    Resize("nearest", 1, LONG // 20 + 1, 41.0),
    Resize("nearest-exact", 1, LONG + 1, None, 2 * LONG - 7),
    Resize("nearest", 0, LONG + 1, None, 2 * LONG - 7),
]
BILINEAR = [
    *(Resize("bilinear", axis, LONG + 1, 3.0) for axis in (0, 1)),
    Resize("bilinear", 1, LONG + 1, 1.5),
    Resize("bilinear", 1, LONG + 1, 4.0),
    Resize("bilinear", 0, LONG + 1, 0.4),
    Resize("bilinear", 0, LONG + 1, None, 2 * LONG - 7),
    Resize("bilinear", 1, LONG, None, LONG + 77),
    *(Resize("bilinear", axis, LONG + 1, None, 2 * LONG, aligned=True) for axis in (0, 1)),
    Resize("bilinear", 1, LONG // 3, None, LONG + 2, aligned=True),
    Resize("bilinear", 1, LONG // 3, 3.0, aligned=True),
]


def far_boxes(resize: Resize, out_grid: tuple[int, int]) -> Iterator[Box]:
    """Boxes at both ends and at random places along the long axis."""
    rng = random.Random(0)
    length = out_grid[resize.axis]
    starts = [0, length - 40, *(rng.randrange(length - 40) for _ in range(30))]
    for start in starts:
        long = Span(start, start + rng.randint(1, 40))
        yield Box.of(*resize.by_axis(long, Span(1, THIN - 1)))


def run(rule: Nearest | Bilinear, image: Tensor, out: Box) -> Tensor:
    """The rule on just the pixels that it says it needs."""
    need = Box.of(rule.need(out.y, 0), rule.need(out.x, 1))
    rows, columns = need.relative_to(Box(0, 0, 0, 0))
    return rule.run([image[:, :, rows, columns]], [need], out)


@pytest.mark.parametrize("resize", NEAREST, ids=str)
def test_a_nearest_box_far_out_copies_the_pixels_torch_copies(resize: Resize) -> None:
    ramp = torch.arange(resize.size, dtype=torch.float32)  # exact below 2**24: values are indices
    shape = resize.by_axis(resize.size, THIN)
    image = (ramp[:, None] if resize.axis == 0 else ramp).expand(1, 4, *shape).contiguous()
    expected = resize.whole(image)
    rule = resize.rule((expected.shape[2], expected.shape[3]))
    for out in far_boxes(resize, rule.out_grid):
        rows, columns = out.relative_to(Box(0, 0, 0, 0))
        whole = expected[:, :, rows, columns]
        need = rule.need(out.spans[resize.axis], resize.axis)
        assert need == Span(int(whole.min()), int(whole.max()) + 1)
        assert torch.equal(run(rule, image, out), whole)


@pytest.mark.parametrize("resize", BILINEAR, ids=str)
def test_a_bilinear_box_far_out_has_the_weights_torch_has(resize: Resize) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 4, *resize.by_axis(resize.size, THIN), generator=generator)
    expected = resize.whole(image)
    rule = resize.rule((expected.shape[2], expected.shape[3]))
    for out in far_boxes(resize, rule.out_grid):
        rows, columns = out.relative_to(Box(0, 0, 0, 0))
        difference = (run(rule, image, out) - expected[:, :, rows, columns]).abs().max().item()
        # float32: values below 1, four products rounded at 2**-24 each, added in another order.
        assert difference <= 5e-7


@pytest.mark.parametrize("resize", BILINEAR, ids=str)
def test_a_bilinear_need_far_out_is_what_torch_reads(resize: Resize) -> None:
    dim = 2 + resize.axis
    image = torch.zeros(1, 4, *resize.by_axis(resize.size, THIN))
    expected = resize.whole(image)
    rule = resize.rule((expected.shape[2], expected.shape[3]))
    for out in list(far_boxes(resize, rule.out_grid))[:8]:
        need = rule.need(out.spans[resize.axis], resize.axis)
        rows, columns = out.relative_to(Box(0, 0, 0, 0))
        for inner in (need, Span(need.start + 1, need.stop), Span(need.start, need.stop - 1)):
            image.fill_(float("nan"))
            image.narrow(dim, inner.start, inner.size).fill_(1)
            poisoned = resize.whole(image)[:, :, rows, columns].isnan().any().item()
            assert poisoned == (inner != need)


def test_the_rational_coordinate_would_be_the_wrong_pixel() -> None:
    rule = Nearest((None, None), (THIN, 1001), (THIN, 41 * 1001), half_pixel=False)
    rational = torch.arange(41 * 1001) // 41
    assert (torch.from_numpy(rule.sources(Span(0, 41 * 1001), 1)) != rational).any()
