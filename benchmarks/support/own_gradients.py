"""Explanations by a module's own autograd, called directly and an image at a time; nothing here is the engine's.

Gradients are those of the first of two equal rows: of one alone torch's own are wrong on CPUs behind an evaluating
batch norm in one layout of memory.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn


def outputs_of(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Outputs ``(batch, classes)``."""
    with torch.no_grad():
        return torch.cat([module(image.clone()) for image in torch.split(images, 1)])


def gradients(module: nn.Module, point: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
    """Those of some outputs ``(k, channels, height, width)``, by a backward pass each."""
    point = point.clone().requires_grad_()
    outputs = module(_twice(point))[0]
    return torch.stack([torch.autograd.grad(outputs[one], point, retain_graph=True)[0] for one in classes])


def _twice(point: torch.Tensor) -> torch.Tensor:
    # A copy, for a first layer in place overwrites what it is given.
    return torch.stack([point, point.detach()])


def gauss_legendre(
    module: nn.Module, image: torch.Tensor, baseline: torch.Tensor, target: int, n_nodes: int
) -> torch.Tensor:
    """Integrated gradients ``(channels, height, width)``."""
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    total, way = torch.zeros_like(image), image - baseline
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        total += weight * way * gradients(module, baseline + node * way, [target])[0]
    return total


def effects(module: nn.Module, image: torch.Tensor, n_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Importance and individual effects ``(channels, height, width)``, by their definition."""
    rows = gradients(module, image, range(n_classes)) * image
    centred = rows - rows.mean(0)
    return (centred * centred.sum((1, 2, 3), keepdim=True)).sum(0), centred.square().sum(0)


def path_scores(
    module: nn.Module, image: torch.Tensor, baseline: torch.Tensor, target: int, n_nodes: int
) -> dict[str, torch.Tensor]:
    """Trapezoid sums over the path: of the image, as ``input``, whole; of modules that are called once by channel."""
    total: dict[str, torch.Tensor] = {}
    before: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for node in torch.linspace(0, 1, n_nodes, dtype=torch.float64):
        now = _values_and_gradients(module, baseline + node * (image - baseline), target)
        for path in before.keys() & now.keys():
            (value, slope), (next_value, next_slope) = before[path], now[path]
            part = (slope + next_slope) / 2 * (next_value - value)
            total[path] = total.get(path, 0) + (part if path == "input" else part.reshape(len(part), -1).sum(1))
        before = now
    return total


def _values_and_gradients(
    module: nn.Module, point: torch.Tensor, target: int
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    point = point.clone().requires_grad_()
    with _observed(module) as seen:
        output = module(_twice(point))[0, target]
    once = {path: calls[0] for path, calls in seen.items() if len(calls) == 1 and calls[0].requires_grad}
    values = {path: value for path, value in once.items() if value.shape[:1] == (2,)}
    slopes = torch.autograd.grad(output, [point, *values.values()], materialize_grads=True)
    found = {
        path: (value[0].detach(), slope[0]) for (path, value), slope in zip(values.items(), slopes[1:], strict=True)
    }
    return {"input": (point.detach(), slopes[0]), **found}


@contextlib.contextmanager
def _observed(module: nn.Module) -> Iterator[dict[str, list[torch.Tensor]]]:
    """Values of all calls of modules without children, by path; clones that in-place operations do not reach."""
    seen: dict[str, list[torch.Tensor]] = defaultdict(list)

    def keep(path: str, _part: nn.Module, _arguments: Any, output: Any) -> torch.Tensor | None:
        if not isinstance(output, torch.Tensor):
            return None
        seen[path].append(output.clone())
        return seen[path][-1].clone()

    leaves = [(path, part) for path, part in module.named_modules() if not list(part.children())]
    hooks = [part.register_forward_hook(partial(keep, path)) for path, part in leaves]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
