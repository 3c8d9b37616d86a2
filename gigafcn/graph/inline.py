"""Take ops out of the wrappers that torch puts around ``no_grad`` and disabled autocast blocks.

Neither changes what is computed here.  Autocast that is enabled computes in another precision, so
its wrapper stays and blocks.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

import torch
from torch._higher_order_ops.wrap import wrap_with_autocast, wrap_with_set_grad_enabled

if TYPE_CHECKING:
    from collections.abc import Sequence


def inline_wrappers(module: torch.fx.GraphModule) -> None:
    """Replace harmless wrappers in an exported module by their ops, nested ones too."""
    for node in list(module.graph.nodes):
        operands = _operands(node)
        if operands is None:
            continue
        inner = getattr(module, str(operands[0].target))
        inline_wrappers(inner)
        _inline(module.graph, node, inner.graph, operands[1:])


def _operands(node: torch.fx.Node) -> list[torch.fx.Node] | None:
    """The wrapped module and its inputs; None for anything but a harmless wrapper."""
    if node.target is wrap_with_set_grad_enabled:
        found = node.args[1:]
    elif node.target is wrap_with_autocast and node.args[2] is False:
        found = node.args[4:]
    else:
        return None
    nodes = [argument for argument in found if isinstance(argument, torch.fx.Node)]
    return nodes if len(nodes) == len(found) and not node.kwargs else None


def _inline(
    graph: torch.fx.Graph,
    call: torch.fx.Node,
    inner: torch.fx.Graph,
    operands: Sequence[torch.fx.Node],
) -> None:
    """Copy the inner nodes before the call and hand its results to the call's readers."""
    copies: dict[torch.fx.Node, torch.fx.Node] = {}
    inputs = iter(operands)
    with graph.inserting_before(call):
        for node in inner.nodes:
            if node.op == "placeholder":
                copies[node] = next(inputs)
            elif node.op != "output":
                copies[node] = graph.node_copy(node, copies.__getitem__)
    results = next(node.args[0] for node in inner.nodes if node.op == "output")
    assert isinstance(results, tuple | list)
    for reader in list(call.users):
        assert reader.target is operator.getitem
        result = results[reader.args[1]]  # type: ignore[index]
        assert isinstance(result, torch.fx.Node)
        reader.replace_all_uses_with(copies[result])
        graph.erase_node(reader)
    graph.erase_node(call)
