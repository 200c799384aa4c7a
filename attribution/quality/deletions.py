"""Single deletions: what the output loses as one patch alone is replaced, and how far maps say so."""

from typing import NamedTuple

import torch

from attribution.checks import require_finite
from attribution.errors import InvalidInput
from attribution.networks.network import Network, require_network
from attribution.noise import Generators, row_noise
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk, laid_out
from attribution.paths.straight import stacked_baselines
from attribution.quality.maps import require_maps
from attribution.quality.patches import Grid, patch_labels
from attribution.quality.ranks import spearman
from attribution.targets import Targets, require_classes, targets_of

_ROUNDING = 64
"""Units in the last place of the largest output that sums in another order may be apart."""


class PatchFalls(NamedTuple):
    """What the explained outputs lose as each patch alone is replaced.

    Attributes:
        falls: ``(batch, k, rows, columns)``, float64, in units of what is explained; 0 where rounding alone moves it.
        outputs: ``(batch, k)``, of the whole images.
        chunk_size: Points evaluated at once, after any halving.
    """

    falls: torch.Tensor
    outputs: torch.Tensor
    chunk_size: int


class _Items(NamedTuple):
    """Images with one patch replaced, or, as the last of each image, none."""

    image: torch.Tensor
    patch: torch.Tensor


def patch_falls(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor | Targets,
    *,
    against: torch.Tensor | None = None,
    grid: Grid = (7, 7),
    baseline: torch.Tensor | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> PatchFalls:
    r"""Replaces one patch of each image after another, and tells what is explained falls by.

    .. math:: d_g = f(x) - f(x_g)

    where :math:`x_g` is the image with the baseline in patch g of a grid. One set of passes serves all explained
    outputs, and any number of maps of them. Sides that the grid does not divide make patches that differ by a pixel.

    Args:
        network: Whose outputs are followed; its ``output`` says in which unit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)`` or ``(batch, k)``.
        against: What each class is held against: a class, int64 like ``target``, or weights over the classes.
        grid: Patches down and across; see :func:`~attribution.quality.patches.patch_labels`.
        baseline: What takes a patch's place, ``(1 | batch, channels, height, width)``; zero (in normalised space)
            unless told.
        chunk_size: Points at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with points done and in all; may raise to cancel.

    Returns:
        The falls of each image and explained output.

    Raises:
        InvalidInput: Inputs or baseline do not fit each other.
        InvalidTarget: Not one row of existing classes an image.
        InvalidOption: A grid finer than the images.
        NetworkError: Outputs on the way are not finite.
        OutOfMemory: A single point does not fit into memory.

    Cost:
        ``rows * columns + 1`` forward passes an image.

    Guarantee:
        Exact to rounding, about images that no camera took: a replaced patch is evidence too.

    Source:
        Hesse, Schaub-Meyer & Roth 2024, "Benchmarking the Attribution Quality of Vision Models" (arXiv 2407.11910),
        the single-deletion protocol; there the network is fine-tuned on images with patches deleted first, here it is
        explained as it is.

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, -1.0, 0.0, 0.0]]))
    >>> image = torch.ones(1, 1, 1, 4)
    >>> patch_falls(Network(linear), image, torch.tensor([[0, 1]]), grid=(1, 2)).falls.tolist()
    [[[[3.0, 7.0]], [[-1.0, 0.0]]]]
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    labels = patch_labels(inputs, grid)
    start = torch.zeros_like(inputs[:1]) if baseline is None else baseline
    start = stacked_baselines(network, inputs, start, None)[0].expand_as(inputs)
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.class_count(inputs))
        size = default_chunk(network, inputs) if chunk_size is None else chunk_size
        items = _items(len(inputs), grid[0] * grid[1], inputs.device)
        chunks = Chunks(size, len(items.image), progress)
        parts: list[torch.Tensor] = []

        def work(first: int, last: int) -> None:
            image, patch = items.image[first:last], items.patch[first:last]
            gone = (labels == patch.view(-1, 1, 1)).unsqueeze(1)
            outputs = network(laid_out(torch.where(gone, start[image], inputs[image])))
            parts.append(torch.cat([targets.rows(image).of(outputs.double()), _rounding(outputs)], dim=1))

        chunks.run(len(items.image), work)
        found = torch.cat(parts).view(len(inputs), -1, targets.k + 1)
        before, after = found[:, -1, : targets.k], found[:, :-1, : targets.k]
        falls = (before.unsqueeze(1) - after).transpose(1, 2)
        require_finite("outputs with a patch replaced", falls)
        falls = falls.masked_fill(falls.abs() <= found[:, -1, -1].view(-1, 1, 1), 0)
        return PatchFalls(falls.reshape(*falls.shape[:2], *grid), before, chunks.size)


def patch_sums(maps: torch.Tensor, inputs: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Returns what maps say of each patch: the sums of their values in it, float64 ``(batch, rows, columns)``.

    Args:
        maps: ``(batch, channels or 1, height, width)``, any unit.
        inputs: The images that they are of.
        grid: Patches down and across.

    Raises:
        InvalidInput: Maps that are not of these inputs, or not finite.
        InvalidOption: A grid finer than the images.

    >>> image = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    >>> patch_sums(image, image, (1, 2)).tolist()
    [[[1.0, 5.0]]]
    """  # noqa: DOC502 - the checks that it calls raise them
    plane = require_maps(maps, inputs).sum(1, dtype=torch.float64).flatten(1)
    labels = patch_labels(inputs, grid).flatten().expand_as(plane)
    sums = plane.new_zeros(len(plane), grid[0] * grid[1]).scatter_add_(1, labels, plane)
    return sums.view(-1, *grid)


def noise_maps(inputs: torch.Tensor, generator: Generators) -> torch.Tensor:
    """Returns maps ``(batch, 1, height, width)`` of Gaussian noise, to compare others with.

    Its mean is zero: sums of noise with another would follow the sizes of patches.
    """
    return row_noise(torch.randn, inputs[:, :1], generator)


def rank_correlation(sums: torch.Tensor, falls: torch.Tensor) -> torch.Tensor:
    """Returns Spearman's rank correlation of what a map says of patches and what their deletion does.

    Equal values share the mean of their ranks.

    Args:
        sums: ``(..., rows, columns)``.
        falls: The same shape.

    Returns:
        ``(...)``, from -1 to 1; NaN where all sums or all falls are equal.

    Raises:
        InvalidInput: Shapes differ.

    Cost:
        No pass.

    Source:
        Hesse, Schaub-Meyer & Roth 2024 (arXiv 2407.11910).

    >>> falls = torch.tensor([[3.0, 1.0, 0.0]])
    >>> rank_correlation(torch.tensor([[9.0, 2.0, 1.0]]), falls).item()
    1.0
    """  # noqa: DOC502 - the check that it calls raises it
    return spearman(*_flat(sums, falls))


def saco(sums: torch.Tensor, falls: torch.Tensor) -> torch.Tensor:
    r"""Returns the salience-guided faithfulness coefficient of what a map says of patches.

    .. math:: F = \frac{\sum_{s_i \ge s_j} \pm (s_i - s_j)}{\sum_{s_i \ge s_j} |s_i - s_j|}

    over pairs of patches, with plus where the fall of i is no less than that of j: how far apart two patches are in
    the map counts, not only their order. In the paper the groups of pixels that are compared are made from each map,
    pixels of alike salience together; here they are patches of a grid, so that all maps are judged by the same falls.

    Args:
        sums: ``(..., rows, columns)``, the salience s of each patch.
        falls: The same shape.

    Returns:
        ``(...)``, from -1 to 1; NaN where all sums or all falls are equal.

    Raises:
        InvalidInput: Shapes differ.

    Cost:
        No pass; pairs of patches are compared.

    Source:
        Wu, Kang, Tang, Hong & Yan 2024, "On the Faithfulness of Vision Transformer Explanations" (arXiv 2404.01415),
        algorithm 1.

    >>> falls = torch.tensor([[3.0, 1.0, 0.0]])
    >>> saco(torch.tensor([[2.0, 1.0, 2.0]]), falls).item()
    0.0
    """  # noqa: DOC502 - the check that it calls raises it
    salience, fallen = _flat(sums, falls)
    apart = (salience.unsqueeze(-1) - salience.unsqueeze(-2)).clamp(min=0)
    signs = torch.where(fallen.unsqueeze(-1) >= fallen.unsqueeze(-2), 1.0, -1.0).to(apart)
    found = (apart * signs).sum((-2, -1)) / apart.sum((-2, -1))
    return found.masked_fill(fallen.amax(-1) == fallen.amin(-1), torch.nan)


def _items(batch: int, patches: int, device: torch.device) -> _Items:
    image = torch.arange(batch, device=device).repeat_interleave(patches + 1)
    patch = torch.arange(patches + 1, device=device)
    return _Items(image, patch.masked_fill(patch == patches, -1).repeat(batch))


def _rounding(outputs: torch.Tensor) -> torch.Tensor:
    """Returns what rounding alone may move an output by, float64 ``(n, 1)``."""
    largest = outputs.masked_fill(~outputs.isfinite(), 0).abs().amax(1, keepdim=True)
    return _ROUNDING * torch.finfo(outputs.dtype).eps * largest.double()


def _flat(sums: torch.Tensor, falls: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if sums.shape != falls.shape or sums.dim() < 2:
        raise InvalidInput(
            f"sums {tuple(sums.shape)} and falls {tuple(falls.shape)}, expected the same (..., rows, columns) of both"
        )
    return sums.double().flatten(-2), falls.double().flatten(-2)
