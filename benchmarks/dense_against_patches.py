"""What does a net save that takes the image at once?  Counted operations and measured time.

python -m benchmarks.dense_against_patches            # print the table
python -m benchmarks.dense_against_patches --write    # put it into docs/ideas/any-size.md

The 1 x 1-convolution classifier of the zoo on a 512 px image, against itself on the image's 64 px
patches one batch after the other, over the step between patches; forward, and forward with
backward.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import machine
from gigafcn.model.zoo import build

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).resolve().parents[1] / "docs" / "ideas" / "any-size.md"
BEGIN, END = "<!-- dense: begin -->", "<!-- dense: end -->"

IMAGE_PX, PATCH_PX = 512, 64
STEPS_PX = (64, 32, 16, 8)
BATCH, REPEATS = 64, 5


def patches(image: Tensor, step: int) -> list[Tensor]:
    """Batches of the image's patches."""
    windows = image[0].unfold(1, PATCH_PX, step).unfold(2, PATCH_PX, step)
    every = windows.permute(1, 2, 0, 3, 4).reshape(-1, 3, PATCH_PX, PATCH_PX)
    return [every[i : i + BATCH] for i in range(0, len(every), BATCH)]


def run(net: nn.Module, batches: list[Tensor], *, backward: bool) -> None:
    """Run the net over batches."""
    for batch in batches:
        if backward:
            net(batch).sum().backward()
        else:
            with torch.inference_mode():
                net(batch)


def operations(net: nn.Module, batches: list[Tensor], *, backward: bool) -> int:
    """Multiplications and additions, counted by torch."""
    with FlopCounterMode(display=False) as counter:
        run(net, batches, backward=backward)
    return int(counter.get_total_flops())


def seconds(work: Callable[[], None]) -> float:
    """Median time of some runs after a first one."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def table() -> list[str]:
    """Lines of the table: patch by patch against dense."""
    net = build("pointwise_classifier")
    image = torch.rand(1, 3, IMAGE_PX, IMAGE_PX)
    dense = {
        way: (
            operations(net, [image], backward=way),
            seconds(lambda way=way: run(net, [image], backward=way)),  # type: ignore[misc]
        )
        for way in (False, True)
    }
    lines = [
        "| step, px | overlap | patches | operations | time | with backward: operations | time |",
        "|---|---|---|---|---|---|---|",
    ]
    for step in STEPS_PX:
        batches = patches(image, step)
        cells = []
        for way, (counted, lasted) in dense.items():
            more = operations(net, batches, backward=way) / counted
            longer = seconds(lambda b=batches, w=way: run(net, b, backward=w))  # type: ignore[misc]
            cells += [f"{more:.2f} x", f"{longer / lasted:.1f} x"]
        count = sum(len(batch) for batch in batches)
        overlap = f"{1 - step / PATCH_PX:.0%}"
        lines.append(f"| {step} | {overlap} | {count} | " + " | ".join(cells) + " |")
    return lines


def section() -> str:
    """The table and what it was measured on."""
    found = machine()
    return "\n".join(
        [
            *table(),
            "",
            f"Patch by patch in batches of {BATCH} over the whole image of {IMAGE_PX} px at once "
            f"= 1; medians of {REPEATS} runs, {found['threads']} threads of an "
            f"{found['processor']}, torch {found['torch']}. Written by `python -m "
            "benchmarks.dense_against_patches --write`.",
        ]
    )


def main() -> None:
    """Print the table or put it between the page's markers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    text = section()
    if not parser.parse_args().write:
        print(text)
        return
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
