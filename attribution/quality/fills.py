"""What takes the place of pixels that are gone."""

from collections.abc import Callable

import torch

from attribution.networks.network import Network
from attribution.paths.straight import stacked_baselines

Fill = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Of images by number, int64 ``(n,)``, and of which pixels of each are gone, bool ``(n, height, width)``: returns
``(n, channels, height, width)``, of which the pixels that are gone are read."""


def fill_of(network: Network, inputs: torch.Tensor, baseline: torch.Tensor | Fill | None) -> Fill:
    """Returns what fills pixels of these images: a baseline, zero (in normalised space) unless told, or a function.

    Raises:
        InvalidInput: A baseline that does not fit the inputs.
    """  # noqa: DOC502 - the check that it calls raises it
    if callable(baseline):
        return baseline
    start = torch.zeros_like(inputs[:1]) if baseline is None else baseline
    start = stacked_baselines(network, inputs, start, None)[0].expand_as(inputs)
    return lambda images, _: start[images]


def without(inputs: torch.Tensor, images: torch.Tensor, gone: torch.Tensor, fill: Fill) -> torch.Tensor:
    """Returns images by number with the pixels that are gone filled, ``(n, channels, height, width)``."""
    return torch.where(gone.unsqueeze(1), fill(images, gone), inputs[images])
