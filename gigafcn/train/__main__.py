"""``python -m gigafcn.train``: train the demonstration net, measure it, draw a slide.

Wires the room's parts together; each command is one of them.  Nothing here is needed to use a
model.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import App, Parameter

from gigafcn.errors import GigafcnError
from gigafcn.model.demonstration import DemonstrationNet
from gigafcn.train.card import (
    CARD_NAME,
    WEIGHTS_NAME,
    bundled,
    card_normalisation,
    make_card,
    measure,
    read_card,
    training_record,
    write_card,
)
from gigafcn.train.checkpoint import load_checkpoint, save_checkpoint
from gigafcn.train.curve import write_curve
from gigafcn.train.data import (
    TRAINING_SEED,
    VALIDATION_SEED,
    drawn_samples,
    normalisation_of,
    real_halves,
)
from gigafcn.train.demonstration_slide import write_demonstration_slide
from gigafcn.train.loop import Pools, Report, Settings, train
from gigafcn.train.stages import BATCH, WORLDS, train_stages, write_stages

log = logging.getLogger("gigafcn.train")
app = App(name="python -m gigafcn.train", help="Train and measure the demonstration model.")

VALIDATION_WORLDS = 8
STAGE_REPORTS = 8
"""Measurements per stage of ``fcn``."""


def _pools(worlds: int, slide: Path | None) -> Pools:
    drawn = drawn_samples(TRAINING_SEED, worlds)
    real = [] if slide is None else [real_halves(slide)[0]]
    held_out = drawn_samples(VALIDATION_SEED, VALIDATION_WORLDS)
    return Pools(drawn, real, held_out, normalisation_of(drawn + real))


@app.default
def fit(
    out: Path = Path("demonstration-model"),
    *,
    slide: Path | None = None,
    worlds: int = 256,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),  # noqa: B008  frozen
    threads: int = 1,
) -> None:
    """Train the net and leave weights, card and curve in a folder.

    Parameters
    ----------
    out
        Folder to write into.
    slide
        Real H&E slide; its left half is learned from too, its right half measured on.
    worlds
        Drawn pictures to learn from.
    settings
        Of the loop.
    threads
        CPU threads.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(settings.seed)
    net = DemonstrationNet()
    log.info("drawing %d pictures", worlds)
    pools = _pools(worlds, slide)
    out.mkdir(parents=True, exist_ok=True)
    weights, reports = out / WEIGHTS_NAME, list[Report]()

    def keep(report: Report) -> None:
        reports.append(report)
        _say(report)
        save_checkpoint(weights, net, report.step)
        write_curve(out / "curve.png", reports)

    train(net, pools, settings, report=keep)
    trained, step = load_checkpoint(weights)
    record = training_record(
        settings, worlds=worlds, slide=slide, step=step, seconds=reports[-1].seconds
    )
    found = measure(trained, pools.normalisation, slide)
    card = make_card(weights, pools.normalisation, record, found)
    write_card(out / CARD_NAME, card)
    log.info("mean IU %s; weights, card and curve are in %s", found, out)


def _say(report: Report) -> None:
    log.info(
        "step %d  loss %.4f  held out: loss %.4f, mean IU %.4f  %.0f s",
        report.step,
        report.loss,
        report.held_out_loss,
        report.held_out_mean_iu,
        report.seconds,
    )


@app.command
def fcn(
    out: Path = Path("fcn-stages"),
    *,
    steps: int = 1500,
    patch_px: int = 256,
    worlds: int = WORLDS,
    strides: tuple[int, ...] = (32, 16, 8),
    seed: int = 20,
    threads: int = 2,
) -> None:
    """Train FCN-32s, FCN-16s and FCN-8s, each from the one before, and compare them.

    Leaves the weights of each stage and fcn_stages.json in a folder.

    Parameters
    ----------
    out
        Folder to write into.
    steps
        Batches of each stage.
    patch_px
        Side of the patches, a multiple of 32.
    worlds
        Drawn pictures to learn from.
    strides
        Of the stages, in order; 32 32 32 shows what longer training alone would do.
    seed
        Of weights, patches and their variation.
    threads
        CPU threads.
    """
    torch.set_num_threads(threads)
    settings = Settings(
        steps=steps,
        batch=BATCH,
        patch_px=patch_px,
        rate=3e-3,
        report_every=max(1, steps // STAGE_REPORTS),
        seed=seed,
    )
    log.info("drawing %d pictures", worlds)
    stages = train_stages(_pools(worlds, None), settings, out, strides=strides, report=_say)
    path = write_stages(out, stages, settings, worlds)
    log.info("wrote %s", path)


@app.command
def evaluate(
    folder: Path | None = None, *, slide: Path | None = None, update: bool = False
) -> None:
    """Recompute the figures of a model card and show them beside what the card says.

    Parameters
    ----------
    folder
        Folder with weights and card; the bundled model if not given.
    slide
        Real slide whose right half is measured too.
    update
        Write the figures into the card.
    """
    where = bundled(CARD_NAME).parent if folder is None else folder
    card = read_card(where / CARD_NAME)
    net, _ = load_checkpoint(where / WEIGHTS_NAME)
    found = measure(net, card_normalisation(card), slide)
    for pictures, figures in found.items():
        stated = card["metrics"].get(pictures, {})
        for name, value in figures.items():
            log.info("%s %s: %s (card: %s)", pictures, name, value, stated.get(name))
    if update:
        card["metrics"].update(found)
        write_card(where / CARD_NAME, card)


@app.command
def draw(path: Path, *, size: int = 8192, seed: int = 0) -> None:
    """Draw a slide and its exact mask.

    Parameters
    ----------
    path
        TIFF to write; the mask goes beside it, named with ``_truth``.
    size
        Height and width in px.
    seed
        Which slide.
    """
    truth = write_demonstration_slide(path, size=size, seed=seed)
    log.info("wrote %s and %s", path, truth)


def main() -> int:
    """Run the command line; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        app()
    except GigafcnError as problem:
        log.error("error: %s", problem)
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
