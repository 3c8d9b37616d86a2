"""``gigafcn inspect``: how far a model sees, layer by layer, and whether tiling it is exact."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gigafcn.cli import model_files
from gigafcn.cli.footprint_plot import plot_footprint
from gigafcn.cli.reporting import say, say_json, show_table
from gigafcn.cli.requests import Debug, Json
from gigafcn.errors import QuestionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gigafcn.analysis import Footprint
    from gigafcn.model.loaded import LoadedModel

TILES_PX = (512, 1024, 2048, 4096)
"""Tile sizes, in input px, for which the waste is shown."""

Number = Annotated[int | None, Parameter(show_default=False)]


def inspect(  # noqa: PLR0913 - one parameter per flag
    model: str,
    /,
    *,
    channels: Number = None,
    size: Number = None,
    trust: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    sha256: Annotated[str | None, Parameter(metavar="HEX", show_default=False)] = None,
    allow_unexpected: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    write_config: Annotated[Path | None, Parameter(metavar="FILE", show_default=False)] = None,
    plot: Annotated[Path | None, Parameter(metavar="FILE.png", show_default=False)] = None,
    output_name: Annotated[str | None, Parameter(metavar="NAME|INDEX", show_default=False)] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show how far a model sees, layer by layer.

    Prints kernel, stride, footprint and carried rows of each layer, then the halo, period and
    stride of the model, what recomputing halos would waste at common tile sizes, and what keeps
    the model from being tiled exactly, if anything. Of a model with several outputs, it prints
    the figures of each and the layers of one.

    Parameters
    ----------
    model
        The model: the name of a bundled one or a file.
    channels
        Channels of the image that the model takes; if unset, what the model says, else 3.
    size
        Height and width in px to analyse at; if unset, the first of 256, 224, 64, 512 and 572
        that the model takes.
    trust
        Load a model whose loading can run code, which can do anything: Python files, exported
        programs, TorchScript.
    sha256
        Load the model's file only if this is its sha256; then it needs no --trust.
    allow_unexpected
        Leave weights of a checkpoint out that the model has not.
    write_config
        Write a model file (TOML) for infer --model: what can be derived is filled in, and what
        only the model's author knows is left for you.
    plot
        Draw how the footprint grows through the layers, and the waste by tile size, as a PNG.
    output_name
        The output whose layers are shown, by name or index, for models with several, and which
        --write-config and --plot describe; if unset, what the model's file says, else the map.
    json
        Write everything as one JSON object.
    debug
        Log more, and show the traceback of an error.
    """
    from gigafcn.model.loading import load_model  # loads torch

    loaded = load_model(model, trust=trust, sha256=sha256, allow_unexpected=allow_unexpected)
    channels = channels or loaded.channels or 3
    outputs: tuple[Footprint, ...] = ()
    footprint, decided = None, True
    try:
        if loaded.whole_image_refusal is None:
            outputs = _analysed(loaded, channels, size)
            asked = loaded.output if output_name is None else output_name
            footprint, decided = _chosen(outputs, asked)
            if len(outputs) > 1 and decided:
                loaded = replace(loaded, output=footprint.output)
    finally:  # a model that gives no map, or cannot be exported, may still run on windows
        if write_config is not None:
            model_files.write_config(write_config, loaded, channels, footprint, quiet=json)
    if plot is not None:
        plot_footprint(plot, loaded.name, footprint)
    if footprint is None:
        _tell_hidden(loaded, json=json)
        return
    if json:
        listed = [_output_json(output) for output in outputs]
        say_json("inspect", model=loaded.name, **as_json(footprint), outputs=listed)
    else:
        show_footprint(loaded.name, footprint, outputs, decided=decided)


def _analysed(loaded: LoadedModel, channels: int, size: int | None) -> tuple[Footprint, ...]:
    """Every output of a model.

    Raises
    ------
    ModelError
        If it cannot be exported, or its only output is no map.
    """
    from gigafcn.analysis import analyze, analyze_outputs  # loads torch

    found = analyze_outputs(loaded.module, channels=channels, size=size)
    if len(found) == 1 and found[0].graph is None:
        return (analyze(loaded.module, channels=channels, size=size),)  # says what is no map
    return found


def _chosen(outputs: tuple[Footprint, ...], asked: str | int | None) -> tuple[Footprint, bool]:
    """The output of a name or index, or that is the map; the last, and False, if infer asks.

    Raises
    ------
    ModelError
        If there is none such.
    """
    from gigafcn.graph.outputs import mapped_name  # loads torch

    try:
        name = mapped_name(dict(outputs[0].outputs), asked)
    except QuestionError:
        return outputs[-1], False
    return next(output for output in outputs if output.output == name), True


def _tell_hidden(loaded: LoadedModel, *, json: bool) -> None:
    if json:
        say_json("inspect", model=loaded.name, **model_files.hidden_json(loaded))
    else:
        model_files.show_hidden(loaded)


def waste_by_tile(halo: tuple[int, int, int, int]) -> dict[int, float]:
    """Share of extra pixels that windows read beyond their tiles, by tile size in input px.

    Examples
    --------
    >>> waste_by_tile((64, 64, 64, 64))[512]
    0.5625
    """
    top, bottom, left, right = halo
    return {
        tile: (1 + (top + bottom) / tile) * (1 + (left + right) / tile) - 1 for tile in TILES_PX
    }


def as_json(footprint: Footprint) -> dict[str, Any]:
    """Everything that inspect prints of one output, as named numbers."""
    return _figures(footprint) | {"layers": [asdict(row) for row in footprint.layers]}


def _output_json(footprint: Footprint) -> dict[str, Any]:
    shape = dict(footprint.outputs)[footprint.output]
    return {"name": footprint.output, "shape": shape} | _figures(footprint)


def _figures(footprint: Footprint) -> dict[str, Any]:
    return {
        "local": footprint.local,
        "blockers": [asdict(blocker) for blocker in footprint.blockers],
        "size": footprint.size,
        "only": footprint.only,
        "halo": footprint.halo,
        "halo_aligned": footprint.halo_aligned,
        "stride": footprint.stride,
        "period": footprint.period,
        "no_period": footprint.no_period or None,
        "pads_itself": footprint.pads_itself,
        "shift_invariant": footprint.shift_invariant,
        "waste": waste_by_tile(footprint.halo_aligned),
    }


def show_footprint(
    name: str, footprint: Footprint, outputs: Sequence[Footprint] = (), *, decided: bool = True
) -> None:
    """Print the table of layers, the figures of the model, and what blocks it.

    Parameters
    ----------
    footprint
        Of the output whose layers are shown.
    outputs
        If the model has several, all of them: figures and blockers follow for each.
    decided
        Whether that output is the map; else infer asks.
    """
    several = len(outputs) > 1
    rows = [
        (
            row.layer,
            row.op,
            _pair(row.kernel),
            _pair(row.stride),
            _pair(row.footprint),
            str(row.carried_rows),
        )
        for row in footprint.layers
    ]
    if rows:
        header = ("layer", "op", "kernel", "stride", "footprint", "carried rows")
        show_table(rows, header, numbers_from=2)
    model = [("model", name), ("traced at", f"{footprint.size} px")]
    if several:
        mapped = footprint.output if decided else "infer asks which: --output-name"
        shown = ("layers shown", f"those of output {footprint.output}")
        show_table([*model, ("output mapped", mapped), shown])
    for output in outputs if several else (footprint,):
        shape = ", ".join(str(n) for n in dict(output.outputs).get(output.output, ()))
        if several:
            say("")
        title = [("output", output.output), ("shape: b, c, y, x", shape)] if several else model
        show_table([*title, *_facts(output)])
        for blocker in output.blockers:
            say(f"not local: {blocker}")


def _facts(footprint: Footprint) -> list[tuple[str, str]]:
    if not footprint.local:
        return [("exact tiling", "no")]
    only = footprint.only
    facts = [
        ("exact tiling", "yes"),
        *([] if only is None else [("takes", f"{only[0]} x {only[1]} px only")]),
        ("halo: top, bottom, left, right", _px(footprint.halo)),
        ("halo of tiles of whole periods", _px(footprint.halo_aligned)),
        ("period: y, x", (footprint.no_period and "none") or _px(footprint.period)),
        ("images are", _padding(footprint)),
        ("stride: y, x", f"{footprint.stride[0]}, {footprint.stride[1]}"),
        ("same at every position", "yes" if footprint.shift_invariant else "no"),
    ]
    waste = waste_by_tile(footprint.halo_aligned)
    return facts + [(f"waste of {tile} px tiles", f"{waste[tile]:.1%}") for tile in waste]


def _padding(footprint: Footprint) -> str:
    if footprint.no_period:
        return f"not padded, since there is no period: {footprint.no_period}"
    if footprint.pads_itself:
        return "not padded, since the model pads them on both sides by itself"
    if footprint.period == (1, 1):
        return "as they are"
    return "padded to whole periods" + ("" if any(footprint.lost) else "; not with --pad none")


def _pair(value: tuple[object, object] | None) -> str:
    return "" if value is None else f"{value[0]} x {value[1]}"


def _px(values: tuple[int, ...]) -> str:
    return ", ".join(str(value) for value in values) + " px"
