"""How does a net learn from patches?  The loop, small enough to read.

Random patches, per-pixel cross-entropy, AdamW under a one-cycle schedule, a fixed seed; every so
often the loss and the mean IU on held-out pictures are measured and the weights are kept.  Before
the first step the loop warns of nets that are not local or see more than a patch shows.  It knows
nothing of where samples come from or where weights go.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from gigafcn.analysis import analyze
from gigafcn.errors import ModelError, UsageError
from gigafcn.metrics import Metrics, confusion_matrix, metrics
from gigafcn.model.demonstration import CLASSES, PERIOD_PX
from gigafcn.train.data import Normalisation, Sample, random_patches

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What fixes a training run, besides the samples."""

    steps: int = 1600
    """Batches to learn from."""

    batch: int = 16
    """Patches per batch."""

    patch_px: int = 128
    """Side of a patch; must exceed the net's footprint and be a multiple of its period."""

    rate: float = 6e-3
    """Highest learning rate of the one-cycle schedule."""

    weight_decay: float = 1e-4
    """Of AdamW."""

    class_weights: tuple[float, ...] = (1.0, 1.0, 1.5)
    """Factor on each class's cross-entropy."""

    real_share: float = 0.3
    """Part of each batch that comes from the real slide, when there is one."""

    report_every: int = 200
    """Steps between measurements on held-out pictures."""

    seed: int = 20
    """Of weights, patches and their variation."""

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.patch_px, self.report_every) < 1:
            raise UsageError(f"steps, batch, patch and report interval must be positive: {self}")
        if self.patch_px % PERIOD_PX:
            raise UsageError(
                f"patch of {self.patch_px} px is no multiple of the net's period, {PERIOD_PX} px"
            )


@dataclass(frozen=True, slots=True)
class Report:
    """State of a run at one step."""

    step: int
    """Batches learned from so far."""

    loss: float
    """Mean training loss since the last report."""

    held_out_loss: float
    """Unweighted cross-entropy on the held-out pictures."""

    held_out_mean_iu: float
    """Mean IU on the held-out pictures."""

    seconds: float
    """Since training began."""


@dataclass(frozen=True, slots=True)
class Pools:
    """Samples of a run, and how their pixels are normalised."""

    drawn: list[Sample]
    """Drawn samples to learn from."""

    real: list[Sample]
    """Real samples to learn from; may be empty."""

    held_out: list[Sample]
    """Pictures measured at every report, never learned from."""

    normalisation: Normalisation
    """Of every picture."""


def context_warning(
    halo: tuple[int, int, int, int], patch_px: int, period_px: int = PERIOD_PX
) -> str | None:
    """Say by how much a net's footprint exceeds the patches it learns from, if it does.

    A net that never saw its whole footprint filled behaves differently on whole slides.

    Parameters
    ----------
    halo
        (top, bottom, left, right) input px, as ``gigafcn.analyze(net).halo`` gives it.
    patch_px
        Side of the training patches.
    period_px
        To whose multiples patches are cut.
    """
    footprint = 1 + max(halo[0] + halo[1], halo[2] + halo[3])
    if footprint <= patch_px:
        return None
    return (
        f"the net's footprint of {footprint} px exceeds the training patches of {patch_px} px: "
        f"no pixel sees its whole context while learning; use patches of at least "
        f"{-(-footprint // period_px) * period_px} px"
    )


def training_warnings(net: nn.Module, patch_px: int) -> list[str]:
    """What speaks against learning from patches of this size, with the numbers of the analysis.

    Parameters
    ----------
    net
        Takes 3 channels; is left in the mode it was in.
    patch_px
        Side of the training patches.
    """
    training = net.training
    try:
        found = analyze(net.eval())
    except ModelError as problem:
        return [f"nothing is known of the net's footprint: {problem}"]
    finally:
        net.train(training)
    if not found.local:
        blockers = "; ".join(str(blocker) for blocker in found.blockers[:3])
        return [
            f"the net is not local, so on a slide it will not do what it learns on patches of "
            f"{patch_px} px, and no tiling is exact: {blockers}"
        ]
    warning = context_warning(found.halo, patch_px, max(found.period))
    return [] if warning is None else [warning]


@torch.inference_mode()
def predict(
    net: nn.Module, sample: Sample, normalisation: Normalisation, period_px: int = PERIOD_PX
) -> Tensor:
    """Logits (classes, y, x) of a whole picture, padded to the net's period by its last pixels."""
    height, width = sample.mask.shape
    pad = ((0, -height % period_px), (0, -width % period_px), (0, 0))
    picture = np.pad(sample.picture, pad, mode="edge")
    logits: Tensor = net(normalisation.tensor(picture[None]))[0, :, :height, :width]
    return logits


def evaluate(
    net: nn.Module,
    samples: list[Sample],
    normalisation: Normalisation,
    period_px: int = PERIOD_PX,
) -> tuple[float, Metrics]:
    """Cross-entropy per pixel and metrics of the net over all samples together."""
    training = net.training
    net.eval()
    matrix = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    loss = 0.0
    for sample in samples:
        logits = predict(net, sample, normalisation, period_px)
        truth = torch.from_numpy(sample.mask.astype(np.int64))
        loss += float(nn.functional.cross_entropy(logits[None], truth[None], reduction="sum"))
        matrix += confusion_matrix(sample.mask, logits.argmax(0).numpy(), len(CLASSES))
    net.train(training)
    return loss / int(matrix.sum()), metrics(matrix)


def _forward(
    net: nn.Module, pools: Pools, settings: Settings, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Logits and true classes of one random batch."""
    from_real = int(rng.binomial(settings.batch, settings.real_share)) if pools.real else 0
    shares = ((pools.drawn, settings.batch - from_real), (pools.real, from_real))
    patches = [p for pool, n in shares for p in random_patches(pool, n, settings.patch_px, rng)]
    pictures = np.stack([patch.picture for patch in patches])
    masks = np.stack([patch.mask for patch in patches]).astype(np.int64)
    return net(pools.normalisation.tensor(pictures)), torch.from_numpy(masks)


def train(
    net: nn.Module,
    pools: Pools,
    settings: Settings,
    *,
    report: Callable[[Report], None],
    period_px: int = PERIOD_PX,
) -> None:
    """Train ``net`` in place.

    Parameters
    ----------
    net
        Takes normalised (b, 3, y, x), gives logits (b, classes, y, x).
    pools
        What to learn from and what to measure on.
    settings
        Of the run.
    report
        Called every ``settings.report_every`` steps and after the last.
    period_px
        To whose multiples the net takes pictures.
    """
    for warning in training_warnings(net, settings.patch_px):
        log.warning(warning)
    rng = np.random.default_rng(settings.seed)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=settings.rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=settings.rate, total_steps=settings.steps, pct_start=0.15
    )
    criterion = nn.CrossEntropyLoss(weight=torch.tensor(settings.class_weights))
    net.train()
    began, losses = time.perf_counter(), []
    for step in range(1, settings.steps + 1):
        logits, truth = _forward(net, pools, settings, rng)
        loss = criterion(logits, truth)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % settings.report_every == 0 or step == settings.steps:
            held_out_loss, held_out = evaluate(net, pools.held_out, pools.normalisation, period_px)
            seconds = time.perf_counter() - began
            mean_loss = float(np.mean(losses))
            report(Report(step, mean_loss, held_out_loss, held_out.mean_iu, seconds))
            losses.clear()
    net.eval()
