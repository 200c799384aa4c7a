"""Shapley values of an image's segments: what hiding and showing them does to an output."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from attribution.checks import require_finite
from attribution.confidence import student_interval
from attribution.errors import InvalidInput, InvalidOption
from attribution.networks.network import Network, require_network
from attribution.noise import Generators, image_generators
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk
from attribution.passes.tails import Cached, Whole
from attribution.paths.straight import stacked_baselines
from attribution.shapley.game import Game
from attribution.shapley.players import segment_owners
from attribution.shapley.samplers import Sampler, estimated, planned, require_sampling
from attribution.targets import require_classes, targets_of

#: Players up to which values are exact unless told otherwise, and most of them.
_EXACT, _MOST = 12, 1024


class SegmentShapley(NamedTuple):
    """``maps`` of each pixel in units of the output: its segment's value by the number of the segment's pixels.

    For a target ``(batch,)`` the axis ``k`` is missing everywhere. Images may have different numbers of segments;
    ``values`` have NaN beyond an image's own.

    Attributes:
        maps: ``(batch, k, 1, height, width)``, the inputs' dtype.
        standard_error: Like ``maps``; nothing where all values are exact, NaN from a single pair of permutations.
        values: ``(batch, k, segments)``, float64, of segments in rising order of their labels.
        value_error: The standard error of ``values``; 0 where they are exact.
        labels: ``(batch, height, width)``, int64: the segment of each pixel, from 0.
        n_draws: ``(batch,)``, int64: independent draws that the standard error rests on; 0 where it is exact.
        convergence_delta: ``(batch, k)``, float64: the sum of the values minus ``f(x) - f(x')``.
        n_evaluations: ``(batch,)``, int64: forward passes; a gradient counts as one, and two more a target.
        samplers: How the values of each image were found.
        chunk_size: Points evaluated at once, after any halving.
    """

    maps: torch.Tensor
    standard_error: torch.Tensor | None
    values: torch.Tensor
    value_error: torch.Tensor
    labels: torch.Tensor
    n_draws: torch.Tensor
    convergence_delta: torch.Tensor
    n_evaluations: torch.Tensor
    samplers: tuple[Sampler, ...]
    chunk_size: int

    @property
    def interval(self) -> torch.Tensor:
        """Both ends of a 95 % interval of each of the ``values``, along a last axis of 2."""
        return student_interval(self.values, self.value_error, self.n_draws)


def segment_shapley(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    segments: torch.Tensor,
    baseline: torch.Tensor | Sequence[torch.Tensor],
    against: torch.Tensor | None = None,
    sampler: Sampler | None = None,
    n_samples: int | None = None,
    tolerance: float | None = None,
    generator: Generators | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> SegmentShapley:
    r"""Shares out what an image's segments change together, from the baseline to the image, by the Shapley formula.

    .. math:: \phi_i = \sum_{S \subseteq F \setminus i} \frac{|S|! (|F| - |S| - 1)!}{|F|!} (v(S \cup i) - v(S)),
        \qquad \sum_i \phi_i = f(x) - f(x'),

    where :math:`v(S)` is the output of the image with the segments outside :math:`S` as in the baseline.

    Args:
        network: What to explain; its ``output`` says in which unit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)`` to explain k classes from the same passes.
        segments: The label of each pixel, int64 ``(1 | batch, height, width)``; any integers, at most 1,024 of them.
            :mod:`attribution.segments` makes some.
        baseline: What a hidden segment shows, ``(1 | batch, channels, height, width)``; of several, in a sequence, the
            outputs are averaged.
        against: What each class is held against, so that a difference of outputs is explained: a class, int64 like
            ``target``, or weights over the classes, float ``(batch, classes)`` or ``(batch, k, classes)``.
        sampler: ``"exact"`` (all coalitions, up to 16 segments), ``"permutations"`` (antithetic) or ``"regression"``
            (paired and shrunk). Unless told, exact up to 12 segments and within ``n_samples``, else regression.
        n_samples: Evaluations an image, at most; 32 a segment and baseline unless told.
        tolerance: Stop where the largest standard error of an image is no larger; in units of the output.
        generator: Source of the coalitions: one, or one an image, which makes an image's result independent of its
            batch; seed 0 for every image unless told.
        chunk_size: Points at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with evaluations done and, at most, to do; may raise to cancel.

    Returns:
        Maps and values, with their standard error where they are estimated.

    Raises:
        InvalidInput: Inputs, segments, baselines or generators do not fit the network or each other.
        InvalidTarget: Not one row of existing classes an image.
        InvalidOption: An option out of range, or too many segments.
        NetworkError: An output is not finite.
        OutOfMemory: A single point does not fit into memory.

    Cost:
        ``2 ** segments`` forward passes an image and baseline for exact values, ``n_samples`` at most for estimates,
        whatever the number of classes. ``"regression"`` spends a part on gradients, where the network has some.

    Guarantee:
        Exact for ``"exact"``; ``"permutations"`` are unbiased with a standard error; ``"regression"`` has a smaller
        error, but a bias from its shrinkage, which its standard error contains on average over the segments. The sum is
        complete to rounding for all of them.

    Source:
        Shapley 1953; Lundberg & Lee 2017, "A Unified Approach to Interpreting Model Predictions", for images cut into
        superpixels; Castro et al. 2009 for permutations.

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1, bias=False))
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    >>> images, halves = torch.ones(1, 1, 2, 2), torch.tensor([[[0, 1], [0, 1]]])
    >>> found = segment_shapley(Network(linear), images, torch.tensor([0]), segments=halves, baseline=0 * images)
    >>> found.values.tolist(), found.maps.flatten().tolist()
    ([[4.0, 6.0]], [2.0, 3.0, 2.0, 3.0])
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    baselines = stacked_baselines(network, inputs, baseline, None)
    labels = _require_segments(segments, inputs)
    _require_sampler(sampler, n_samples, tolerance)
    generators = image_generators(generator, len(inputs))
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.class_count(inputs))
        chunks = Chunks(default_chunk(network, inputs) if chunk_size is None else chunk_size, 0, progress)
        players = [segment_owners(of_image, inputs.shape[1]) for of_image in labels]
        games = [
            Game(
                Whole(network),
                Cached(inputs[row : row + 1], ()),
                baselines[:, row if baselines.shape[1] > 1 else 0],
                own,
                targets.rows(slice(row, row + 1)),
                chunks,
            )
            for row, own in enumerate(players)
        ]
        plans = [planned(game, sampler, n_samples, _EXACT) for game in games]
        chunks.total = sum(budget + 2 * game.worth_cost for game, (_, budget) in zip(games, plans, strict=True))
        found, done = [], 0
        for game, (chosen, budget), own in zip(games, plans, generators, strict=True):
            ends = game.ends()
            require_finite("outputs", ends.empty, ends.full)
            found.append((estimated(chosen, game, ends, [own], budget, tolerance), ends.change))
            done += budget + 2 * game.worth_cost
            chunks.advance(done - chunks.done)
    values = _padded([estimate.values[0] for estimate, _ in found])
    require_finite("outputs", torch.stack([estimate.values[0].sum(1) for estimate, _ in found]))
    errors = _padded([torch.zeros_like(one.values[0]) if one.standard_error is None else one.standard_error[0]
                      for one, _ in found])  # fmt: skip
    owners = torch.stack([one.owner[0] for one in players])
    sizes = torch.stack([torch.bincount(one.flatten(), minlength=values.shape[2]) for one in owners])
    is_exact = all(estimate.standard_error is None for estimate, _ in found)
    result = SegmentShapley(
        maps=_painted(values, sizes, owners).to(inputs.dtype),
        standard_error=None if is_exact else _painted(errors, sizes, owners).to(inputs.dtype),
        values=values,
        value_error=errors,
        labels=owners,
        n_draws=torch.cat([estimate.n_draws for estimate, _ in found]).to(inputs.device),
        convergence_delta=torch.cat([one.values.sum(2) - change for one, change in found]),
        n_evaluations=torch.cat([estimate.n_evaluations for estimate, _ in found]).to(inputs.device),
        samplers=tuple(chosen for chosen, _ in plans),
        chunk_size=chunks.size,
    )
    return result if target.dim() == 2 else _without_classes(result)


def _require_sampler(sampler: Sampler | None, n_samples: int | None, tolerance: float | None) -> None:
    require_sampling(sampler, n_samples, tolerance)
    if sampler == "linear":
        raise InvalidOption('sampler is "linear", expected exact, permutations or regression')


def _require_segments(segments: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Returns labels ``(batch, height, width)``.

    Raises:
        InvalidInput: They do not fit the images.
        InvalidOption: There are too many.
    """
    batch, _, *size = inputs.shape
    is_tensor = isinstance(segments, torch.Tensor)
    shape = tuple(segments.shape) if is_tensor else ()
    if not is_tensor or segments.dtype != torch.int64 or shape[1:] != tuple(size) or shape[0] not in (1, batch):
        given = f"{segments.dtype} {shape}" if is_tensor else type(segments).__name__
        raise InvalidInput(
            f"segments is {given}, expected torch.int64 ({batch} or 1, {size[0]}, {size[1]}): the label of each pixel"
        )
    for number, labels in enumerate(segments):
        if (count := len(labels.unique())) > _MOST:
            raise InvalidOption(f"image {number} has {count} segments, expected at most {_MOST}; merge some")
    return segments.to(inputs.device).expand(batch, *size)


def _padded(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """Returns rows ``(k, players)`` as one tensor, with NaN beyond each row's own players."""
    most = max(one.shape[1] for one in rows)
    return torch.stack([torch.nn.functional.pad(one, (0, most - one.shape[1]), value=torch.nan) for one in rows])


def _painted(values: torch.Tensor, sizes: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
    """Returns maps ``(batch, k, 1, height, width)`` in which each segment's pixels share its value."""
    shares = values / sizes.unsqueeze(1)
    return torch.stack([own[:, owner] for own, owner in zip(shares, owners, strict=True)]).unsqueeze(2)


def _without_classes(result: SegmentShapley) -> SegmentShapley:
    return result._replace(
        maps=result.maps[:, 0],
        standard_error=None if result.standard_error is None else result.standard_error[:, 0],
        values=result.values[:, 0],
        value_error=result.value_error[:, 0],
        convergence_delta=result.convergence_delta[:, 0],
    )
