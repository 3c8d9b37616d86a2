"""``gigafcn evaluate``: how well a map agrees with the truth."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gigafcn.cli.reporting import bar_progress, say, say_json, show_table
from gigafcn.cli.requests import Debug, Json

if TYPE_CHECKING:
    from gigafcn.evaluate import Evaluation

Once = Annotated[bool, Parameter(negative="", show_default=False)]


def evaluate(  # noqa: PLR0913 - each parameter is a flag
    out: Path,
    truth: str,
    /,
    *,
    ignore: Annotated[
        tuple[int, ...], Parameter(metavar="LABEL", negative="", n_tokens=1, show_default=False)
    ] = (),
    boundary: Annotated[int | None, Parameter(metavar="PX", show_default=False)] = None,
    threshold: Annotated[float, Parameter(metavar="P")] = 0.5,
    plot: Annotated[Path | None, Parameter(metavar="FILE.png")] = None,
    overwrite: Once = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Score a map against a mask of class numbers.

    Prints accuracy, IU and Dice per class, then pixel accuracy, mean accuracy, mean IU and
    frequency-weighted IU. Map and mask are compared on the finer of their grids.

    Parameters
    ----------
    out
        A finished map.
    truth
        Mask: TIFF, PNG, Zarr, or an OME-Zarr with labels; of the size of the map or of the slide,
        or a whole number of times larger or smaller.
    ignore
        Value of the mask whose pixels are not scored; may be given more than once.
    boundary
        Also score outlines: boundary F1 with this tolerance in px.
    threshold
        For maps of one class: the least probability that means yes.
    plot
        Write the confusion matrix and the figures per class as a picture.
    overwrite
        Replace an earlier plot.
    json
        Write everything as one JSON object.
    debug
        Log more, and show the traceback of an error.
    """
    from gigafcn.evaluate import evaluate_map, write_plot  # loads zarr, matplotlib
    from gigafcn.evaluate.plot import check_plot

    if plot is not None:
        check_plot(plot, overwrite=overwrite)
    with bar_progress(out.name) as progress:
        found = evaluate_map(
            out,
            truth,
            ignore=ignore,
            threshold=threshold,
            boundary_px=boundary,
            progress=progress,
        )
    if plot is not None:
        title = f"{out.name} against {Path(truth).name}"
        write_plot(plot, found, title=title, overwrite=overwrite)
    if json:
        say_json("evaluate", map=out, truth=truth, plot=plot, **found.to_json())
        return
    show_evaluation(found)
    if plot is not None:
        say(f"plot: {plot}")


def show_evaluation(found: Evaluation) -> None:
    """Print a table of the classes, then the figures of the whole."""
    score = found.metrics
    columns = {"accuracy": score.accuracy, "IU": score.iu, "Dice": score.dice}
    if found.boundary_f1 is not None:
        columns["boundary F1"] = found.boundary_f1
    truth = [sum(row) for row in found.matrix]
    predicted = [sum(column) for column in zip(*found.matrix, strict=True)]
    rows = [
        (name, str(truth[i]), str(predicted[i]), *(_figure(v[i]) for v in columns.values()))
        for i, name in enumerate(found.classes)
    ]
    show_table(rows, ("class", "px in truth", "px predicted", *columns), numbers_from=1)
    show_table(whole_figures(found))


def whole_figures(found: Evaluation) -> list[tuple[str, str]]:
    """Figures of all classes together, as label and value."""
    score = found.metrics
    rows = [
        ("pixel accuracy", _figure(score.pixel_accuracy)),
        ("mean accuracy", _figure(score.mean_accuracy)),
        ("mean IU", _figure(score.mean_iu)),
        ("frequency-weighted IU", _figure(score.frequency_weighted_iu)),
    ]
    if found.mean_boundary_f1 is not None:
        rows.append(("mean boundary F1", _figure(found.mean_boundary_f1)))
    height, width = found.shape
    rows.append(("compared", f"{score.pixels} of {height * width} px"))
    if found.ignored:
        rows.append(("ignored", f"{found.ignored} px"))
    if found.not_computed:
        rows.append(("not computed", f"{found.not_computed} px"))
    if found.left_out_as_background:
        rows.append(("left out, scored as background", f"{found.left_out_as_background} px"))
    return rows


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
