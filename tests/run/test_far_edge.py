"""What padding changes where the image ends, in plan and certificate, against the module itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import gigafcn
from tests.run.sized_nets import RefusesMultiplesOf, ValidThenResized
from tests.run.small_nets import Skip, random_numbers
from tests.run.whole import grown, run_whole, small_image

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {"activation": "sigmoid", "scale": 1.0}


def by_hand(net: Any, window: Any, period: int) -> tuple[float, tuple[int, int]]:
    """Largest difference of scores, and map px from the far edges."""
    size = tuple(-(-n // period) * period for n in window.shape[:2])
    padded = run_whole(net, grown(window, (size[0], size[1])), activation="sigmoid")
    itself = run_whole(net, window, activation="sigmoid")
    rows, columns = itself.shape[1:]
    apart = np.abs(padded[:, :rows, :columns] - itself).max(0)
    y, x = np.unravel_index(apart.argmax(), apart.shape)
    return float(apart.max()), (int(rows - 1 - y), int(columns - 1 - x))


@pytest.mark.parametrize("pad", [None, "none"])
def test_plan_and_certificate_say_what_padding_changes_at_the_far_edge(
    pad: str | None, tmp_path: Path
) -> None:
    net, image = random_numbers(Skip(factor=4)), small_image(331, 263)
    # 331 - 256 and 263 - 256 px, cut to multiples of 32.
    difference, from_edge = by_hand(net, image[64:, :], 4)
    assert difference > 1e-3
    planned = gigafcn.plan_run(image, net, pad=pad, **OPTIONS)
    assert planned.far_edge is not None
    assert (planned.far_edge.window, planned.far_edge.padded) == ((267, 263), (268, 264))
    assert planned.far_edge.difference == pytest.approx(difference, rel=1e-4)
    assert planned.far_edge.from_edge == from_edge
    assert f"differ by at most {difference:.2g}" in dict(planned.rows())["far edge"]
    found = gigafcn.infer(image, net, tmp_path / "m.zarr", pad=pad, **OPTIONS)
    checks = found.certificate["checks"]
    assert checks["far_edge"]["difference"] == pytest.approx(difference, rel=1e-4)
    assert f"differ by at most {difference:.2g}" in checks["summary"]
    again = gigafcn.infer(image, net, tmp_path / "again.zarr", pad=pad, **OPTIONS)  # from the cache
    assert again.certificate["checks"]["far_edge"] == checks["far_edge"]


def test_nothing_is_said_where_only_one_is_possible_or_both_are_the_same() -> None:
    whole = gigafcn.plan_run(small_image(64, 96), random_numbers(Skip(factor=4)), **OPTIONS)
    resized = gigafcn.plan_run(small_image(61, 93), random_numbers(ValidThenResized()), **OPTIONS)
    assert (whole.far_edge, resized.far_edge) == (None, None)
    assert dict(whole.rows())["input"] == "image of whole periods"
    assert dict(resized.rows())["input"] == "image itself, not padded"


def test_a_model_that_takes_only_the_padded_window_is_said_to() -> None:
    net = random_numbers(RefusesMultiplesOf(61))
    found = gigafcn.plan_run(small_image(61, 93), net, **OPTIONS).far_edge
    assert found is not None
    assert found.difference is None
    assert str(found) == "the model takes the last 61 x 93 px only padded"


def test_verify_measures_it_on_the_slide_or_on_noise() -> None:
    net, image = random_numbers(Skip(factor=4)), small_image(131, 133)
    on_noise = gigafcn.verify(net)
    on_slide = gigafcn.verify(net, image, scale=1.0)
    assert on_noise.far_edge is not None
    assert on_slide.far_edge is not None
    assert (on_noise.far_edge.source, on_slide.far_edge.source) == ("of noise", "of the image")
    assert on_slide.far_edge.window == (131, 133)
    padded = run_whole(net, grown(image, (132, 136)))[:, :131, :133]
    difference = np.abs(padded - run_whole(net, image)).max()
    assert on_slide.far_edge.difference == pytest.approx(difference, rel=1e-4)
    assert gigafcn.verify(random_numbers(ValidThenResized())).far_edge is None
