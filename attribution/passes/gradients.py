"""Values and gradients of several explained numbers at a batch of points."""

from typing import NamedTuple

import torch

from attribution.memory import fitted_chunk
from attribution.networks.network import Network
from attribution.passes.chunks import Chunks
from attribution.passes.tangents import Function
from attribution.targets import Targets


class Gradients(NamedTuple):
    """``values`` ``(n, k)``, the explained numbers, and ``gradients`` ``(n, k, *features)`` at n points."""

    values: torch.Tensor
    gradients: torch.Tensor


def target_gradients(outputs: Function, points: torch.Tensor, target: Targets) -> Gradients:
    """Returns the explained numbers and their gradients with respect to the points.

    Args:
        outputs: The network, or a pass through it with other slopes.
        points: ``(n, *features)``.
        target: What is explained of them.

    Cost:
        One forward and k backward passes of n points; parameters take no part.
    """
    with torch.enable_grad():
        points = laid_out(points.detach()).requires_grad_()
        values = target.of(outputs(points))
        k = target.k
        # Rows do not meet in evaluation mode, so the gradient of the sum holds each row's own.
        rows = [
            torch.autograd.grad(values[:, j].sum(), points, retain_graph=j < k - 1)[0].contiguous() for j in range(k)
        ]
    return Gradients(values.detach(), torch.stack(rows, dim=1))


def input_gradients(outputs: Function, inputs: torch.Tensor, targets: Targets, chunks: Chunks) -> torch.Tensor:
    """Returns the gradients ``(batch, k, *features)`` of what is explained of images, chunk by chunk.

    Cost:
        One forward and k backward passes an image.
    """
    parts: list[torch.Tensor] = []

    def work(start: int, stop: int) -> None:
        parts.append(target_gradients(outputs, inputs[start:stop], targets.rows(slice(start, stop))).gradients)

    chunks.run(len(inputs), work)
    return torch.cat(parts)


def default_chunk(network: Network, inputs: torch.Tensor) -> int:
    """Returns how many points to run at once, from the shapes of the layers, or a guess where there is no graph."""
    network.class_count(inputs)
    sizes = [torch.Size(layer.shape).numel() for layer in network.layers if layer.shape is not None]
    values = sum(sizes) if sizes else 64 * inputs[0].numel()
    return fitted_chunk(values * inputs.element_size(), inputs.device)


def laid_out(points: torch.Tensor) -> torch.Tensor:
    """Returns the points with their channels last in memory."""
    # Convolutions run about a third faster with the channels last, forward and backward.
    return points.contiguous(memory_format=torch.channels_last)
