"""Passes over a data set that comes in batches of images and labels."""

from collections.abc import Callable, Iterable

import torch

from attribution.checks import require_labels
from attribution.errors import InvalidInput
from attribution.networks.network import Network
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk, laid_out

#: Pairs of normalised images ``(n, channels, height, width)`` and their classes, int64 ``(n,)``.
Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


def over_batches(
    network: Network,
    batches: Batches,
    work: Callable[[torch.Tensor, torch.Tensor], None],
    *,
    n_images: int | None,
    chunk_size: int | None,
    progress: Progress | None,
) -> None:
    """Calls ``work(inputs, labels)`` for parts of every batch, on the network's device and with the channels last.

    Work that runs out of memory is called again with half as many images, so it must change nothing before it is
    certain to end.

    Raises:
        InvalidInput: There are no batches, or what they hold does not fit the network.
    """
    chunks: Chunks | None = None
    for inputs, labels in batches:
        images, classes = _checked(network, inputs, labels)
        if chunks is None:
            size = default_chunk(network, images) if chunk_size is None else chunk_size
            chunks = Chunks(size, n_images or 0, progress)
        chunks.run(len(images), _on_part(work, images, classes))
    if chunks is None:
        raise InvalidInput("batches is empty, expected pairs of images and labels; an iterator can be used only once")


def _checked(network: Network, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    device = network.device or inputs.device
    images = network.require_images(inputs.to(device, non_blocking=True))
    require_labels(labels, len(images), network.class_count(images))
    return images, labels.to(device, non_blocking=True)


def _on_part(
    work: Callable[[torch.Tensor, torch.Tensor], None], images: torch.Tensor, classes: torch.Tensor
) -> Callable[[int, int], None]:
    return lambda start, stop: work(laid_out(images[start:stop]), classes[start:stop])
