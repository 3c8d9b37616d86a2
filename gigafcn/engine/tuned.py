"""Layers of a module made faster on the CPU, its answers equal up to rounding.

Blend and patch call the user's own module, so nothing of its structure may change.  But of the copy
that runs, a convolution may use weights that were laid out for oneDNN once (see
:mod:`gigafcn.engine.packed`), and a batch norm that nothing but one convolution feeds may be folded
into it.  Which convolution feeds which norm is seen in one call on noise: what a norm gets must be
the very tensor that a convolution returned, and no other op may read it.  A second call shows that
the answers still agree; if they do not, or the call fails, the layers are put back.

Layers of exact type ``Conv2d``, ``ConvTranspose2d`` and ``BatchNorm2d`` in fp32 count; everything
else, TorchScript and ONNX among it, stays as it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from gigafcn.engine.packed import PackedWeights, misread, packed_weights
from gigafcn.engine.phased import TYPICAL_PX
from gigafcn.engine.precision import as_asked

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest difference on noise, in parts of the largest answer: some hundred roundings in fp32."""

Convolution = nn.Conv2d | nn.ConvTranspose2d


def tune(module: nn.Module, call: Callable[[Tensor], Tensor], noise: Tensor) -> None:
    """Make a placed module faster, in place.

    Parameters
    ----------
    module
        A copy of the user's that nobody else uses.
    call
        Runs the module and gives the output that counts.
    noise
        An input (1, c, y, x).
    """
    usable = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    layers = [layer for layer in module.modules() if _plain(layer)]
    if noise.device.type != "cpu" or noise.dtype != torch.float32 or not layers or not usable:
        return
    with as_asked():
        try:
            before, folded = _watched(layers, call, noise)
            _rewrite(layers, folded)
            difference = (call(noise) - before).abs().max()
        except Exception as error:  # what fails here is refused, or runs untuned, where it matters
            log.debug("the model runs as it is: %s", error)
            _put_back(layers)
            return
    if not difference <= TOLERANCE * before.abs().max():
        log.debug("the model runs as it is: tuned, it differs by %.3g", difference)
        _put_back(layers)


def _plain(layer: nn.Module) -> bool:
    """Whether a layer is known in every respect."""
    if type(layer) not in (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d) or layer.training:
        return False
    hooked = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        known = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        weight = layer._parameters.get("weight")  # absent if computed, as with weight norm
        return known and not hooked and weight is not None and weight.dtype == torch.float32
    assert isinstance(layer, nn.BatchNorm2d)
    return not hooked and layer.running_mean is not None


@dataclass(slots=True)
class _Watch:
    """What convolutions returned, what norms got, and who reads what."""

    made: dict[int, tuple[Tensor, Convolution]] = field(default_factory=dict)
    """By the address of the memory; the tensor is kept, so that the address stays its own."""

    reads: dict[int, int] = field(default_factory=dict)
    """How many ops read each piece of memory since a convolution wrote it."""

    calls: dict[nn.Module, int] = field(default_factory=dict)
    pairs: list[tuple[Convolution, nn.BatchNorm2d, int]] = field(default_factory=list)

    def after(self, layer: nn.Module, inputs: Any, result: Tensor) -> None:
        self.calls[layer] = self.calls.get(layer, 0) + 1
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            self.made[_address(result)] = (result, layer)
            self.reads[_address(result)] = 0  # what lay there before is gone

    def before(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found = self.made.get(_address(inputs[0]))
        if found is not None and found[0] is inputs[0] and isinstance(norm, nn.BatchNorm2d):
            self.pairs.append((found[1], norm, _address(inputs[0])))


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class _Readers(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of its base
    """Counts the ops that read each piece of memory."""

    def __init__(self, reads: dict[int, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of its base
        self._reads = reads

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in pytree.tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                place = _address(leaf)
                self._reads[place] = self._reads.get(place, 0) + 1
        return func(*args, **(kwargs or {}))


def _watched(
    layers: list[nn.Module], call: Callable[[Tensor], Tensor], noise: Tensor
) -> tuple[Tensor, list[tuple[Convolution, nn.BatchNorm2d]]]:
    """The answer, and each convolution with the norm that alone reads it."""
    watch = _Watch()
    hooks = [layer.register_forward_hook(watch.after) for layer in layers]
    hooks += [
        layer.register_forward_pre_hook(watch.before)
        for layer in layers
        if isinstance(layer, nn.BatchNorm2d)
    ]
    try:
        with _Readers(watch.reads):
            answer = call(noise)
    finally:
        for hook in hooks:
            hook.remove()
    return answer.clone(), [
        (made, norm)
        for made, norm, place in watch.pairs
        if watch.calls[made] == watch.calls[norm] == watch.reads[place] == 1
        and (isinstance(made, nn.Conv2d) or made.groups == 1)
        and place != _address(answer)
    ]


def _rewrite(layers: list[nn.Module], folded: list[tuple[Convolution, nn.BatchNorm2d]]) -> None:
    norms = dict(folded)
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            weight, bias = _folded(layer, norms.get(layer))
            forward = _packed(layer, weight, bias)
            if forward is not None:
                layer.forward = forward  # type: ignore[method-assign, assignment]
                if layer in norms:
                    norms[layer].forward = _same  # type: ignore[method-assign, assignment]


def _put_back(layers: list[nn.Module]) -> None:
    for layer in layers:
        vars(layer).pop("forward", None)


def _same(values: Tensor) -> Tensor:
    return values


def _folded(layer: Convolution, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias with a norm folded in, in float64."""
    weight, bias = layer.weight.detach(), layer.bias
    if norm is None:
        return weight, bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    if bias is not None:
        shift = shift + bias.double() * scale
    axis = 0 if isinstance(layer, nn.Conv2d) else 1
    scaled = weight.double() * scale.view([-1 if a == axis else 1 for a in range(4)])
    layout = torch.channels_last
    return scaled.float().contiguous(memory_format=layout), shift.float()


def _packed(
    layer: Convolution, weight: Tensor, bias: Tensor | None
) -> Callable[[Tensor], Tensor] | None:
    """The layer's forward with packed weights; None where oneDNN has none such."""
    rest: tuple[Any, ...] = (layer.stride, layer.dilation, layer.groups)
    if isinstance(layer, nn.Conv2d):
        if misread(weight, rest[0], layer.groups):
            return None
        weights = packed_weights(weight, bias, *rest)
        return partial(_convolved, weights, layer.padding)
    if layer.groups != 1:
        return None
    shape = [1, layer.in_channels, TYPICAL_PX, TYPICAL_PX]
    sizes = (layer.padding, layer.output_padding, *rest)
    packed = torch.ops.mkldnn._reorder_convolution_transpose_weight(weight, *sizes, shape)
    return partial(_transposed, packed, bias, sizes)


def _convolved(weights: PackedWeights, padding: Any, x: Tensor) -> Tensor:
    return weights.convolve(x, padding)


def _transposed(packed: Tensor, bias: Tensor | None, sizes: tuple[Any, ...], x: Tensor) -> Any:
    call = torch.ops.mkldnn._convolution_transpose_pointwise.default
    return call(x, packed, bias, *sizes, "none", [], "")
