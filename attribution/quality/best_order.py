"""The best order of patches that a greedy search finds, for the orders of maps to be held against."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from attribution.checks import require_finite
from attribution.errors import InvalidTarget
from attribution.networks.link import probabilities
from attribution.networks.network import Network, require_network
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk, laid_out
from attribution.quality.fills import Fill, fill_of, without
from attribution.quality.patches import Grid, patch_labels
from attribution.targets import require_classes, targets_of

_Prediction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Of images by number and of which patches of each have moved, bool ``(n, patches)``."""


class BestOrder(NamedTuple):
    """The order of the patches of each image.

    Attributes:
        places: ``(batch, rows, columns)`` int64, the place of each patch in the order, from 0.
        maps: ``(batch, 1, height, width)`` of the inputs' dtype, the same as a map: the first patch is the highest, the
            last is 1.
        chunk_size: Points evaluated at once, after any halving.
    """

    places: torch.Tensor
    maps: torch.Tensor
    chunk_size: int


def best_order(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    grid: Grid = (7, 7),
    baseline: torch.Tensor | Fill | None = None,
    insert: bool = False,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> BestOrder:
    r"""Takes patch after patch away, at each step the one whose loss takes most from the prediction.

    .. math:: g_t = \arg\min_{g \notin \{g_1 \dots g_{t-1}\}} p(x \text{ without } g_1 \dots g_{t-1}, g)

    and the last patch goes last. Of equal ones the upper left goes first. With ``insert`` all are gone at first, and
    the one comes next with which the prediction is highest.

    Args:
        network: Whose prediction is followed.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Class of each image, int64 ``(batch,)``.
        grid: Patches down and across; see :func:`~attribution.quality.patches.patch_labels`.
        baseline: What takes a patch's place, ``(1 | batch, channels, height, width)`` or a function of which pixels are
            gone; zero (in normalised space) unless told.
        insert: Bring patches back instead.
        chunk_size: Points at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with points done and in all; may raise to cancel.

    Returns:
        The order of each image's patches.

    Raises:
        InvalidInput: Inputs or baseline do not fit each other.
        InvalidTarget: Not one existing class an image.
        InvalidOption: A grid finer than the images.
        NetworkError: Predictions on the way are not finite.
        OutOfMemory: A single point does not fit into memory.

    Cost:
        With n patches ``n (n + 1) / 2 - 1`` forward passes an image: every remaining patch is tried at each step, but
        the last one.

    Guarantee:
        Heuristic: each step is the best single one after those before. Where patches add up in front of a monotone
        link it is the best order; in general another may be better, as where two patches say the same.

    Source:
        The greedy search over patches; no paper is followed.

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 2, bias=False))
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 0.0]]))
    >>> image = torch.ones(1, 1, 1, 3)
    >>> best_order(Network(linear), image, torch.tensor([0]), grid=(1, 3)).places.tolist()
    [[[2, 0, 1]]]
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    if not isinstance(target, torch.Tensor) or target.dim() != 1:
        raise InvalidTarget("target: expected one class an image, int64 (batch,)")
    targets = targets_of(target, None, len(inputs), inputs.device)
    labels, fill = patch_labels(inputs, grid), fill_of(network, inputs, baseline)
    n_patches = grid[0] * grid[1]
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.class_count(inputs))
        size = default_chunk(network, inputs) if chunk_size is None else chunk_size
        chunks = Chunks(size, len(inputs) * (n_patches * (n_patches + 1) // 2 - 1), progress)

        def prediction(images: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
            gone = moved[:, labels] ^ insert
            logits = network.logits(laid_out(without(inputs, images, gone, fill))).double()
            return probabilities(logits, network.link).gather(1, targets.classes[images]).squeeze(1)

        places = _places(len(inputs), n_patches, prediction, chunks, inputs.device, highest=insert)
    maps = (n_patches - places)[:, labels].unsqueeze(1).to(inputs)
    return BestOrder(places.view(-1, *grid), maps, chunks.size)


def _places(
    batch: int,
    n_patches: int,
    prediction: _Prediction,
    chunks: Chunks,
    device: torch.device,
    *,
    highest: bool,
) -> torch.Tensor:
    """Returns each patch's place in the order, ``(batch, n_patches)``; one that has not moved has the last."""
    places = torch.full((batch, n_patches), n_patches - 1, device=device)
    own = torch.arange(n_patches, device=device)
    for step in range(n_patches - 1):
        waits = places == n_patches - 1
        images, patches = waits.nonzero(as_tuple=True)
        moved = ~waits[images] | (own == patches.unsqueeze(1))
        found = _run(chunks, prediction, images, moved).view(batch, -1)
        require_finite("predictions with patches replaced", found)
        first = found.argsort(dim=1, descending=highest, stable=True)[:, :1]
        places.scatter_(1, patches.view(batch, -1).gather(1, first), step)
    return places


def _run(
    chunks: Chunks,
    prediction: _Prediction,
    images: torch.Tensor,
    moved: torch.Tensor,
) -> torch.Tensor:
    parts: list[torch.Tensor] = []
    chunks.run(len(images), lambda start, stop: parts.append(prediction(images[start:stop], moved[start:stop])))
    return torch.cat(parts)
