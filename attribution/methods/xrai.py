"""XRAI: regions of an image in the order in which they gain most mean attribution."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional

from attribution.checks import require_choice, require_count, require_finite
from attribution.errors import InvalidInput
from attribution.networks.network import Network, require_network
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk
from attribution.paths.by_rule import fixed_sums, has_both_ends
from attribution.paths.quadrature import QUADRATURES, Quadrature, quadrature_rule
from attribution.paths.straight import Paths, stacked_baselines
from attribution.targets import require_classes, targets_of

#: Of an image of 224 pixels a side: by how much regions grow, and how many fresh pixels they need to count.
_SIDE, _DILATION, _FRESH = 224, 5, 50
_TOGETHER = 8192
"""Pixels whose regions are added up at once."""


class Xrai(NamedTuple):
    """``maps`` of ranks between 0 and 1, and what they are ranks of.

    For a target ``(batch,)`` the axis ``k`` is missing everywhere.

    Attributes:
        maps: ``(batch, k, 1, height, width)``, the inputs' dtype: 1 less the share of the image that has entered before
            a pixel's region does. The first region has 1, and ``maps > 1 - a`` are the regions that begin within the
            share ``a`` of the image.
        gains: Like ``maps``: the mean attribution of the pixels that the region brings, in units of the output.
        areas: ``(batch, k, regions)``, float64: the share of the image after each region; NaN beyond an image's own.
        region_gains: Like ``areas``: the gain of each region, in the order in which they enter.
        convergence_delta: ``(batch, k)``, float64: of the integrated gradients: their sum minus ``f(x) - f(x')``.
        n_steps: ``(batch,)``, int64: points of the paths evaluated, over all baselines.
        chunk_size: Points evaluated at once, after any halving.
    """

    maps: torch.Tensor
    gains: torch.Tensor
    areas: torch.Tensor
    region_gains: torch.Tensor
    convergence_delta: torch.Tensor
    n_steps: torch.Tensor
    chunk_size: int


def xrai(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    segments: torch.Tensor,
    baseline: torch.Tensor | Sequence[torch.Tensor],
    against: torch.Tensor | None = None,
    n_steps: int = 50,
    quadrature: Quadrature = "gauss_legendre",
    dilation: int | None = None,
    least: int | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Xrai:
    r"""Ranks regions: again and again the one enters whose fresh pixels have the largest mean attribution.

    .. math:: s^* = \arg\max_s \frac{1}{|s \setminus M|} \sum_{p \in s \setminus M} A_p, \qquad M \leftarrow M \cup s^*

    with :math:`A` the integrated gradients of all channels, averaged over the baselines, and :math:`s` the segments of
    several scales together, which overlap. Where the paper takes the largest channel, their sum is taken here, so that
    gains are in units of the output. What no segment brings enters last.

    Args:
        network: What to explain; its ``output`` says in which unit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)`` to explain k classes from the same forward passes.
        segments: The label of each pixel at each scale, int64 ``(1 | batch, scales, height, width)``;
            :func:`attribution.segments.felzenszwalb` makes those of the paper.
        baseline: ``(1 | batch, channels, height, width)``, in a sequence several, averaged: black and white in the
            paper, so that neither dark nor bright pixels have nothing.
        against: What each class is held against, so that a difference of outputs is explained: a class, int64 like
            ``target``, or weights over the classes, float ``(batch, classes)`` or ``(batch, k, classes)``.
        n_steps: Nodes of the rule, 1 to 100,000.
        quadrature: ``"gauss_legendre"``, ``"trapezoid"``, ``"midpoint"`` or ``"right"``.
        dilation: Pixels that each segment is grown by, so that regions have their edges; 5 for an image of 224 pixels,
            and in proportion, unless told.
        least: Fresh pixels that a region must bring; 50 for an image of 224 x 224, and in proportion, unless told.
        chunk_size: Points at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with points done and in all; may raise to cancel.

    Returns:
        Ranks, gains and areas.

    Raises:
        InvalidInput: Inputs, segments or baselines do not fit the network or each other.
        InvalidTarget: Not one row of existing classes an image.
        InvalidOption: An option out of range.
        NetworkError: The network lets no gradient through, or attributions are not finite.
        OutOfMemory: A single point does not fit into memory.

    Cost:
        One forward and k backward passes a point of each baseline's path; then, an image and class, one sum over the
        pixels of every segment.

    Guarantee:
        The attributions are exact up to ``convergence_delta``; the ranks are a heuristic, for they depend on the
        segments. They are not linear: against another class they are those of the difference.

    Source:
        Kapishnikov et al. 2019, "XRAI: Better Attributions Through Regions", section 3.

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1, bias=False))
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[1.0, 4.0, 1.0, 2.0]]))
    >>> images, halves = torch.ones(1, 1, 2, 2), torch.tensor([[[[0, 1], [0, 1]]]])
    >>> found = xrai(Network(linear), images, torch.tensor([0]), segments=halves, baseline=0 * images, n_steps=2)
    >>> found.maps.flatten().tolist(), found.gains.flatten().tolist(), found.areas.tolist()
    ([0.5, 1.0, 0.5, 1.0], [1.0, 3.0, 1.0, 3.0], [[0.5, 1.0]])
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    paths = Paths(inputs, stacked_baselines(network, inputs, baseline, None), targets)
    height, width = inputs.shape[2:]
    require_choice(quadrature, "quadrature", QUADRATURES)
    rule = quadrature_rule(quadrature, require_count(n_steps, "n_steps"))
    side, area = min(height, width) / _SIDE, height * width / _SIDE**2
    grown = round(_DILATION * side) if dilation is None else require_count(dilation, "dilation", 0, 100)
    fresh = max(1, round(_FRESH * area)) if least is None else require_count(least, "least", 1, height * width)
    labels = _require_segments(segments, inputs)
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.require_gradients(inputs))
        ends = 0 if has_both_ends(rule) else len(inputs) + len(paths.baselines) * paths.baselines.shape[1]
        size = default_chunk(network, inputs) if chunk_size is None else chunk_size
        chunks = Chunks(size, paths.n_paths * len(rule.nodes) + ends, progress)
        sums = fixed_sums(network, paths, rule, chunks)
        require_finite("attributions", sums.attributions, sums.convergence_delta)
        values = sums.attributions.sum(2, dtype=torch.float64)
        ranked = []
        for of_image, own in zip(labels, values, strict=True):
            members = _members(of_image, grown)
            ranked += [_ranked(members, one.flatten(), fresh) for one in own]
    shape = (len(inputs), targets.k)
    maps, gains = (
        torch.stack(parts).view(*shape, 1, height, width).to(inputs.dtype)
        for parts in ([one.ranks for one in ranked], [one.gains for one in ranked])
    )
    result = Xrai(
        maps=maps,
        gains=gains,
        areas=_padded([one.areas for one in ranked], shape),
        region_gains=_padded([one.region_gains for one in ranked], shape),
        convergence_delta=sums.convergence_delta,
        n_steps=sums.n_steps,
        chunk_size=chunks.size,
    )
    return result if target.dim() == 2 else _without_classes(result)


def _require_segments(segments: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Returns labels ``(batch, scales, height, width)``.

    Raises:
        InvalidInput: They do not fit the images.
    """
    batch, _, *size = inputs.shape
    is_tensor = isinstance(segments, torch.Tensor)
    shape = tuple(segments.shape) if is_tensor else ()
    fits = is_tensor and segments.dtype == torch.int64 and len(shape) == 4 and shape[2:] == tuple(size)
    if not fits or shape[0] not in (1, batch) or shape[1] == 0:
        given = f"{segments.dtype} {shape}" if is_tensor else type(segments).__name__
        raise InvalidInput(
            f"segments is {given}, expected torch.int64 ({batch} or 1, scales, {size[0]}, {size[1]}): the label of each"
            " pixel at each scale"
        )
    return segments.to(inputs.device).expand(batch, *shape[1:])


def _members(labels: torch.Tensor, grown: int) -> torch.Tensor:
    """Returns which pixels the segments of all scales have, booleans ``(pixels, regions)``, each grown by a disc."""
    _, *size = labels.shape
    numbers, n_regions = list[torch.Tensor](), 0
    for one in labels:
        found, inverse = torch.unique(one, return_inverse=True)
        numbers.append(inverse + n_regions)
        n_regions += len(found)
    of_pixel = torch.stack(numbers)
    pixels = torch.arange(size[0] * size[1], device=labels.device).view(1, *size).expand_as(of_pixel)
    members = torch.zeros(size[0] * size[1], n_regions, dtype=torch.bool, device=labels.device)
    for down in range(-grown, grown + 1):
        for right in range(-grown, grown + 1):
            if down**2 + right**2 <= grown**2:
                there = _moved(pixels, down, right), _moved(of_pixel, -down, -right)
                members[tuple(part.flatten() for part in there)] = True
    return members


def _moved(maps: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Returns the part of maps that has a pixel of the image so far up and to the left of it."""
    _, height, width = maps.shape
    return maps[:, max(down, 0) : max(height + min(down, 0), 0), max(right, 0) : max(width + min(right, 0), 0)]


class _Ranked(NamedTuple):
    """``ranks`` and ``gains`` of pixels ``(pixels,)``; of each region the area after it, and its gain."""

    ranks: torch.Tensor
    gains: torch.Tensor
    areas: torch.Tensor
    region_gains: torch.Tensor


def _ranked(members: torch.Tensor, values: torch.Tensor, least: int) -> _Ranked:
    ranks, gains, areas, own = torch.zeros_like(values), torch.zeros_like(values), [], []
    free = torch.ones_like(values, dtype=torch.bool)
    # What regions still have is kept, and what enters taken off: every pixel is looked at once.
    counts, sums = _held(members, values)
    while bool(free.any()):
        may_enter = counts >= least
        if bool(may_enter.any()):
            means = torch.where(may_enter, sums / counts.clamp(min=1), -torch.inf)
            entering = members[:, means.argmax()] & free
        else:
            entering = free.clone()
        ranks[entering] = free.double().mean()
        own.append(values[entering].mean())
        gains[entering] = own[-1]
        free = free & ~entering
        areas.append(1 - free.double().mean())
        gone, lost = _held(members[entering], values[entering])
        counts, sums = counts - gone, sums - lost
    return _Ranked(ranks, gains, torch.stack(areas), torch.stack(own))


def _held(members: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns how many of some pixels each region has, and the sum of their values."""
    counts = torch.zeros(members.shape[1], dtype=torch.int64, device=members.device)
    sums = torch.zeros(members.shape[1], dtype=values.dtype, device=members.device)
    for some, own in zip(torch.split(members, _TOGETHER), torch.split(values, _TOGETHER), strict=True):
        counts += some.sum(0)
        sums += own @ some.to(own.dtype)
    return counts, sums


def _padded(rows: Sequence[torch.Tensor], shape: tuple[int, int]) -> torch.Tensor:
    """Returns rows of regions as one tensor ``(*shape, regions)``, with NaN beyond each row's own."""
    most = max(map(len, rows))
    padded = [functional.pad(one, (0, most - len(one)), value=torch.nan) for one in rows]
    return torch.stack(padded).view(*shape, most)


def _without_classes(result: Xrai) -> Xrai:
    return result._replace(
        maps=result.maps[:, 0],
        gains=result.gains[:, 0],
        areas=result.areas[:, 0],
        region_gains=result.region_gains[:, 0],
        convergence_delta=result.convergence_delta[:, 0],
    )
