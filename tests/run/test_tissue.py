"""What shows no tissue is neither read, computed nor stored; the rest is as in the full map."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import gigafcn
from gigafcn.cli.reporting import closing_line
from gigafcn.errors import UsageError
from gigafcn.geometry import Box
from gigafcn.output import open_map
from gigafcn.output.store import ChunkStatus
from gigafcn.run.check import check
from gigafcn.slide.array import ArraySlide
from tests.run.small_nets import Skip, random_numbers, whole_numbers
from tests.run.whole import labels_of, scores_of, small_image

if TYPE_CHECKING:
    from pathlib import Path

    from gigafcn.slide.marks import Reading

SHAPE = (1601, 2317)
"""7 x 10 chunks of 256 px."""

EXACTLY: dict[str, Any] = {"scale": 1.0, "activation": "none", "dtype": "float32", "verify": False}
ISLANDS = (Box(300, 40, 700, 200), Box(520, 1300, 1000, 1700), Box(1590, 2300, 1601, 2317))


def marked(*boxes: Box) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A mask of the slide with some boxes marked."""
    mask = np.zeros(SHAPE, np.uint8)
    for box in boxes:
        mask[box.y0 : box.y1, box.x0 : box.x1] = 255
    return mask


def chunks(*boxes: Box) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Chunks (y, x) that hold a px of a box."""
    cells = np.zeros((7, 10), bool)
    for box in boxes:
        cells[box.y0 // 256 : -(-box.y1 // 256), box.x0 // 256 : -(-box.x1 // 256)] = True
    return cells


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mask image of the islands."""
    path = tmp_path_factory.mktemp("mask") / "mask.png"
    Image.fromarray(marked(*ISLANDS)).save(path)
    return path


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map of everything."""
    path = tmp_path_factory.mktemp("full") / "full.zarr"
    gigafcn.infer(small_image(*SHAPE), whole_numbers(Skip()), path, **EXACTLY)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"tile": 256},
        {"tile": 4096, "strip": 40},
        {"tile": 768, "save": "labels"},
    ],
)
def test_computed_chunks_equal_those_of_the_full_map_bit_for_bit(
    options: dict[str, Any], mask: Path, full: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.zarr"
    given = EXACTLY | options | {"tissue": mask}
    gigafcn.infer(small_image(*SHAPE), whole_numbers(Skip()), path, **given)
    cells = chunks(*ISLANDS)
    stored = open_map(path)
    expected = np.where(cells, ChunkStatus.COMPUTED, ChunkStatus.BACKGROUND)
    np.testing.assert_array_equal(stored.status, expected)
    pixels = cells.repeat(256, 0).repeat(256, 1)[: SHAPE[0], : SHAPE[1]]
    np.testing.assert_array_equal(labels_of(path), np.where(pixels, labels_of(full), 255))
    if options.get("save") != "labels":
        np.testing.assert_array_equal(scores_of(path), np.where(pixels, scores_of(full), np.nan))
        for mine, whole in zip(stored.scores[1:], open_map(full).scores[1:], strict=True):
            step = 256 * stored.spec.shape[0] // mine.shape[1] // stored.spec.shape[0] or 1
            assert step >= 1
            known = ~np.isnan(mine[...])
            # Where no px of a block was left out the mean is that of the full map.
            inner = known & np.isclose(mine[...], whole[...])
            assert inner.sum() >= 0.9 * known.sum()


def test_what_is_left_out_is_neither_read_nor_stored(
    mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = np.zeros(SHAPE, int)
    plain = ArraySlide.look

    def noting(slide: ArraySlide, box: Box, *rest: Any) -> Reading:
        if slide.channels == 3:  # the mask is a picture too
            counts[box.y0 : box.y1, box.x0 : box.x1] += 1
        return plain(slide, box, *rest)

    monkeypatch.setattr("gigafcn.run.mapping.draw_picture", lambda *_: None)
    monkeypatch.setattr(ArraySlide, "look", noting)
    path = tmp_path / "m.zarr"
    given = EXACTLY | {"tissue": mask, "tile": 256, "strip": 64}
    gigafcn.infer(small_image(*SHAPE), whole_numbers(Skip()), path, **given)
    near = chunks(*ISLANDS).repeat(256, 0).repeat(256, 1)[: SHAPE[0], : SHAPE[1]]
    halo = 32
    grown = np.zeros_like(near)
    for y, x in np.argwhere(chunks(*ISLANDS)) * 256:
        grown[max(0, y - halo) : y + 256 + halo, max(0, x - halo) : x + 256 + halo] = True
    assert not counts[~grown].any()
    stored = [f for f in (path / "0").rglob("c/*/*/*") if f.is_file()]
    assert len(stored) == int(chunks(*ISLANDS).sum())  # shards of tiles of 256 px are one chunk


def test_a_run_with_tissue_is_gone_on_with_and_can_be_checked(mask: Path, tmp_path: Path) -> None:
    image, net, path = small_image(*SHAPE), random_numbers(Skip()), tmp_path / "m.zarr"
    given: dict[str, Any] = {"tissue": mask, "tile": 256, "verify": False}

    class Killed(BaseException):
        pass

    def kill(report: gigafcn.Progress) -> None:
        if report.stage == "compute" and report.tiles_done >= 3:
            raise Killed

    with pytest.raises(Killed):
        gigafcn.infer(image, net, path, progress=kill, **given)
    with pytest.raises(UsageError, match="belongs to another run: tissue was"):
        gigafcn.infer(image, net, path, **(given | {"tissue": None}))
    result = gigafcn.infer(image, net, path, **given)
    assert result.summary["tiles_found"] >= 3
    assert result.certificate["tiles"] == int(chunks(*ISLANDS).sum())
    assert check(path).is_sound


@pytest.mark.parametrize("mode", ["blend", "patch"])
def test_windows_are_computed_for_tissue_alone(mode: str, mask: Path, tmp_path: Path) -> None:
    net = random_numbers(Skip())
    given: dict[str, Any] = {"mode": "blend", "window": 64, "overlap": 0.25}
    if mode == "patch":
        net = random_numbers(_classifier())
        given = {"mode": "patch", "window": 32, "step": 4}
    image = small_image(*SHAPE, top=256)
    whole = gigafcn.infer(image, net, tmp_path / "w.zarr", dtype="float32", **given)
    part = gigafcn.infer(image, net, tmp_path / "p.zarr", dtype="float32", tissue=mask, **given)
    found, expected = scores_of(part.path), scores_of(whole.path)
    known = ~np.isnan(found)
    # Patch chooses by window, not by chunk.
    assert 0.05 < known.mean() < (0.1 if mode == "patch" else 0.9)
    # Calls of patch take fewer windows where some are left out, and add in another order.
    rounding = 0 if mode == "blend" else 1e-6
    np.testing.assert_allclose(found[known], expected[known], rtol=0, atol=rounding)


def _classifier() -> Any:
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def polygon(box: Box) -> dict[str, Any]:
    """A rectangle as QuPath writes it."""
    corners = [(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*corners, corners[0]]]},
        "properties": {"objectType": "annotation"},
    }


def planned(slide: Any, tissue: Any, **options: Any) -> Any:
    """Status that a run would have."""
    from gigafcn.run.options import Options
    from gigafcn.run.request import prepare

    request = prepare(slide, whole_numbers(Skip()), Options(tissue=tissue, **options))
    assert request.plan.tissue is not None
    return request.plan


def written(path: Path, document: Any) -> Path:
    """A JSON file."""
    path.write_text(json.dumps(document))
    return path


def test_polygons_mark_the_chunks_they_touch(tmp_path: Path) -> None:
    shrunk = [Box(b.y0 + 1, b.x0 + 1, b.y1 - 1, b.x1 - 1) for b in ISLANDS]
    features = [polygon(box) for box in shrunk]
    path = written(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": features})
    plan = planned(small_image(*SHAPE), path)
    np.testing.assert_array_equal(plan.tissue.cells(), chunks(*shrunk))


def test_chunks_of_a_resampled_map_lie_where_they_do_on_the_slide(tmp_path: Path) -> None:
    path = written(tmp_path / "a.geojson", [polygon(Box(1100, 600, 1190, 700))])
    plan = planned(small_image(*SHAPE), path, mpp=0.5, slide_mpp=0.25)
    # A chunk of 256 px of the map is 512 px of the slide.
    np.testing.assert_array_equal(np.argwhere(plan.tissue.cells()), [[2, 1]])


def test_polygons_that_cross_themselves_are_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bow = {"type": "Polygon", "coordinates": [[(0, 0), (1400, 1400), (1400, 0), (0, 1400), (0, 0)]]}
    plan = planned(small_image(*SHAPE), written(tmp_path / "a.geojson", bow))
    assert "1 polygons that cross themselves were mended" in caplog.text
    assert not plan.tissue.cells()[0, 2]
    assert plan.tissue.cells()[2, 2]


@pytest.mark.parametrize(
    ("document", "match"),
    [
        ({"type": "FeatureCollection", "features": []}, "holds no polygon"),
        ({"type": "Point", "coordinates": [1, 2]}, "holds no polygon"),
        ([polygon(Box(5000, 5000, 6000, 6000))], "all 1 polygons lie outside"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, "x"], [2, 2], [0, 0]]]}, "polygon 0"),
        ({"type": "Polygon", "coordinates": 7}, "polygon 0 cannot be read"),
        (7, "holds no polygon"),
    ],
)
def test_what_is_no_polygon_on_the_slide_is_refused(
    document: Any, match: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=match):
        planned(small_image(*SHAPE), written(tmp_path / "a.geojson", document))


def test_masks_that_do_not_fit_or_mark_nothing_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((400, 400), np.uint8)).save(tmp_path / "square.png")
    Image.fromarray(np.zeros((160, 232), np.uint8)).save(tmp_path / "empty.png")
    image = small_image(*SHAPE)
    with pytest.raises(UsageError, match="has another shape than slide of 1601 x 2317 px"):
        planned(image, tmp_path / "square.png")
    with pytest.raises(UsageError, match="marks nothing"):
        planned(image, tmp_path / "empty.png")
    with pytest.raises(UsageError, match="no such file"):
        planned(image, tmp_path / "none.png")


def test_a_small_mask_covers_the_whole_slide(tmp_path: Path) -> None:
    small = np.zeros((160, 232), np.uint8)
    small[110:112, 60:70] = 1  # 10 px of the slide each
    Image.fromarray(small).save(tmp_path / "m.png")
    plan = planned(small_image(*SHAPE), tmp_path / "m.png")
    np.testing.assert_array_equal(np.argwhere(plan.tissue.cells()), [[4, 2]])


@pytest.fixture(scope="module")
def stained() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A slide of glass with noise and one pink island with a pale hole."""
    random = np.random.default_rng(0)
    image = random.normal(238, 2, (*SHAPE, 3))
    image[560:1000, 800:1500] = random.normal((205, 130, 180), 9, (440, 700, 3))
    image[700:720, 1000:1020] = 240
    return np.clip(image, 0, 255).astype(np.uint8)


def test_auto_finds_what_is_stained_and_the_picture_outlines_it(
    stained: np.ndarray[Any, np.dtype[np.uint8]], tmp_path: Path
) -> None:
    result = gigafcn.infer(
        stained, random_numbers(Skip()), tmp_path / "m.zarr", tissue="auto", verify=False
    )
    found = open_map(result.path).status == ChunkStatus.COMPUTED
    np.testing.assert_array_equal(found, chunks(Box(555, 795, 1005, 1505)))
    assert "left out as background" in closing_line(result)
    said = open_map(result.path).provenance["tissue"]
    assert said["by"] == "auto"
    assert said["chunks"] == int(found.sum())


def test_without_tissue_the_closing_line_says_what_auto_would_save(
    stained: np.ndarray[Any, np.dtype[np.uint8]], tmp_path: Path
) -> None:
    result = gigafcn.infer(stained, random_numbers(Skip()), tmp_path / "m.zarr", verify=False)
    assert (open_map(result.path).status == ChunkStatus.COMPUTED).all()
    assert "9% looks like tissue (--tissue auto leaves the rest out)" in closing_line(result)


def test_a_plan_says_what_is_left_out(
    stained: np.ndarray[Any, np.dtype[np.uint8]], tmp_path: Path
) -> None:
    report = gigafcn.plan_run(stained, random_numbers(Skip()), tissue="auto", tile=256)
    assert report.tiles == 6
    assert dict(report.rows())["tissue"] == "9% of the chunks; 89% of the map is left out"


def test_glass_alone_gives_a_map_of_background(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    glass = np.full((600, 700, 3), 240, np.uint8)
    glass[::9] = 241
    result = gigafcn.infer(glass, random_numbers(Skip()), tmp_path / "m.zarr", tissue="auto")
    assert (open_map(result.path).status == ChunkStatus.BACKGROUND).all()
    assert "nothing that looks like tissue" in caplog.text


def test_colours_of_a_grey_slide_tell_nothing() -> None:
    with pytest.raises(UsageError, match="three channels of 8 bit"):
        planned(small_image(300, 300, dtype="uint16"), "auto")
