"""Batch normalisation with stored statistics as what it is: a scale and a shift of each channel.

torch's own backward pass of it on a CPU is wrong for a single row whose gradient has the channels last while the
values do not (torch 2.14); written as a scale and a shift, every layout and both modes of differentiation are right.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def batch_norm(
    input: torch.Tensor,  # noqa: A002 - the names of torch.nn.functional.batch_norm, for callers by keyword
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """Returns what torch's function of that name does, with stored statistics as a scale and a shift.

    >>> images = torch.tensor([[[[3.0]]]])
    >>> batch_norm(images, torch.ones(1), torch.full((1,), 4.0), eps=0.0).tolist()
    [[[[1.0]]]]
    """
    if training or running_mean is None or running_var is None:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    scale = (running_var + eps).rsqrt()
    scale = scale if weight is None else weight * scale
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    shape = (-1, *[1] * (input.dim() - 2))
    wide = torch.promote_types(input.dtype, scale.dtype)
    shift, scale = shift.view(shape).to(wide), scale.view(shape).to(wide)
    return torch.addcmul(shift, input.to(wide), scale).to(input.dtype)


def _aten(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,  # noqa: ARG001 - torch's signature
) -> torch.Tensor:
    return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


_aten.__name__ = "batch_norm"
_FUNCTIONS: dict[Any, Callable[..., torch.Tensor]] = {
    functional.batch_norm: batch_norm,
    torch.batch_norm: _aten,
    torch.ops.aten.batch_norm.default: _aten,
}


class StoredStatistics(TorchFunctionMode):
    """Lets every batch normalisation that torch computes inside be a scale and a shift, for modules without a graph."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - torch's signature
        """Returns what a function gives, or what takes its place."""
        function: Callable[..., Any] = _FUNCTIONS.get(func, func)
        return function(*args, **(kwargs or {}))


def rewrite_batch_norms(graph_module: fx.GraphModule) -> None:
    """Makes batch normalisations of a graph with stored statistics scales and shifts, under the same names."""
    for module in graph_module.modules():
        if type(module) in _KINDS and module.running_mean is not None:
            kind = type(module)
            module.__class__ = type(kind.__name__, (kind,), {"forward": _forward, "__module__": kind.__module__})
    for node in graph_module.graph.nodes:
        if node.op == "call_function" and node.target in _FUNCTIONS:
            node.target = _FUNCTIONS[node.target]
    graph_module.recompile()


def _forward(self: nn.BatchNorm2d, inputs: torch.Tensor) -> torch.Tensor:
    return batch_norm(inputs, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
