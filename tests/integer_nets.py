"""Random nets whose arithmetic is exact, so that tiles must equal the whole bit for bit.

Weights are small integers, resizes and averages divide by powers of two, batch norm has a running
variance that is a power of four and eps = 0.  Every value is then an integer multiple of 2**-g and
no partial sum exceeds a known bound; as long as ``bound * 2**g`` fits the mantissa nothing is ever
rounded, whatever the order of additions.  A layer that would break this is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log2
from typing import TYPE_CHECKING, Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_PIXELS = 90 * 90


class IntegerNet(nn.Module):
    """Layers in order, each reading earlier values; the last value is the output."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.sources: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for layer, sources in zip(self.layers, self.sources, strict=True):
            values.append(layer(*(values[i] for i in sources)))
        return values[-1]

    def extra_repr(self) -> str:
        return f"reads {self.sources}"


@dataclass(frozen=True, slots=True)
class ExactNet:
    """A random net, an image for it, and what makes its arithmetic exact."""

    module: IntegerNet
    size: tuple[int, int]
    image: Tensor = field(repr=False)
    """(1, c, y, x) in float64."""

    bits: float
    """Mantissa bits that hold every partial sum."""


class Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, name: str, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.name, self.function = name, function

    def forward(self, *values: Tensor) -> Tensor:
        return self.function(*values)

    def extra_repr(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Known:
    """A value of the net on the test image, and what is known of its exactness."""

    value: Tensor
    bound: float
    """No partial sum that led here is larger."""

    fraction: int
    """All values are multiples of 2**-fraction."""

    @property
    def bits(self) -> float:
        """Mantissa bits that hold every partial sum."""
        return log2(max(self.bound, 1.0)) + self.fraction + 1


@dataclass(slots=True)
class Growing:
    """A net under construction."""

    net: IntegerNet
    known: list[Known]
    bits: int

    def add(self, layer: nn.Module, sources: tuple[int, ...]) -> bool:
        """Append a layer if it fits its inputs and stays exact."""
        inputs = [self.known[i] for i in sources]
        with torch.inference_mode():
            try:
                value = layer(*(k.value for k in inputs))
            except RuntimeError:
                return False  # torch refuses the layer for this size
            if not 0 < value.shape[2] * value.shape[3] <= MOST_PIXELS:
                return False
            found = _judged(layer, inputs, value)
        if found.bits >= self.bits:
            return False
        self.net.layers.append(layer)
        self.net.sources.append(sources)
        self.known.append(found)
        return True


def _judged(layer: nn.Module, inputs: list[Known], value: Tensor) -> Known:
    bound = sum(k.bound for k in inputs)
    fraction = max(k.fraction for k in inputs)
    match layer:
        case nn.Conv2d() | nn.ConvTranspose2d():
            assert layer.bias is not None
            gain = layer.weight.abs().sum() if isinstance(layer, nn.ConvTranspose2d) else 0
            gain = gain or layer.weight.abs().flatten(1).sum(1).max()
            bound = bound * float(gain) + float(layer.bias.abs().max())
        case nn.BatchNorm2d():
            assert layer.running_var is not None
            assert layer.running_mean is not None
            root = layer.running_var.sqrt()
            scale, mean = float((layer.weight.abs() / root).max()), layer.running_mean.abs().max()
            bound = (bound + float(mean)) * scale + float(layer.bias.abs().max())
            fraction += max(0, int(root.max().log2()))
        case nn.AvgPool2d():
            area = int(layer.kernel_size[0] * layer.kernel_size[1])  # type: ignore[index]
            bound, fraction = bound * area, fraction + int(log2(area))
        case nn.Upsample(mode="bilinear"):
            fraction += 4 if layer.scale_factor == 2 else 6
        case nn.LeakyReLU():
            fraction += 1
        case _:
            bound += 1.0  # constant padding
    assert float(value.abs().max()) <= bound
    return Known(value, bound, fraction)


def _weights(draw: Any, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    return torch.randint(-1, 2, shape, generator=generator).double()


def _conv(draw: Any, channels: int) -> nn.Module:
    groups = draw(st.sampled_from([1, 1, channels]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 3)))
    same = draw(st.booleans())
    stride = (1, 1) if same else draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
    padding: Any = "same" if same else draw(st.tuples(st.integers(0, 3), st.integers(0, 2)))
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate"]))
    c_out = groups * draw(st.integers(1, 3 if groups == 1 else 1))
    layer = nn.Conv2d(channels, c_out, kernel, stride, padding, dilation, groups, padding_mode=mode)
    return _filled(draw, layer)


def _transposed(draw: Any, channels: int) -> nn.Module:
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.integers(1, 2))
    extra = tuple(draw(st.integers(0, max(s, dilation) - 1)) for s in stride)
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    groups = draw(st.sampled_from([1, channels]))
    layer = nn.ConvTranspose2d(
        channels, groups * 2, kernel, stride, padding, extra, groups, dilation=dilation
    )
    return _filled(draw, layer)


def _filled(draw: Any, layer: Any) -> nn.Module:
    layer = layer.double()
    layer.weight.data = _weights(draw, *layer.weight.shape)
    layer.bias.data = _weights(draw, *layer.bias.shape)
    return layer  # type: ignore[no-any-return]


def _norm(draw: Any, channels: int) -> nn.Module:
    layer = nn.BatchNorm2d(channels, eps=0.0).double()
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.weight.data, layer.bias.data = _weights(draw, channels), _weights(draw, channels)
    layer.running_mean.copy_(_weights(draw, channels))
    layer.running_var.copy_(4.0 ** _weights(draw, channels))
    return layer.eval()


def _max_pool(draw: Any, channels: int) -> nn.Module:
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    return nn.MaxPool2d(
        kernel, stride, padding, draw(st.integers(1, 2)), ceil_mode=draw(st.booleans())
    )


def _average_pool(draw: Any, channels: int) -> nn.Module:
    kernel = draw(st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 2, 4])))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    if kernel[1] == 4:  # clipped to 3 px at a border it would divide by 3
        return nn.AvgPool2d(kernel, stride)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    ceil_mode, counted = draw(st.booleans()), draw(st.booleans())
    return nn.AvgPool2d(kernel, stride, padding, ceil_mode, counted)


def _resize(draw: Any, channels: int) -> nn.Module:
    size = draw(st.tuples(st.integers(5, 60), st.integers(5, 60)))
    layers = (
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        nn.Upsample(scale_factor=4, mode="bilinear", align_corners=False),
        nn.Upsample(size=size, mode="nearest"),
        nn.Upsample(scale_factor=1.5, mode="nearest-exact"),
    )
    return draw(st.sampled_from(layers))  # type: ignore[no-any-return]


def _activation(draw: Any, channels: int) -> nn.Module:
    layers = (
        nn.ReLU(inplace=True),
        nn.ReLU(),
        nn.LeakyReLU(0.5),
        nn.Hardtanh(-8.0, 8.0),
        Apply("abs", torch.abs),
        Apply("truth", lambda x: (x > 0).to(x.dtype)),
        Apply("chosen", lambda x: torch.where(x > 1, x, -x)),
        Apply("rotated channels", lambda x: torch.cat([x[:, 1:], x[:, :1]], dim=1)),
        Apply("tokens", lambda x: (x.flatten(2).transpose(1, 2) + 1).mT.unflatten(2, x.shape[2:])),
        Apply("stacked", lambda x: torch.stack([x, -x], 1).amax(1)),
        Apply("doubled channels", lambda x: x.repeat(1, 2, 1, 1).clamp(-8, 8)),
        Apply("channels last", lambda x: torch.relu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
    )
    return draw(st.sampled_from(layers))  # type: ignore[no-any-return]


def _regrouped(draw: Any, channels: int) -> nn.Module:
    r = draw(st.integers(2, 3))
    layers = (
        nn.PixelShuffle(r),
        nn.PixelUnshuffle(r),
        Apply(f"repeat x {r}", lambda x: x.repeat_interleave(r, 2).repeat_interleave(2, 3)),
        Apply(f"unshuffle rows by {r}", lambda x: _unshuffled_rows(x, r)),
        Apply(f"shuffle columns by {r}", lambda x: _shuffled_columns(x, r)),
        Apply("pool and unpool", _unpooled),
    )
    return draw(st.sampled_from(layers))  # type: ignore[no-any-return]


def _unshuffled_rows(x: Tensor, r: int) -> Tensor:
    b, c, height, width = x.shape
    if height < 2 * r:
        raise RuntimeError("of one row it could not be told whether it is a row or a channel")
    return x.view(b, c, height // r, r, width).transpose(2, 3).reshape(b, -1, height // r, width)


def _shuffled_columns(x: Tensor, r: int) -> Tensor:
    b, c, height, width = x.shape
    return (
        x.view(b, c // r, r, height, width).permute(0, 1, 3, 4, 2).reshape(b, -1, height, width * r)
    )


def _unpooled(x: Tensor) -> Tensor:
    values, indices = functional.max_pool2d(x, (2, 3), return_indices=True)
    return functional.max_unpool2d(values, indices, (2, 3), output_size=x.shape[2:])


def _shift(draw: Any, channels: int) -> nn.Module:
    a, b, c, d = (draw(st.integers(0, 3)) for _ in range(4))
    step = draw(st.integers(1, 2))
    pad = (a, b, c, d)
    layers = (
        Apply(f"pad {pad} with 1", lambda x: functional.pad(x, pad, value=1.0)),
        Apply(f"mirror {pad}", lambda x: functional.pad(x, pad, mode="reflect")),
        Apply(f"repeat {pad}", lambda x: functional.pad(x, pad, mode="replicate")),
        Apply(f"crop {pad} step {step}", lambda x: x[:, :, a : -1 - b : step, c : -1 - d]),
        Apply("crop by padding", lambda x: functional.pad(x, (-a, b, c, -d))),
    )
    return draw(st.sampled_from(layers))  # type: ignore[no-any-return]


ONE_INPUT = (
    _conv,
    _conv,
    _transposed,
    _norm,
    _max_pool,
    _average_pool,
    _resize,
    _activation,
    _shift,
    _regrouped,
)
TWO_INPUTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "concatenate": lambda a, b: torch.cat([a, b], dim=1),
    "gate": lambda a, b: a + b.amax(dim=1, keepdim=True),
    "reversed gate": lambda a, b: torch.relu(b[:, :1]) + a,
}


def _merge(draw: Any, growing: Growing) -> None:
    """Join the last value with an earlier one, cropped to a common grid."""
    last = len(growing.known) - 1
    other = draw(st.integers(0, last))
    a, b = growing.known[last].value, growing.known[other].value
    height, width = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
    name = draw(st.sampled_from(sorted(TWO_INPUTS)))
    function = TWO_INPUTS[name]
    crop = Apply(
        f"{name}, cropped to {height} x {width}",
        lambda x, y: function(x[:, :, :height, :width], y[:, :, :height, :width]),
    )
    growing.add(crop, (last, other))


@st.composite
def exact_nets(draw: Any, bits: int) -> ExactNet:
    """Nets whose sums all fit into ``bits`` bits of mantissa."""
    channels = draw(st.integers(1, 3))
    size = draw(st.tuples(st.integers(9, 40), st.integers(9, 40)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    image = torch.randint(-3, 4, (1, channels, *size), generator=generator).double()
    growing = Growing(IntegerNet().eval(), [Known(image, 3.0, 0)], bits)
    growing.add(_conv(draw, channels), (0,))
    for _ in range(draw(st.integers(3, 9))):
        last = len(growing.known) - 1
        make = draw(st.sampled_from((*ONE_INPUT, None, None)))
        if make is None:
            _merge(draw, growing)
        else:
            growing.add(make(draw, growing.known[last].value.shape[1]), (last,))
    return ExactNet(growing.net, size, image, max(k.bits for k in growing.known))
