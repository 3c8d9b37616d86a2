"""Copies of a module on which it may run, or be traced, while the user's own stays as it is.

What ``forward`` writes, and what ``torch.export`` leaves of it, is written into the copy.
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from collections.abc import Iterator


log = logging.getLogger(__name__)


def own_copy(module: nn.Module) -> nn.Module:
    """A copy with weights of its own.

    Tensors that were computed from weights, such as the weight of ``weight_norm``, are copied too,
    which ``copy.deepcopy`` alone refuses.

    Raises
    ------
    Exception
        Of any kind, if a part of the module cannot be copied.
    """
    computed = {
        id(tensor): tensor.detach().clone() for tensor in _tensors(module) if not tensor.is_leaf
    }
    return copy.deepcopy(module, computed)


def copy_to_run(module: nn.Module) -> nn.Module:
    """A copy with weights of its own, or the module itself if a part of it cannot be copied.

    What wraps another runtime need not know how to be copied.
    """
    try:
        return own_copy(module)
    except Exception as error:  # the user's own code may raise anything
        log.debug("the module is run itself: %s: %s", type(error).__name__, error)
        return module


def sharing_copy(module: nn.Module) -> nn.Module:
    """A copy whose tensors share the memory of the module's: for tracing, which computes nothing.

    Raises
    ------
    Exception
        Of any kind, if a part of the module cannot be copied.
    """
    return copy.deepcopy(module, {id(t): _sharing(t) for t in _tensors(module) if not is_lazy(t)})


def _sharing(tensor: Tensor) -> Tensor:
    same = tensor.detach()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(same, requires_grad=tensor.requires_grad)
    return same


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers and tensors that are plain attributes."""
    yield from module.parameters()
    yield from module.buffers()
    for part in module.modules():
        for leaf in pytree.tree_leaves(list(vars(part).values())):
            if isinstance(leaf, Tensor):
                yield leaf


def plain_attributes(part: nn.Module) -> dict[str, Any]:
    """What a module keeps beside what every module has, and its mode."""
    every = vars(nn.Module()).keys() - {"training"}
    return {name: value for name, value in vars(part).items() if name not in every}
