"""Maps that are judged."""

import torch

from attribution.checks import require_images
from attribution.errors import InvalidInput


def require_maps(maps: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Returns maps of these images, detached.

    Raises:
        InvalidInput: Maps of another size, or not finite.
    """
    require_images(maps, "maps", None, inputs.device)
    batch, channels, height, width = inputs.shape
    if maps.shape[0] != batch or maps.shape[1] not in (1, channels) or maps.shape[2:] != inputs.shape[2:]:
        raise InvalidInput(
            f"maps has shape {tuple(maps.shape)}, expected ({batch}, {channels} or 1, {height}, {width}); make them of"
            " these inputs"
        )
    return maps.detach()
