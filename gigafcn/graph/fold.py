"""Fold the multiply-add of a norm into the convolution before it, in double precision."""

from __future__ import annotations

from dataclasses import replace

import torch

from gigafcn.graph.model_graph import ModelGraph, Node
from gigafcn.graph.rules.pointwise import ScaleShift
from gigafcn.graph.rules.window import Convolution, TransposedConvolution


def fold_norms(graph: ModelGraph) -> ModelGraph:
    """Graph in which a convolution read only by a norm carries that norm in its weights.

    The folded weights are double; rounding to the computing precision happens once, when the
    graph is placed on a device.
    """
    nodes = list(graph.nodes)
    redirect: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        if not isinstance(node.rule, ScaleShift):
            continue
        source = node.inputs[0]
        if graph.consumers[source] == (index,) and source != graph.output:
            folded = _folded(nodes[source], node.rule)
            if folded is not None:
                nodes[source] = folded
                redirect[index] = source
    return _without(nodes, redirect, graph)


def _folded(node: Node, norm: ScaleShift) -> Node | None:
    rule = node.rule
    scale = norm.scale.double().flatten()
    if isinstance(rule, Convolution):
        weight = rule.weight.double() * scale.view(-1, 1, 1, 1)
    elif isinstance(rule, TransposedConvolution):
        # (c_in, c_out / groups, ...): output channel g * (c_out / groups) + j is row block g.
        per_group = scale.view(rule.groups, 1, -1)
        grouped = rule.weight.double().view(rule.groups, -1, *rule.weight.shape[1:])
        weight = (grouped * per_group[..., None, None]).view(rule.weight.shape)
    else:
        return None
    bias = torch.zeros_like(scale) if rule.bias is None else rule.bias.double()
    shift = bias * scale + norm.shift.double().flatten()
    return replace(node, rule=replace(rule, weight=weight, bias=shift))


def _without(nodes: list[Node], redirect: dict[int, int], graph: ModelGraph) -> ModelGraph:
    """Drop the redirected nodes and renumber the rest."""
    kept = [index for index in range(len(nodes)) if index not in redirect]
    position = {old: new for new, old in enumerate(kept)}
    position.update({old: position[new] for old, new in redirect.items()})
    result = tuple(
        replace(nodes[i], inputs=tuple(position[s] for s in nodes[i].inputs)) for i in kept
    )
    return ModelGraph(result, position[graph.output], graph.size)
