"""Maps made of an image and its gradient, of the image itself or over noisy copies."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from attribution.checks import require_finite
from attribution.networks.network import Network, require_network
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk, input_gradients
from attribution.passes.smoothing import Smooth, require_smooth, smoothed
from attribution.passes.tangents import Function
from attribution.targets import require_classes, targets_of

#: Takes images ``(batch, 1, *features)`` and gradients ``(batch, k, *features)``, and returns maps like the gradients.
MapOf = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class GradientMaps(NamedTuple):
    """``maps`` and their ``standard_error`` ``(batch, k, *features)``, noisy copies, and images at once."""

    maps: torch.Tensor
    standard_error: torch.Tensor | None
    n_draws: int
    chunk_size: int


def gradient_maps(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    map_of: MapOf,
    *,
    against: torch.Tensor | None,
    smooth: Smooth | None,
    chunk_size: int | None,
    progress: Progress | None,
    outputs: Callable[[], Function] | None = None,
) -> GradientMaps:
    """Returns the maps; for a target ``(batch,)`` without the axis ``k``.

    ``outputs`` may make a pass that takes the place of the network's own, with other slopes.

    Cost:
        One forward and k backward passes an image and noisy copy.
    """
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    copies = require_smooth(smooth)
    # Gradients need ordinary tensors, also where the caller is in inference mode.
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.require_gradients(inputs))
        function = network if outputs is None else outputs()
        size = default_chunk(network, inputs) if chunk_size is None else chunk_size
        chunks = Chunks(size, copies * len(inputs), progress)

        def maps_of(images: torch.Tensor) -> torch.Tensor:
            return map_of(images.unsqueeze(1), input_gradients(function, images, targets, chunks))

        found = smoothed(maps_of, inputs, smooth)
    require_finite("gradients", found.maps)
    maps, error = found.maps, found.standard_error
    if target.dim() == 1:
        maps, error = maps[:, 0], None if error is None else error[:, 0]
    return GradientMaps(maps, error, found.n_draws, chunks.size)
