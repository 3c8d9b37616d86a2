"""Nets in use, with random weights and batch-norm statistics: the sweep against the module.

The bounds are those of rounding alone: in double, 1e-12 of the largest logit; in float32, twice
what the module itself loses in float32, and 1e-6 of the largest logit.  Run with ``-s`` to see
the figures.
"""

from __future__ import annotations

import pytest
import torch

from tests.sweeping import local_net, placed, random_image, swept, tiles, whole

# torch says once that even kernels may need a padded copy; that costs memory, not exactness.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

SIZES = {
    "unet_r18": (160, 224),
    "monai_basic_unet": (163, 219),
    "monai_unet": (168, 216),
    "dilated": (163, 218),
    "even": (163, 218),
    "aligned": (163, 218),
    "border": (163, 218),
    "pixelwise": (163, 218),
    "doubled": (162, 218),
    "regrouped": (162, 218),
    "unpooled": (163, 219),
    "located": (163, 219),
    "resampled": (163, 218),
    "tokens": (326, 436),
    "viewed": (62, 78),
    "halo_attention": (162, 218),
    "windows": (162, 218),
}
"""Image sizes, of which no tile, strip or block below is a divisor."""

TILE, STRIP, BLOCK = (51, 67), 21, 29


def differences(name: str) -> dict[str, float]:
    """Largest differences from the module in double, and its largest logit."""
    size = SIZES[name]
    module, graph = local_net(name, size)
    assert len(tiles(graph.result.grid, TILE)) >= 9
    found = {}
    for dtype in (torch.float64, torch.float32):
        image = random_image(size, dtype)
        module_says = whole(module, image).double()
        sweep_says = swept(placed(graph, dtype), image, TILE, strip=STRIP, block=BLOCK).double()
        if dtype == torch.float64:
            truth = module_says
        key = str(dtype).removeprefix("torch.float")
        found[f"module{key}"] = float((module_says - truth).abs().max())
        found[f"sweep{key}"] = float((sweep_says - truth).abs().max())
    found["largest"] = float(truth.abs().max())
    return found


@pytest.mark.parametrize("name", SIZES)
def test_a_sweep_equals_the_module_up_to_rounding(name: str) -> None:
    found = differences(name)
    print(f"\n{name}: " + ", ".join(f"{key} {value:.2g}" for key, value in found.items()))  # noqa: T201
    assert found["largest"] > 0
    assert found["sweep64"] <= 1e-12 * found["largest"]
    assert found["sweep32"] <= 2 * found["module32"] + 1e-6 * found["largest"]


def test_a_sweep_without_folded_norms_equals_the_module_too() -> None:
    module, graph = local_net("monai_unet", SIZES["monai_unet"])
    image = random_image(SIZES["monai_unet"], torch.float64)
    ready = placed(graph, torch.float64, fold=False)
    found = swept(ready, image, TILE, strip=STRIP, block=BLOCK)
    expected = whole(module, image)
    # Rounding in double.
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()
