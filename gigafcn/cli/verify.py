"""``gigafcn verify``: is tiling exact for this very model?  The certificate, as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gigafcn.cli.reporting import say, say_json, show_table
from gigafcn.cli.requests import Debug, Json
from gigafcn.config.values import parse_list, parse_pair
from gigafcn.errors import ModelError, UsageError

if TYPE_CHECKING:
    from gigafcn.certificate.certificate import Certificate
    from gigafcn.certificate.patchwise import Patchwise

SIDES_HEADER = ("side", "halo", "tiles tried", "suffices", "minimal")
WINDOWS_HEADER = (
    "window", "of", "precision", "tiled less model", "model's rounding", "bound", "",
)  # fmt: skip

Number = Annotated[int | None, Parameter(show_default=False)]
Switch = Annotated[bool, Parameter(negative="", show_default=False)]
Text = Annotated[str | None, Parameter(show_default=False)]


def verify(  # noqa: PLR0913 - one parameter per flag
    model: str,
    slide: str | None = None,
    /,
    *,
    channels: Annotated[str | None, Parameter(metavar="N|I,...", show_default=False)] = None,
    size: Number = None,
    output_name: Annotated[str | None, Parameter(metavar="NAME|INDEX", show_default=False)] = None,
    patch: Annotated[str | None, Parameter(metavar="PX|Y,X", show_default=False)] = None,
    output_stride: Annotated[int | None, Parameter(metavar="PX", show_default=False)] = None,
    level: Number = None,
    mpp: Annotated[str | None, Parameter(metavar="UM|Y,X", show_default=False)] = None,
    slide_mpp: Annotated[str | None, Parameter(metavar="UM|Y,X", show_default=False)] = None,
    image: Number = None,
    levels_from: Annotated[
        str | None, Parameter(metavar="sizes|metadata", show_default=False)
    ] = None,
    windows: int = 2,
    device: str = "cpu",
    trust: Switch = False,
    sha256: Annotated[str | None, Parameter(metavar="HEX", show_default=False)] = None,
    allow_unexpected: Switch = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Try whether tiling a model is exact, on the model itself.

    Two checks that do not rely on gigafcn's analysis. Images that are NaN everywhere outside what
    a tile is said to need must leave the tile clean, and one row or column of NaN further in must
    not. And tiled computing must give what the model gives for windows of the slide, or of noise,
    up to rounding. A classifier of patches is tried as the network that it is mapped with, and its
    map is compared with its answers patch by patch.

    Parameters
    ----------
    model
        The model: the name of a bundled one or a file.
    slide
        Slide to take windows from; without one, noise.
    channels
        How many channels the model takes, or which of the slide's, counted from 0.
    size
        Height and width in px to analyse at first.
    output_name
        Which output of a model with several to try, by name or by index from 0.
    patch
        Size of the patches that a classifier was trained on; if unset, what the model states, else
        a guess, which is printed.
    output_stride
        Px from one patch of a classifier to the next; if unset, the model's own stride.
    level
        Pyramid level that windows are read from.
    mpp
        Micrometres per px that the model wants; if unset, what its author states.
    slide_mpp
        Micrometres per px of the slide's finest level, instead of what it says.
    image
        Which image to take of a file that holds several, by its number.
    levels_from
        What decides how large the px of coarser levels are, where these contradict each other.
    windows
        Windows of the slide to compare on: those that show most.
    device
        Where tiled computing is compared with the model: cpu, cuda, cuda:1.
    trust
        Load a model whose loading can run code, which can do anything.
    sha256
        Load the model's file only if this is its sha256; then it needs no --trust.
    allow_unexpected
        Leave weights of a checkpoint out that the model has not.
    json
        Write the certificate as one JSON object.
    debug
        Log more, and show the traceback of an error.
    """
    from gigafcn.run.verify import verify as run  # loads torch

    certificate = run(
        model,
        Path(slide) if slide and "://" not in slide else slide,
        channels=_channels(channels),
        size=size,
        output_name=output_name,
        patch=_patch(patch),
        output_stride=output_stride,
        level=level,
        mpp=_mpp("mpp", mpp),
        slide_mpp=_mpp("slide-mpp", slide_mpp),
        image=image,
        levels_from=levels_from,
        windows=windows,
        device=device,
        trust=trust,
        sha256=sha256,
        allow_unexpected=allow_unexpected,
    )
    if json:
        say_json("certificate", **certificate.to_json())
    else:
        show_certificate(certificate)
    return 0 if certificate.holds else ModelError.exit_code


def _channels(text: str | None) -> int | tuple[int, ...] | None:
    """A count, or places of channels.

    Examples
    --------
    >>> _channels("4"), _channels("0,2")
    (4, (0, 2))
    """
    if text is None:
        return None
    try:
        chosen = tuple(int(item) for item in parse_list(text))
    except ValueError:
        raise UsageError(
            f"channels {text!r}: give how many, or which, such as 3 or 0,1,2"
        ) from None
    return chosen if "," in text else chosen[0]


def _patch(text: str | None) -> int | tuple[int, int] | None:
    """One side for both axes, or two.

    Examples
    --------
    >>> _patch("224"), _patch("96,128")
    (224, (96, 128))
    """
    if text is None:
        return None
    try:
        sides = parse_pair(text)
        return int(sides) if isinstance(sides, str) else (int(sides[0]), int(sides[1]))
    except ValueError:
        raise UsageError(f"patch {text!r}: give its size in px, such as 224 or 96,128") from None


def _mpp(name: str, text: str | None) -> float | tuple[float, float] | None:
    """One size of pixels for both axes, or two.

    Examples
    --------
    >>> _mpp("mpp", "0.5"), _mpp("mpp", "0.25,0.5")
    (0.5, (0.25, 0.5))
    """
    if text is None:
        return None
    try:
        sides = parse_pair(text)
        return float(sides) if isinstance(sides, str) else (float(sides[0]), float(sides[1]))
    except ValueError:
        raise UsageError(f"{name} {text!r}: give µm per px, such as 0.5 or 0.25,0.5") from None


def show_certificate(certificate: Certificate) -> None:
    """Print needs per side, differences per window, what was not done, and the verdict."""
    if certificate.poisonings:
        show_table(_side_rows(certificate), SIDES_HEADER, numbers_from=1)
    if certificate.differences:
        show_table(_difference_rows(certificate), WINDOWS_HEADER, numbers_from=2)
    if certificate.patchwise is not None:
        show_table(_patchwise_rows(certificate.patchwise))
    if certificate.far_edge is not None:
        say(f"far edge: {certificate.far_edge}")
    for blocker in certificate.blockers:
        say(f"not local: {blocker}")
    for failure in certificate.failures:
        say(f"failed: {failure}")
    for what in certificate.not_done:
        say(f"not done: {what}")
    say(_verdict(certificate))


def _side_rows(certificate: Certificate) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for index, (name, halo) in enumerate(
        zip(("top", "bottom", "left", "right"), certificate.halo, strict=True)
    ):
        tried = [one for one in certificate.poisonings if one.axis == index // 2]
        reached = sum(not one.suffices for one in tried)
        inner = [one.sides[name] for one in tried if one.sides[name] != "image edge"]
        larger = inner.count("not minimal")
        suffices = "yes" if not reached else f"no, {reached} of {len(tried)}"
        minimal = "yes" if not larger else f"no, {larger} of {len(inner)}"
        rows.append((name, f"{halo} px", str(len(tried)), suffices, minimal))
    return rows


def _difference_rows(certificate: Certificate) -> list[tuple[str, ...]]:
    return [
        (
            f"{one.window[0]} x {one.window[1]} px",
            one.source if one.position is None else f"y={one.position[0]}, x={one.position[1]}",
            one.precision,
            f"{one.difference:.2g}",
            "" if one.module is None else f"{one.module:.2g}",
            f"{one.bound:.2g}",
            "ok" if one.within else "too far",
        )
        for one in certificate.differences
    ]


def _patchwise_rows(found: Patchwise) -> list[tuple[str, str]]:
    where = found.source
    if found.position is not None:
        where += f" at y={found.position[0]}, x={found.position[1]}"
    differ = f"largest {found.largest:.2g}, mean {found.mean:.2g}"
    if found.pads:
        told = (
            f"{differ}, labels that differ {100 * found.labels:.1f} %; the network pads, so each "
            f"patch alone has a border of its own"
        )
    elif found.within:
        told = f"equal at every position, up to rounding: {differ}"
    else:
        told = f"{differ}, too far: rounding explains at most {found.bound:.2g}"
    every = f"every {found.output_stride[0]} x {found.output_stride[1]} px"
    return [
        (
            "patches",
            f"{found.patches} of {found.patch[0]} x {found.patch[1]} px, {every}, of {where}",
        ),
        ("largest score", f"{found.scale:.2g}"),
        ("dense against patch by patch", told),
    ]


def _verdict(certificate: Certificate) -> str:
    what = f"model {certificate.model}"
    if certificate.blockers:
        return f"{what}: not local, so no tiling is exact\n{certificate.remedy}"
    if certificate.failures:
        return f"{what}: refuted, maps would not be exact"
    larger = "" if certificate.minimal else "; some needs are larger than they must be"
    return (
        f"{what}: exact tiling holds ({certificate.exactness}, {certificate.seconds:.1f} s){larger}"
    )
