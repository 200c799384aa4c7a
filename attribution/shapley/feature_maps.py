"""True Shapley values of a layer's feature maps, or of other players of a layer."""

from typing import NamedTuple, get_args

import torch

from attribution.checks import require_choice
from attribution.confidence import student_interval
from attribution.errors import InvalidOption
from attribution.networks.network import Network, require_network
from attribution.noise import Generators, image_generators
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk
from attribution.passes.tails import Tail
from attribution.paths.straight import stacked_baselines
from attribution.shapley.game import Excluded, Game
from attribution.shapley.players import Players, owners
from attribution.shapley.samplers import Sampler, estimated, planned, require_sampling
from attribution.targets import Targets, require_classes, targets_of


class FeatureMapShapley(NamedTuple):
    """Shapley ``values`` of a layer's players, and their error figures.

    Attributes:
        values: ``(batch, k, players)``, float64.
        standard_error: The same shape; nothing where the values are exact, NaN from a single pair of permutations.
        n_draws: ``(batch,)``, int64: independent draws that the standard error rests on, pairs of permutations or of
            coalitions; 0 where the values are exact.
        convergence_delta: ``(batch, k)``: the sum of the values minus what all players together change.
        n_evaluations: ``(batch,)``, int64: of the tail; a gradient counts as one, and two more a target.
        sampler: How the values were found.
        chunk_size: Points evaluated at once, after any halving.
    """

    values: torch.Tensor
    standard_error: torch.Tensor | None
    n_draws: torch.Tensor
    convergence_delta: torch.Tensor
    n_evaluations: torch.Tensor
    sampler: Sampler
    chunk_size: int

    @property
    def interval(self) -> torch.Tensor:
        """Both ends of a 95 % interval of each value, ``(batch, k, players, 2)``; NaN from a single pair."""
        error = torch.zeros_like(self.values) if self.standard_error is None else self.standard_error
        return student_interval(self.values, error, self.n_draws)


def feature_map_shapley(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor | Targets,
    layer: str,
    *,
    background: torch.Tensor,
    players: Players = "feature_maps",
    sampler: Sampler | None = None,
    excluded: Excluded = "mean",
    n_samples: int | None = None,
    tolerance: float | None = None,
    generator: Generators | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> FeatureMapShapley:
    r"""Shares out what a layer's players change together, by the Shapley formula.

    .. math:: \phi_i = \sum_{S \subseteq F \setminus i} \frac{|S|! (|F| - |S| - 1)!}{|F|!} (v(S \cup i) - v(S)),

    where :math:`v(S)` is the output with the players in :math:`S` as the image has them and all others as the
    background has them. What skips the layer keeps the image's values, so the sum is ``f(x)`` minus the output with
    the whole layer replaced.

    Args:
        network: What to explain; it needs a graph.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch, k)``, or differences of classes; they share the forward passes.
        layer: Name of the layer.
        background: Images ``(n, channels, height, width)`` that say what an absent player looks like.
        players: ``"feature_maps"`` (the layer's channels), ``Groups`` of them, or ``Cells`` of space.
        sampler: ``"linear"`` where the tail is affine in the layer, ``"exact"`` (all coalitions, up to 16 players),
            ``"permutations"`` (antithetic) or ``"regression"`` (paired and shrunk). Unless told, the first of
            linear, exact and regression that is possible, exact only within ``n_samples`` where that is given.
        excluded: An absent player holds the ``"mean"`` of the background's activations, or the output is the
            ``"average"`` over the background's own.
        n_samples: Evaluations of the tail an image, at most; 32 a player, and background image for ``"average"``,
            unless told.
        tolerance: Stop where the largest standard error of an image is no larger; in units of the output.
        generator: Source of the coalitions: one, or one an image, which makes an image's result independent of its
            batch; seed 0 for every image unless told.
        chunk_size: Points at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with evaluations done and, at most, to do; may raise to cancel.

    Returns:
        The values, with their standard error where they are estimated.

    Raises:
        InvalidInput: Inputs, background or generators do not fit the network.
        InvalidTarget: A class that the network does not have.
        InvalidOption: An unknown layer, players that do not fit it, or a sampler that does not apply.
        NetworkError: The network has no graph, or cannot be cut at this layer.
        OutOfMemory: A single point does not fit into memory.

    Cost:
        One forward pass an image up to the layer, then evaluations of the tail: ``2 ** players`` for exact values,
        ``n_samples`` at most for estimates, a gradient for a linear tail.

    Guarantee:
        Exact for ``"exact"`` and ``"linear"``; ``"permutations"`` are unbiased with a standard error; ``"regression"``
        has a fraction of their squared error on trained networks, but a bias from its shrinkage, which its standard
        error contains on average over the players and which vanishes with growing ``n_samples``. Where hardly more
        than two players act together, permutations can be the better ones.

    Source:
        Banerjee & Chu 2022, "Contributions by Feature Layers in Two-Class Deep Learning Image Classification
        Decisions"; Shapley 1953.

    >>> head = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1, bias=False), torch.nn.Flatten(), torch.nn.Softmax(1))
    >>> _ = torch.nn.init.constant_(head[0].weight, 1.0)
    >>> network, images = Network(head), torch.ones(1, 1, 1, 1)
    >>> found = feature_map_shapley(network, images, torch.tensor([[0]]), "0", background=0 * images)
    >>> [round(value, 4) for value in found.values.flatten().tolist()], found.sampler
    ([0.2311, -0.2311], 'exact')
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, None, len(inputs), inputs.device)
    background = stacked_baselines(network, inputs, None, background)[:, 0]
    require_sampling(sampler, n_samples, tolerance)
    require_choice(excluded, "excluded", get_args(Excluded))
    generators = image_generators(generator, len(inputs))
    # Gradients need ordinary tensors, also where the caller is in inference mode.
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.class_count(inputs))
        tail = Tail(network, layer)
        chunks = Chunks(default_chunk(network, inputs) if chunk_size is None else chunk_size, 0, progress)
        cached = chunks.fitted(lambda size: tail.cached(inputs, size))
        absent = chunks.fitted(lambda size: tail.cached(background, size)).activation
        absent = absent.mean(0, keepdim=True) if excluded == "mean" else absent
        owned = owners(players, tuple(cached.activation.shape[1:]), inputs.device)
        game = Game(tail, cached, absent, owned, targets, chunks)
        chosen, budget = _plan(game, sampler, n_samples, is_linear=tail.is_linear)
        chunks.total = game.batch * (budget + 2 * game.worth_cost)
        ends = game.ends()
        found = estimated(chosen, game, ends, generators, budget, tolerance)
        chunks.advance(chunks.total - chunks.done)
        return FeatureMapShapley(
            values=found.values,
            standard_error=found.standard_error,
            n_draws=found.n_draws.to(inputs.device),
            convergence_delta=found.values.sum(2) - ends.change,
            n_evaluations=found.n_evaluations.to(inputs.device),
            sampler=chosen,
            chunk_size=chunks.size,
        )


def _plan(game: Game, sampler: Sampler | None, n_samples: int | None, *, is_linear: bool) -> tuple[Sampler, int]:
    """Returns the sampler and the evaluations of an image that it takes, at most.

    Raises:
        InvalidOption: The tail is not linear, but the sampler wants it so.
    """
    if sampler == "linear" and not is_linear:
        raise InvalidOption('sampler is "linear", but what follows the layer is not; use "exact" or "regression"')
    if sampler == "linear" or (sampler is None and is_linear):
        return "linear", game.slopes_cost
    return planned(game, sampler, n_samples)
