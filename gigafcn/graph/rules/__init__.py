"""One rule per op: which inputs an output span depends on, and how to compute just that box.

One file per op family.  Importing this package registers them all.
"""

from gigafcn.graph.rules import (
    channels,
    elementwise,
    merge,
    norms,
    pointwise,
    products,
    reduce,
    regroup,
    resample,
    shape,
    taps,
    unpool,
    window,
)
from gigafcn.graph.rules.registry import (
    IMAGE_AXES,
    Axes,
    Blocked,
    Built,
    OpCall,
    Rule,
    Value,
    apart,
    build,
    place,
    register,
    registered,
    whole_shape,
)

__all__ = [
    "IMAGE_AXES",
    "Axes",
    "Blocked",
    "Built",
    "OpCall",
    "Rule",
    "Value",
    "apart",
    "build",
    "channels",
    "elementwise",
    "merge",
    "norms",
    "place",
    "pointwise",
    "products",
    "reduce",
    "register",
    "registered",
    "regroup",
    "resample",
    "shape",
    "taps",
    "unpool",
    "whole_shape",
    "window",
]
