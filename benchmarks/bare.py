"""The limit to measure against: the bare module on preloaded crops, at its best settings.

Eval, ``inference_mode``, the best of crops 256 to 2048, channels-last on and off, norms folded
into convolutions or not.  No halo, no reading, no writing, no activation: the map it would give is
wrong at every crop edge.
"""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

if TYPE_CHECKING:
    from collections.abc import Callable

CROPS = (256, 512, 1024, 2048)
SELECTION_PX = 2048 * 2048
"""Pixels over which each setting is timed to find the best."""


@dataclass(frozen=True, slots=True)
class Bare:
    """A module at one setting."""

    crop: int
    channels_last: bool
    folded: bool
    module: nn.Module

    @property
    def name(self) -> str:
        """The setting in words."""
        layout = "channels-last" if self.channels_last else "contiguous"
        return f"crops of {self.crop}, {layout}, {'folded' if self.folded else 'unfolded'}"

    def seconds(self, pixels: int) -> float:
        """Time to run crops of ``pixels`` in total."""
        crop = torch.rand(1, 3, self.crop, self.crop)
        if self.channels_last:
            crop = crop.contiguous(memory_format=torch.channels_last)
        count = max(1, pixels // self.crop**2)
        with torch.inference_mode():
            start = time.perf_counter()
            for _ in range(count):
                self.module(crop)
            return (time.perf_counter() - start) * pixels / (count * self.crop**2)


def best_bare(module: nn.Module) -> Bare:
    """The fastest of all settings, by the median of three."""
    settings = []
    for fold, channels_last in ((f, c) for f in (True, False) for c in (True, False)):
        ready = folded(module) if fold else copy.deepcopy(module)
        if channels_last:
            ready = ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        settings += [Bare(crop, channels_last, fold, ready) for crop in CROPS]
    for setting in settings:
        setting.seconds(setting.crop**2)
    times = [statistics.median(s.seconds(SELECTION_PX) for _ in range(3)) for s in settings]
    return settings[times.index(min(times))]


def folded(module: nn.Module) -> nn.Module:
    """A copy with every norm folded that reads a convolution's result alone.

    Which norm reads which convolution is seen by running the module once.
    """
    copied = copy.deepcopy(module)
    made: dict[int, Any] = {}
    kept: list[Tensor] = []
    pairs: list[tuple[Any, nn.BatchNorm2d]] = []

    def remember(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.BatchNorm2d) and id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])], layer))
        elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            made[id(output)] = layer
            kept.append(output)  # so that no later tensor takes its id

    hooks = [layer.register_forward_hook(remember) for layer in copied.modules()]
    with torch.inference_mode():
        copied(torch.rand(1, 3, 256, 256))
    for hook in hooks:
        hook.remove()
    norms = {}
    for layer, norm in pairs:
        fused: Any = fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, nn.ConvTranspose2d))
        layer.weight, layer.bias = fused.weight, fused.bias
        norms[norm] = nn.Identity()
    for parent in list(copied.modules()):
        for name, child in parent.named_children():
            if child in norms:
                setattr(parent, name, norms[child])
    return copied


def paired(
    first: Callable[[], float], others: dict[str, Callable[[], float]], pairs: int
) -> tuple[list[float], dict[str, list[float]]]:
    """Times of ``first`` and of each other, interleaved; the order alternates."""
    base: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in others}
    for number in range(pairs):
        runs = [("", first), *others.items()]
        for name, run in runs if number % 2 == 0 else reversed(runs):
            seconds = run()
            (base if not name else times[name]).append(seconds)
    return base, times


def rand_input(size: tuple[int, int]) -> Tensor:
    """A preloaded image (1, 3, y, x), channels-last."""
    return torch.rand(1, 3, *size).contiguous(memory_format=torch.channels_last)
