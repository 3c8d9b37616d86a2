"""The page that the results make: what was measured, in words, and the table."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.architectures.measure import FP64_BOUND, fp32_within, fp64_within


def summary(row: dict[str, Any]) -> str:
    """One line for whoever watches."""
    name = f"{row['library']} {_name(row)}"
    took = f"[{row['row_seconds']:.0f} s]"
    if "failed" in row or "error" in row:
        return f"{took} {name}: {row.get('failed') or row.get('error')}"
    if not row["local"]:
        far = row["far"]
        return f"{took} {name}: blocked, confirmed by {far['confirmed']}: {row['blockers'][0]}"
    runs = row["runs"]
    bounds = f"fp64 {all(map(fp64_within, runs))}, fp32 {all(map(fp32_within, runs))}"
    return f"{took} {name}: local, halo {row['halo']}, {bounds}, poison {_poison(row)}"


def page(results: dict[str, Any]) -> str:
    """The whole page in Markdown."""
    rows = results["rows"]
    local = [row for row in rows if row.get("local") and "failed" not in row]
    blocked = [row for row in rows if row.get("exports") and row.get("local") is False]
    broken = [row for row in rows if "failed" in row or "error" in row]
    return "\n".join(
        [
            "# Public architectures",
            "",
            "<!-- Written by `python -m benchmarks.architectures --write`; do not edit. -->",
            "",
            *_introduction(results, local, blocked, broken),
            "",
            "## Local: exact tiling",
            "",
            *_how_local(),
            "",
            *_local_table(local),
            "",
            "## Not local",
            "",
            *_how_blocked(),
            "",
            *_blocked_table(blocked),
            *(_broken_table(broken) if broken else []),
            "",
        ]
    )


def _introduction(
    results: dict[str, Any],
    local: list[dict[str, Any]],
    blocked: list[dict[str, Any]],
    broken: list[dict[str, Any]],
) -> list[str]:
    rows, machine = results["rows"], results["machine"]
    families = {(row["library"], row["architecture"]) for row in rows}
    passed = [row for row in local if passes(row)]
    slowest = max((row["analysis_processor_seconds"] for row in local + blocked), default=0.0)
    within = sum(row["analysis_processor_seconds"] < 5 for row in local + blocked)
    versions = ", ".join(
        f"{name} {machine[name]}"
        for name in ("torch", "monai", "timm", "segmentation_models_pytorch", "torchvision")
        if name in machine
    )
    return [
        f"{len(rows)} models of {len(families)} architectures from "
        f"{len({row['library'] for row in rows})} libraries, with random weights and random "
        f"batch-norm statistics. {len(local)} are local, and {len(passed)} of them pass every "
        f"check below. {len(blocked)} are not local. {len(broken)} could not be analysed, or not "
        "be compared. "
        f"Analysis, halo included, took under 5 s of processor time for {within} "
        f"of {len(local) + len(blocked)} models (slowest {slowest:.1f} s).",
        "",
        f"Measured by `benchmarks/architectures` on one thread of an {machine['processor']}: "
        f"Python {machine['python']}, {versions}. torchvision was imported "
        f"{machine['torchvision imported']}; its models need none of them. No trained weights were "
        "used.",
    ]


def _how_local() -> list[str]:
    return [
        "- *Halo*: input px (top / bottom / left / right) that a pixel of the map depends on "
        "beyond itself, the worst over all output phases. *Stride*: image px per map px. "
        "*Period*: image px to whose multiples images are padded.",
        "- *Poison*: on the untouched module, NaN everywhere outside the computed input of a tile "
        "leaves the tile finite (sufficient), and NaN one row or column further in does not "
        "(minimal), on both sides and both axes, for a tile of one period and for a single pixel.",
        "- *fp64*: largest difference between the sweep and the module on the whole image, divided "
        f"by the largest logit; the bound is {FP64_BOUND:.0e}. *fp32*: the largest distance of the "
        "sweep in fp32 from the module in fp64, then the distances of the module's own fp32, in "
        "torch's default layout and in channels-last, which is the sweep's; all divided by the "
        "largest logit. The bound is twice the module's in the default layout, plus 1e-6. A miss "
        "is in bold.",
        "- *Images*: px (y x x) of noise that were swept, in at least 3 x 3 tiles that are not "
        "square, with strips and blocks on no period. With an asterisk the long side is shorter "
        "than tile and halo together, so that every tile reached a border; the poison's probes "
        "never do.",
    ]


def _how_blocked() -> list[str]:
    return [
        "Each is confirmed by changing pixels at the far end of an image, in fp64, and looking at "
        "the near end: of the layers that the blockers name, each on what it receives within the "
        "model, and of the model itself over the distance given. The figure is the largest change "
        "over the largest value. A layer that does not feel the far end is asked how far it does "
        "feel a change, on that image and on one twice as long: if the distance grows with the "
        "image, as for adaptive pooling, no halo is large enough. If it does not, the layer is not "
        "what makes the model global: a rule for it is missing, and the row says so. A model that "
        "holds a value for each place takes images of its own size alone, and no longer one.",
    ]


def _local_table(rows: list[dict[str, Any]]) -> list[str]:
    return [
        "| library | model | halo | stride | period | poison: sufficient, minimal | images | fp64 "
        "| fp32 sweep / module / its channels-last | analysis |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_local_row(row) for row in rows),
    ]


def _local_row(row: dict[str, Any]) -> str:
    runs = row["runs"]
    fp64 = max(run["fp64"] / run["largest"] for run in runs)
    cells = [
        row["library"],
        _name(row),
        " / ".join(str(h) for h in row["halo"]),
        _pair(row["stride"]),
        _pair(row["period"]),
        _poison(row),
        ", ".join(_image(run) for run in runs),
        _bold(f"{fp64:.0e}" if fp64 else "0", miss=not all(map(fp64_within, runs))),
        _fp32(max(runs, key=_excess)),
        f"{row['analysis_processor_seconds']:.1f} s",
    ]
    return f"| {' | '.join(cells)} |"


def _image(run: dict[str, Any]) -> str:
    star = "" if run["beyond_footprint"] else "\\*"
    return f"{run['size'][0]} x {run['size'][1]}{star}"


def _excess(run: dict[str, Any]) -> float:
    """How much of its bound the sweep's distance in fp32 is."""
    return float(run["fp32_sweep"] / (2 * run["fp32_module"] + 1e-6 * run["largest"]))


def _fp32(run: dict[str, Any]) -> str:
    """The image with more of its bound used."""
    sweep, own, last = (
        f"{run[key] / run['largest']:.1e}"
        for key in ("fp32_sweep", "fp32_module", "fp32_module_channels_last")
    )
    return f"{_bold(sweep, miss=not fp32_within(run))} / {own} / {last}"


def _bold(text: str, *, miss: bool) -> str:
    return f"**{text}**" if miss else text


def _blocked_table(rows: list[dict[str, Any]]) -> list[str]:
    return [
        "| library | model | blockers | first | far pixels | analysis |",
        "|---|---|---|---|---|---|",
        *(_blocked_row(row) for row in rows),
    ]


def _blocked_row(row: dict[str, Any]) -> str:
    layer, op, reason = row["blockers"][0]
    cells = [
        row["library"],
        _name(row),
        str(len(row["blockers"])),
        f"`{layer or 'model'}`: {op.removeprefix('aten.')}: {_cell(reason)}{_converted(row)}",
        _far(row["far"], layer),
        f"{row['analysis_processor_seconds']:.1f} s",
    ]
    return f"| {' | '.join(cells)} |"


def _converted(row: dict[str, Any]) -> str:
    """What became of a classifier."""
    found = row.get("converted")
    if found is None:
        return ""
    if not found["local"]:
        return f" (not convertible: {_cell(found['error'])})"
    return (
        f" (converted for patches of {found['patch']} px it is local, stride "
        f"{_pair(found['stride'])}, and equals the classifier to {found['difference']:.0e})"
    )


def _far(far: dict[str, Any], first: str) -> str:
    """What the far pixels did."""
    if "error" in far:
        return f"**not confirmed**: {far['error']}"
    over = f"over {far['distance_px']} px"
    if far["confirmed"] is None:
        return f"**no change {over}: a rule is missing**"
    told = [f"the model changes by {far['model_change']:.0e} {over}"]
    changed = {name: change for name, change in far["layer_changes"].items() if change}
    if changed:
        name, change = next(iter(changed.items()))
        named = "it" if name == first else f"`{name}`"
        told = [f"{named} changes by {change:.0e}, the model by {far['model_change']:.0e} {over}"]
    told += _unchanged(far)
    return "; ".join(told)


def _unchanged(far: dict[str, Any]) -> list[str]:
    """Of layers that do not feel the far end: how far they reach, or that a rule is missing."""
    rows = far["size"][0]
    told = []
    for name, (near, farther) in far.get("layer_reaches", {}).items():
        if farther is None:
            told.append(f"`{name}` does not, and the model takes no image twice as long")
        elif farther > near:
            told.append(f"`{name}` reaches {near} px of {rows} and {farther} of {2 * rows}")
        else:
            told.append(f"`{name}` reaches {near} px of any image: **its rule is missing**")
    return told


def _broken_table(rows: list[dict[str, Any]]) -> list[str]:
    return [
        "",
        "## Not analysed, or not compared",
        "",
        "| library | model | why |",
        "|---|---|---|",
        *(
            f"| {row['library']} | {_name(row)} | {_cell(row.get('failed') or row['error'])} |"
            for row in rows
        ),
    ]


def passes(row: dict[str, Any]) -> bool:
    """Whether a local row meets both bounds and its needs suffice and are minimal."""
    bounds = all(
        math.isfinite(run["largest"]) and fp64_within(run) and fp32_within(run)
        for run in row["runs"]
    )
    return bounds and all(
        axis["sufficient"] and axis["minimal"] and axis["sides_tried"] == 2
        for axis in row["poison"]
    )


def _poison(row: dict[str, Any]) -> str:
    sufficient = all(p["sufficient"] for p in row["poison"])
    minimal = all(p["minimal"] for p in row["poison"])
    sides = sum(p["sides_tried"] for p in row["poison"])
    tried = "" if sides == 4 else f" ({sides} of 4 sides)"
    return f"{'yes' if sufficient else '**no**'}, {'yes' if minimal else '**no**'}{tried}"


def _name(row: dict[str, Any]) -> str:
    return f"{row['architecture']} · {row['variant']}" if row["variant"] else row["architecture"]


def _pair(values: list[Any]) -> str:
    return str(values[0]) if values[0] == values[1] else f"{values[0]} x {values[1]}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
