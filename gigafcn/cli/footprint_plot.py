"""``gigafcn inspect --plot``: from an analysed model to the numbers of its picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gigafcn.errors import NonLocalError

if TYPE_CHECKING:
    from gigafcn.analysis import Footprint


def plot_footprint(path: Path, name: str, footprint: Footprint | None) -> None:
    """Draw how the footprint of a model grows and what it costs.

    Raises
    ------
    NonLocalError
        If the model has no footprint to draw.
    UsageError
        If the place is taken or no PNG.
    RunError
        If the picture cannot be written.
    """
    from gigafcn.graph.growth import reaches  # loads torch
    from gigafcn.graph.reach import far_from_borders
    from gigafcn.graph.strides import node_strides
    from gigafcn.output.footprint_picture import (
        LayerReach,
        refuse_foreign,
        write_footprint_picture,
    )

    refuse_foreign(path)
    if footprint is None or footprint.graph is None:
        raise NonLocalError(
            f"model {name} cannot be tiled exactly, so there is no footprint to draw in {path}"
        )
    graph = far_from_borders(footprint.graph)
    rows, columns, strides = reaches(graph, 0), reaches(graph, 1), node_strides(graph, 0)
    layers = [
        LayerReach(
            layer=node.layer,
            op=node.op.removeprefix("aten.").split(".")[0],
            y=(y.before, y.after),
            x=(x.before, x.after),
            stride=float(stride),
        )
        for node, y, x, stride in zip(graph.nodes, rows, columns, strides, strict=True)
    ]
    keeps_size = footprint.lost == (0, 0)
    write_footprint_picture(
        path,
        layers,
        title=name,
        halo=footprint.halo if keeps_size else None,
        halo_aligned=footprint.halo_aligned,
    )
