"""RISE: what the output is on average where a pixel is shown, by random masks and outputs alone."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from attribution.checks import require_count, require_finite, require_number
from attribution.confidence import student_interval
from attribution.errors import InvalidOption
from attribution.networks.network import Network, require_network
from attribution.noise import Generators
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk, laid_out
from attribution.passes.masks import Masks, random_masks
from attribution.paths.straight import stacked_baselines
from attribution.targets import Targets, require_classes, targets_of

#: Values of masks that are made at once where they are put together.
_BLOCK = 2**22


class Rise(NamedTuple):
    """``maps`` of each pixel in units of the output, and their error figures.

    For a target ``(batch,)`` the axis ``k`` is missing everywhere.

    Attributes:
        maps: ``(batch, k, 1, height, width)``, the inputs' dtype.
        standard_error: Like ``maps``.
        mean: ``(batch, k)``, float64: the mean over the image of the outputs where a pixel is shown; what centred maps
            have less.
        n_draws: Masks of an image that the standard error rests on.
        chunk_size: Points evaluated at once, after any halving.
    """

    maps: torch.Tensor
    standard_error: torch.Tensor
    mean: torch.Tensor
    n_draws: int
    chunk_size: int

    @property
    def interval(self) -> torch.Tensor:
        """Both ends of a 95 % interval of each value, along a last axis of 2."""
        return student_interval(self.maps, self.standard_error, torch.full((len(self.maps),), self.n_draws))


def rise(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    baseline: torch.Tensor | Sequence[torch.Tensor],
    against: torch.Tensor | None = None,
    n_masks: int = 1000,
    cells: int = 7,
    share: float = 0.5,
    centred: bool = True,
    generator: Generators | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Rise:
    r"""Says what the output is on average where a pixel is shown, less what it is on average over the pixels.

    .. math:: S_p = \mathrm{E}[f(x' + M (x - x')) \mid M_p = 1] \approx \frac{\sum_i M_{ip} f_i}{\sum_i M_{ip}}, \qquad
        \mathrm{map}_p = S_p - \frac{1}{HW} \sum_q S_q

    over random smooth masks :math:`M_i` in [0, 1]; a pixel that is half shown counts half. The published sum is
    divided by the *expected* sum of the masks; divided by their own, as here, a constant added to the output changes
    nothing and the error is smaller.

    Args:
        network: What to explain; its ``output`` says in which unit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)`` to explain k classes from the same passes.
        baseline: What is there where nothing is shown, ``(1 | batch, channels, height, width)``; of several, in a
            sequence, each mask is tried with all, and the outputs are averaged.
        against: What each class is held against, so that a difference of outputs is explained: a class, int64 like
            ``target``, or weights over the classes, float ``(batch, classes)`` or ``(batch, k, classes)``.
        n_masks: Masks an image, 2 to 100,000.
        cells: Of a mask's grid along each side, from 2; no more than the image has pixels are taken.
        share: Probability that a cell is shown, above 0 and below 1.
        centred: Whether the mean over the image is taken off; otherwise the map is :math:`S_p` itself.
        generator: Source of the masks: one, or one an image, which makes an image's map independent of its batch;
            seed 0 for every image unless told.
        chunk_size: Points at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with passes done and in all; may raise to cancel.

    Returns:
        The maps with the standard error of each value.

    Raises:
        InvalidInput: Inputs, baselines or generators do not fit the network or each other.
        InvalidTarget: Not one row of existing classes an image.
        InvalidOption: An option out of range, or so few masks that a pixel is never shown.
        NetworkError: An output is not finite.
        OutOfMemory: A single point does not fit into memory.

    Cost:
        ``n_masks`` forward passes an image and baseline, whatever the number of classes; no gradient.

    Guarantee:
        Unbiased but for terms that fall with ``1 / n_masks``, with a standard error a value (that of a weighted mean,
        of the centred map where it is centred). The masks are as coarse as their cells, and the images behind them are
        none that a camera took.

    Source:
        Petsiuk, Das & Saenko 2018, "RISE: Randomized Input Sampling for Explanation", section 3; the standard error is
        the linearised one of a ratio (Cochran 1977, "Sampling Techniques", section 6.4).

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1, bias=False))
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[9.0, 0, 0, 0]]))
    >>> images = torch.ones(1, 1, 2, 2)
    >>> found = rise(Network(linear), images, torch.tensor([0]), baseline=0 * images, cells=2)
    >>> found.maps[0, 0].argmax().item(), abs(round(found.maps.sum().item(), 4))
    (0, 0.0)
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    baselines = stacked_baselines(network, inputs, baseline, None)
    height, width = inputs.shape[2:]
    require_count(n_masks, "n_masks", 2)
    cells = min(require_count(cells, "cells", 2), height, width)
    if not 0 < require_number(share, "share", 0.0, 1.0) < 1:
        raise InvalidOption(f"share is {share}: every mask would be the same; expected a number between 0 and 1")
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.class_count(inputs))
        masks = random_masks((height, width), n_masks, cells, share, generator, len(inputs), inputs.device)
        size = default_chunk(network, inputs) if chunk_size is None else chunk_size
        chunks = Chunks(size, len(inputs) * n_masks * len(baselines), progress)
        outputs = _outputs(network, inputs, baselines, masks, targets, chunks)
        require_finite("outputs", outputs)
        rows = [_shown(masks, image, own, centred=centred) for image, own in enumerate(outputs)]
    maps, errors, means = (torch.stack(parts) for parts in zip(*rows, strict=True))
    if target.dim() == 1:
        maps, errors, means = maps[:, 0], errors[:, 0], means[:, 0]
    return Rise(maps.to(inputs.dtype), errors.to(inputs.dtype), means, n_masks, chunks.size)


def _outputs(
    network: Network,
    inputs: torch.Tensor,
    baselines: torch.Tensor,
    masks: Masks,
    targets: Targets,
    chunks: Chunks,
) -> torch.Tensor:
    """Returns what is explained of each masked image, float64 ``(batch, n_masks, k)``, the mean over baselines."""
    n_baselines, n_masks = len(baselines), masks.n_masks
    table = torch.zeros(len(inputs) * n_masks * n_baselines, targets.k, dtype=torch.float64, device=inputs.device)

    def work(start: int, stop: int) -> None:
        items = torch.arange(start, stop, device=inputs.device)
        points, behind = items // n_baselines, items % n_baselines
        images = points // n_masks
        shown = masks.of(images, points % n_masks, inputs.dtype).unsqueeze(1)
        fill = baselines[behind, images if baselines.shape[1] > 1 else torch.zeros_like(images)]
        hidden = torch.lerp(fill, inputs[images], shown)
        table[start:stop] = targets.rows(images).of(network(laid_out(hidden))).double()

    chunks.run(len(table), work)
    return table.view(len(inputs), n_masks, n_baselines, -1).mean(2)


def _shown(
    masks: Masks, image: int, outputs: torch.Tensor, *, centred: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns map and standard error ``(k, 1, height, width)`` and their mean ``(k,)`` from outputs ``(n, k)``.

    Raises:
        InvalidOption: A pixel is shown by no mask.
    """
    n, k = outputs.shape
    middle = outputs.mean(0)
    weighted, total = torch.zeros(()), torch.zeros(())
    for numbers, shown in _blocks(masks, image):
        weighted = weighted + torch.einsum("nk,nhw->khw", outputs[numbers] - middle, shown)
        total = total + shown.sum(0)
    if not bool((total > 0).all()):
        row, column = (total == 0).nonzero()[0].tolist()
        raise InvalidOption(
            f"n_masks is {n}: none of them shows the pixel at row {row}, column {column}; raise n_masks or share"
        )
    away = weighted / total
    squares = torch.zeros_like(away)
    for numbers, shown in _blocks(masks, image):
        for place in range(k):
            # How far each mask moves the map, to first order.
            moved = shown * ((outputs[numbers, place] - middle[place]).view(-1, 1, 1) - away[place]) / total
            squares[place] += (moved - moved.mean((1, 2), keepdim=True) if centred else moved).square().sum(0)
    mean = away.mean((1, 2))
    maps = away - mean.view(-1, 1, 1) if centred else away + middle.view(-1, 1, 1)
    return maps.unsqueeze(1), (squares * n / (n - 1)).sqrt().unsqueeze(1), mean + middle


def _blocks(masks: Masks, image: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields numbers of masks of an image, and these masks, float64 ``(n, height, width)``."""
    numbers = torch.arange(masks.n_masks, device=masks.grids.device)
    for some in torch.split(numbers, max(1, _BLOCK // math.prod(masks.size))):
        yield some, masks.of(torch.full_like(some, image), some, torch.float64)
