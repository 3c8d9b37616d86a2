"""The pictures of docs/ideas, drawn by the project's own code: nets of the zoo, analysis, metrics.

python -m benchmarks.idea_pictures      # writes docs/ideas/images/*.png; seconds
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, one_hot

import gigafcn
from gigafcn.geometry import Box
from gigafcn.metrics import confusion_matrix, metrics
from gigafcn.model.demonstration import CLASSES, COLOURS
from gigafcn.model.zoo import build
from gigafcn.model.zoo.fcn import STRIDES, Upsampling
from gigafcn.model.zoo.unpooling import BedOfNails, Nearest, PoolAndUnpool
from gigafcn.train.drawing import World, draw_region

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "ideas" / "images"
WORLD = World.random(1_000_000)
DOTS = 110


def panels(count: int, width: float, height: float, ratios: list[float] | None = None) -> Any:
    """A figure and its row of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, count, squeeze=False, width_ratios=ratios)[0]


def save(figure: Figure, name: str) -> None:
    """Write a picture."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / f"{name}.png", dpi=DOTS)


def numbers(axes: Axes, values: Tensor, title: str) -> None:
    """A small map with its numbers, rounded, written into the cells; zeros stay empty."""
    array = values.detach().numpy()
    axes.imshow(array, cmap="Blues", vmin=0, vmax=array.max() * 1.6 + 1e-9)
    for (y, x), value in np.ndenumerate(array):
        if round(value):
            axes.text(x, y, str(round(value)), ha="center", va="center", fontsize=8)
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def any_size() -> None:
    """One net on 640 x 320 px and on a crop of 64 x 64 px of it."""
    net = build("pointwise_classifier")
    picture = draw_region(WORLD, Box(0, 0, 640, 320)).picture
    image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    y, x = 320, 128
    with torch.inference_mode():
        heat = net(image)[0, 0]
        crop = net(image[:, :, y : y + 64, x : x + 64])[0, 0]
    part = heat[y // 8 : y // 8 + 8, x // 8 : x // 8 + 8]
    figure, (whole, mapped, difference) = panels(3, 9, 5, [1, 1, 1.3])
    whole.imshow(picture)
    whole.add_patch(Rectangle((x, y), 64, 64, fill=False, edgecolor="C3", linewidth=2))
    whole.set_title("image, 640 x 320 px, and a crop of 64 x 64", fontsize=9)
    mapped.imshow(heat)
    mapped.add_patch(Rectangle((x / 8 - 0.5, y / 8 - 0.5), 8, 8, fill=False, edgecolor="C3"))
    mapped.set_title("its map, 80 x 40", fontsize=9)
    numbers(difference, (part - crop).abs() * 1e3, "1000 x |map - map of the crop alone|")
    for axes in (whole, mapped):
        axes.set_axis_off()
    save(figure, "any-size")


def linear_as_convolution() -> None:
    """25 numbers and 25 weights, and the same weights on a larger image."""
    digits = torch.tensor(
        [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3], [5, 8, 9, 7, 9], [3, 2, 3, 8, 4], [6, 2, 6, 4, 3]]
    ).float()
    weights = torch.ones(5, 5)
    weights[[0, 0, 4, 4], [0, 4, 0, 4]] = 0
    weights[2, 2] = 8
    larger = digits.repeat(2, 2)
    answers = conv2d(larger[None, None], weights[None, None])[0, 0]
    figure, (a, b, c, d) = panels(4, 11, 3.2, [1, 1, 1.6, 1.2])
    numbers(a, digits, "image, 5 x 5")
    total = int((digits * weights).sum())
    numbers(b, weights, f"weights: the sum of products is {total}")
    numbers(c, larger, "a larger image, 10 x 10")
    c.add_patch(Rectangle((-0.5, -0.5), 5, 5, fill=False, edgecolor="C3", linewidth=2))
    numbers(d, answers, "the same weights as a 5 x 5 convolution")
    d.add_patch(Rectangle((-0.5, -0.5), 1, 1, fill=False, edgecolor="C3", linewidth=2))
    save(figure, "linear-as-convolution")


def receptive_field() -> None:
    """Footprints along FCN-8s, and windows of a tile."""
    found = gigafcn.analyze(build("fcn8s/16"))
    rows = [row for row in found.layers if row.kernel is not None]
    places = range(len(rows))
    figure, (grown, drawn) = panels(2, 11, 5, [1.4, 1])
    grown.barh(places, [row.footprint[0] for row in rows], color="C0")
    grown.plot([float(row.stride[0]) for row in rows], places, "o", color="C3", markersize=3)
    grown.set_yticks(places, [row.layer.removesuffix(".0").split(".")[-1] for row in rows])
    grown.invert_yaxis()
    grown.tick_params(axis="y", labelsize=6)
    grown.set_title("FCN-8s: image px that a px of each layer sees; its stride (dots)", fontsize=9)
    tile = Box(1024, 1024, 1536, 1536)
    drawn.add_patch(Rectangle((1024, 1024), 512, 512, color="0.8", label="tile of 512 px"))
    for number, name in enumerate(("image_to_image", "unet_same", "fcn8s")):
        net, channels = build(f"{name}/16"), 1 if name == "unet_same" else 3
        need = gigafcn.analyze(net, channels).need(tile, (2560, 2560))
        drawn.add_patch(
            Rectangle(
                (need.x0, need.y0), need.x.size, need.y.size,
                fill=False, edgecolor=f"C{number}", label=f"{name}: {need.y.size} px",
            )
        )  # fmt: skip
    drawn.set_xlim(640, 1920)
    drawn.set_ylim(1920, 640)
    drawn.set_aspect("equal")
    drawn.legend(fontsize=8, loc="upper left")
    drawn.set_title("windows that one tile needs", fontsize=9)
    save(figure, "receptive-field")


def skips() -> None:
    """What scores at stride 32, 16 and 8 can tell, if each is the true share of its class."""
    drawing = draw_region(WORLD, Box(0, 0, 512, 512))
    truth = torch.from_numpy(drawing.mask.astype(np.int64))
    exact = one_hot(truth, len(CLASSES)).permute(2, 0, 1)[None].float()
    palette = np.array([[int(c[i : i + 2], 16) for i in (0, 2, 4)] for c in COLOURS], np.uint8)
    figure, axes = panels(5, 15, 3.3)
    axes[0].imshow(drawing.picture)
    axes[0].set_title("picture", fontsize=9)
    axes[1].imshow(palette[drawing.mask])
    axes[1].set_title("true classes", fontsize=9)
    for panel, stride in zip(axes[2:], STRIDES, strict=True):
        coarse = avg_pool2d(exact, stride)
        with torch.inference_mode():
            up = Upsampling(len(CLASSES), stride, padding=stride // 2)(coarse)
        labels = up[0].argmax(0).numpy()
        best = metrics(confusion_matrix(drawing.mask, labels, len(CLASSES))).mean_iu
        panel.imshow(palette[labels])
        panel.set_title(f"truth at stride {stride}, resized: mean IU {best:.2f}", fontsize=9)
    for panel in axes:
        panel.set_axis_off()
    save(figure, "skips")


def unpooling() -> None:
    """A map, its maxima, and four ways back."""
    generator = torch.Generator().manual_seed(4)
    image = torch.randperm(36, generator=generator).float().reshape(1, 1, 6, 6) + 1
    pooled = torch.nn.functional.max_pool2d(image, 2)
    up = Upsampling(1, 2, padding=1)
    figure, axes = panels(6, 15, 2.9)
    numbers(axes[0], image[0, 0], "map, 6 x 6")
    numbers(axes[1], pooled[0, 0], "its maxima, 3 x 3")
    numbers(axes[2], Nearest()(pooled)[0, 0], "nearest")
    numbers(axes[3], BedOfNails(1)(pooled)[0, 0], "bed of nails")
    numbers(axes[4], PoolAndUnpool()(image)[0, 0], "max-unpooling")
    numbers(axes[5], up(pooled)[0, 0], "transposed convolution, bilinear")
    save(figure, "unpooling")


def main() -> None:
    """Draw all of them."""
    for draw in (any_size, linear_as_convolution, receptive_field, skips, unpooling):
        draw()
        print(draw.__name__)


if __name__ == "__main__":
    main()
