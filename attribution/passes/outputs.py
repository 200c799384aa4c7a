"""What a network says of images, in chunks that fit into memory."""

import torch

from attribution.networks.network import Network
from attribution.passes.chunks import Chunks


def predicted(network: Network, inputs: torch.Tensor, chunk_size: int | None = None) -> torch.Tensor:
    """Returns the raw outputs ``(batch, classes)`` of images, detached.

    Args:
        network: Whose outputs.
        inputs: Normalised images ``(batch, channels, height, width)``.
        chunk_size: Images at once; all of them unless told, halved when memory runs out.

    Raises:
        OutOfMemory: A single image does not fit into memory.

    Cost:
        One forward pass an image.
    """  # noqa: DOC502 - the chunks raise
    parts: list[torch.Tensor] = []
    with torch.no_grad():
        chunks = Chunks(len(inputs) if chunk_size is None else chunk_size, len(inputs))
        chunks.run(len(inputs), lambda start, stop: parts.append(network.logits(inputs[start:stop])))
    return torch.cat(parts)
