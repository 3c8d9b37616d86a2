"""ONNX files of one convolution, written byte by byte: no exporter, no package for tests alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

FLOAT, INTS, EXTERNAL = 1, 7, 1


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def _field(tag: int, value: int | str | bytes) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(value, int):
        return _varint(tag << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(tag << 3 | 2) + _varint(len(content)) + content


def _image(name: str, shape: tuple[int | str, ...]) -> bytes:
    """Name and shape of a tensor that goes in or out; texts are sizes that may vary."""
    dims = b"".join(_field(1, _field(1 if isinstance(n, int) else 2, n)) for n in shape)
    tensor = _field(1, FLOAT) + _field(2, dims)
    return _field(1, name) + _field(2, _field(1, tensor))


def _weights(weights: NDArray[np.float32], external: str | None) -> bytes:
    dims = b"".join(_field(1, n) for n in weights.shape)
    described = dims + _field(2, FLOAT) + _field(8, "weight")
    if external is None:
        return described + _field(9, weights.tobytes())
    entry = _field(1, "location") + _field(2, external)
    return described + _field(13, entry) + _field(14, EXTERNAL)


def write_onnx(
    path: Path,
    weights: NDArray[np.float32],
    image: tuple[int | str, ...],
    *,
    external: str | None = None,
) -> Path:
    """A convolution of ``weights`` (out, in, 3, 3), padded by 1, on images of that shape."""
    pads = _field(1, "pads") + b"".join(_field(8, 1) for _ in range(4)) + _field(20, INTS)
    node = _field(1, "image") + _field(1, "weight") + _field(2, "map")
    node += _field(4, "Conv") + _field(5, pads)
    scores = (image[0], int(weights.shape[0]), *image[2:])
    graph = _field(1, node) + _field(2, "net") + _field(5, _weights(weights, external))
    graph += _field(11, _image("image", image)) + _field(12, _image("map", scores))
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 17)))
    return path


def write_noise_onnx(path: Path, image: tuple[int | str, ...]) -> Path:
    """Random numbers of an image's shape added to the image."""
    noise = _field(1, "image") + _field(2, "noise") + _field(4, "RandomUniformLike")
    total = _field(1, "image") + _field(1, "noise") + _field(2, "map") + _field(4, "Add")
    graph = _field(1, noise) + _field(1, total) + _field(2, "net")
    graph += _field(11, _image("image", image)) + _field(12, _image("map", image))
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 17)))
    return path
