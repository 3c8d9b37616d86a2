"""One rule per op: which inputs an output span depends on, and how to compute just that box.

One file per op family.  Importing this package registers them all.
"""

from gigafcn.graph.rules import merge, pointwise, reduce, regroup, resample, shape, window
from gigafcn.graph.rules.registry import (
    IMAGE_AXES,
    Axes,
    Blocked,
    Built,
    OpCall,
    Rule,
    Value,
    build,
    place,
    register,
    registered,
)

__all__ = [
    "IMAGE_AXES",
    "Axes",
    "Blocked",
    "Built",
    "OpCall",
    "Rule",
    "Value",
    "build",
    "merge",
    "place",
    "pointwise",
    "reduce",
    "register",
    "registered",
    "regroup",
    "resample",
    "shape",
    "window",
]
