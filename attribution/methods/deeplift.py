"""DeepLIFT: the change of an output from a baseline, handed back by the rescale rule."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from attribution.checks import require_finite
from attribution.layerwise.chosen import Chosen, chosen_layers
from attribution.networks.network import Network, require_network
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk
from attribution.passes.means import RunningMean
from attribution.paths.straight import Paths, stacked_baselines
from attribution.propagation.completeness import require_rescale
from attribution.propagation.rescale import rescale_started
from attribution.propagation.shares import Concept, Shares, handed_back, joined, require_concept
from attribution.targets import require_classes, targets_of


class DeepLift(NamedTuple):
    """``maps`` of each input value in units of the output, and their error figures.

    For a target ``(batch,)`` the axis ``k`` is missing everywhere.

    Attributes:
        maps: ``(batch, k, channels, height, width)``, the inputs' dtype: the mean over the baselines.
        convergence_delta: ``(batch, k)``, float64: the sum of the map minus ``explained``.
        explained: ``(batch, k)``, float64: ``f(x) - f(x')``, or what of it the concept's channels hand on.
        standard_error: Like ``maps``: that of the mean over baselines; nothing for a single one.
        n_draws: Baselines that it rests on.
        layer_maps: By layer that was asked for and has places, ``(batch, k, height, width)``, over its channels.
        layer_scores: By layer, ``(batch, k, channels)``, over places.
        chunk_size: Images evaluated at once, after any halving.
    """

    maps: torch.Tensor
    convergence_delta: torch.Tensor
    explained: torch.Tensor
    standard_error: torch.Tensor | None
    n_draws: int
    layer_maps: dict[str, torch.Tensor]
    layer_scores: dict[str, torch.Tensor]
    chunk_size: int


def deeplift(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    against: torch.Tensor | None = None,
    baseline: torch.Tensor | Sequence[torch.Tensor] | None = None,
    background: torch.Tensor | None = None,
    layers: str | Sequence[str] | None = None,
    concept: Concept | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> DeepLift:
    r"""Attributes the change of a logit from a baseline to the image to the image's values, by the rescale rule.

    .. math:: C_i = (x_i - x'_i) \, m_i, \qquad \sum_i C_i = f(x) - f(x'),

    where multipliers :math:`m` follow the chain rule with the slope :math:`\Delta y / \Delta x` between baseline and
    image in place of each elementwise function's derivative.

    Args:
        network: What to explain, with a graph all of whose operations have a rule; its ``output`` is the logit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)`` to explain k classes from the same forward passes.
        against: What each class is held against, so that a difference of outputs is explained: a class, int64 like
            ``target``, or weights over the classes, float ``(batch, classes)`` or ``(batch, k, classes)``.
        baseline: ``(1 | batch, channels, height, width)``, one an image, or a sequence of such, averaged.
        background: ``(n, channels, height, width)``, all averaged for every image; instead of ``baseline``.
        layers: Layers whose contributions come back too: ``"last"``, ``"stages"``, ``"all"``, or names, kinds and
            patterns; none unless told.
        concept: Channels of a layer: what of the change they hand on, and where it comes from.
        chunk_size: Images at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with images done and in all, over all baselines; may raise to cancel.

    Returns:
        The maps, how they add up, and those of layers.

    Raises:
        InvalidInput: Inputs or baselines do not fit the network or each other.
        InvalidTarget: Not one row of existing classes an image.
        InvalidOption: Layers or channels that are not there.
        NetworkError: The network has no graph, an operation without a rule, or maps that are not finite.
        OutOfMemory: A single image does not fit into memory.

    Cost:
        For each baseline about three forward and k backward passes an image, for all layers together.

    Guarantee:
        Complete up to rounding, at the image and at every layer that all paths run through, also where activations
        are functions, reused or in place, and where pools overlap. What the rescale rule gives to inputs that work
        against each other inside one function is a convention, which is not that of integrated gradients.

    Source:
        Shrikumar, Greenside & Kundaje 2017, "Learning Important Features Through Propagating Activation Differences",
        sections 3.3 to 3.5; Achtibat et al. 2023, "From attribution maps to human-understandable explanations through
        concept relevance propagation", for channels.

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False), torch.nn.ReLU())
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[1.0, -1.0]]))
    >>> inputs, target = torch.tensor([[[[3.0, 1.0]]]]), torch.tensor([0])
    >>> found = deeplift(Network(linear), inputs, target, baseline=torch.zeros(1, 1, 1, 2))
    >>> found.maps.tolist(), found.convergence_delta.tolist()
    ([[[[3.0, -1.0]]]], [0.0])
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    baselines = stacked_baselines(network, inputs, baseline, background)
    # Gradients need ordinary tensors, also where the caller is in inference mode.
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.require_gradients(inputs))
        require_rescale(network)
        concept = require_concept(network, concept)
        chosen = chosen_layers(network, layers, concept)
        size = default_chunk(network, inputs) if chunk_size is None else chunk_size
        chunks, paths = Chunks(size, len(inputs) * len(baselines), progress), Paths(inputs, baselines, targets)
        maps, missing, explained = RunningMean(), RunningMean(), RunningMean()
        layer_maps: dict[str, RunningMean] = {}
        layer_scores: dict[str, RunningMean] = {}
        for number in range(len(baselines)):
            shares = _of_baseline(network, paths, number, chosen, concept, chunks)
            maps.add(shares.inputs)
            missing.add(shares.missing)
            explained.add(shares.explained)
            _add(layer_maps, shares.maps)
            _add(layer_scores, shares.scores)
    require_finite("maps", maps.mean, missing.mean)

    def own(values: torch.Tensor, dtype: torch.dtype = inputs.dtype) -> torch.Tensor:
        return (values if target.dim() == 2 else values[:, 0]).to(dtype)

    error = maps.standard_error()
    return DeepLift(
        own(maps.mean),
        own(missing.mean, torch.float64),
        own(explained.mean, torch.float64),
        None if error is None else own(error),
        maps.count,
        {name: own(one.mean) for name, one in chosen.of(layer_maps).items()},
        {name: own(one.mean) for name, one in chosen.of(layer_scores).items()},
        chunks.size,
    )


def _of_baseline(
    network: Network, paths: Paths, number: int, chosen: Chosen, concept: Concept | None, chunks: Chunks
) -> Shares:
    """Returns the shares of all images by one of their baselines."""
    parts: list[Shares] = []

    def work(start: int, stop: int) -> None:
        rows = torch.arange(start, stop, device=paths.inputs.device)
        own = rows * paths.n_baselines + number
        targets = paths.targets(own)
        with torch.enable_grad():
            run = rescale_started(network, paths.inputs[rows], paths.starts(own), targets, chosen.kept)
            parts.append(handed_back(run, targets, concept, chosen.mapped))

    chunks.run(len(paths.inputs), work)
    return joined(parts)


def _add(means: dict[str, RunningMean], named: Mapping[str, torch.Tensor]) -> None:
    for name, values in named.items():
        means.setdefault(name, RunningMean()).add(values)
