"""Occlusion curves: what becomes of a prediction as the pixels that a map calls important go, or come."""

from typing import NamedTuple

import torch

from attribution.checks import (
    require_count,
    require_finite,
    require_number,
)
from attribution.class_sets import Classes, ClassSets, class_sets, require_class_sets
from attribution.errors import InvalidTarget
from attribution.networks.link import entropy, probabilities
from attribution.networks.network import Network, require_network
from attribution.noise import Generators, row_noise
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk, input_gradients, laid_out
from attribution.quality.fills import Fill, fill_of, without
from attribution.quality.maps import require_maps
from attribution.targets import require_classes, targets_of


class OcclusionCurves(NamedTuple):
    """Curves ``(batch, n_steps + 1)`` over ``shares`` of pixels, float64, and the areas ``(batch,)`` under them.

    Attributes:
        prediction: Probability of the target.
        entropy: Of the probabilities of the classes, in nats: ``-sum p log p``.
        standard_deviation: Of the network's outputs for the classes.
        shares: ``(n_steps + 1,)``, share of all pixels that are gone, or are back, at each step; from 0.
        n_removed: ``(batch, n_steps + 1)`` int64, pixels that are.
        prediction_area: Mean of the curve over the shares, by trapezoids.
        entropy_area: The same.
        standard_deviation_area: The same.
        chunk_size: Points evaluated at once, after any halving.
    """

    prediction: torch.Tensor
    entropy: torch.Tensor
    standard_deviation: torch.Tensor
    shares: torch.Tensor
    n_removed: torch.Tensor
    prediction_area: torch.Tensor
    entropy_area: torch.Tensor
    standard_deviation_area: torch.Tensor
    chunk_size: int


class _Steps(NamedTuple):
    """``ranks`` ``(batch, pixels)`` of the pixels, ``n_removed`` ``(batch, n_steps + 1)``."""

    ranks: torch.Tensor
    n_removed: torch.Tensor


class _Points(NamedTuple):
    """The images at all steps, by number: the steps of the first image, then those of the next."""

    steps: _Steps
    inputs: torch.Tensor
    fill: Fill
    insert: bool

    def images(self, points: torch.Tensor) -> torch.Tensor:
        """Returns the number of the image that points are of."""
        return points // self.steps.n_removed.shape[1]

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Returns points by number, ``(n, channels, height, width)``."""
        rows, limits = self.images(points), self.steps.n_removed.flatten()[points]
        moved = (self.steps.ranks[rows] < limits.unsqueeze(1)).view(-1, *self.inputs.shape[2:])
        gone = ~moved if self.insert else moved
        return without(self.inputs, rows, gone, self.fill)


def occlusion_curves(
    network: Network,
    inputs: torch.Tensor,
    maps: torch.Tensor,
    target: torch.Tensor,
    *,
    baseline: torch.Tensor | Fill | None = None,
    insert: bool = False,
    n_steps: int = 20,
    share: float = 1.0,
    positive_only: bool = True,
    classes: Classes = "all",
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> OcclusionCurves:
    """Replaces pixels in falling order of a map, more at each step, and follows the outputs.

    A pixel goes with all its channels; its place in the order is the sum of its values in the map, and of equal ones
    the upper left goes first.

    Args:
        network: Whose outputs are followed.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        maps: ``(batch, channels or 1, height, width)``, any unit; higher goes first.
        target: Class of each image, int64 ``(batch,)``.
        baseline: What takes a pixel's place, ``(1 | batch, channels, height, width)``; zero (in normalised space)
            unless told. Or a function of which pixels are gone, as
            :func:`~attribution.quality.imputation.noisy_linear_fill` returns it.
        insert: Start without any pixel and bring the image's back instead.
        n_steps: Steps after the first, from 1.
        share: Of all pixels, replaced at the last step; above 0, at most 1.
        positive_only: Leave pixels that the map has at 0 or below as they are; the curve is level from there.
        classes: Those that entropy and standard deviation are taken over, chosen by the whole image's outputs.
        chunk_size: Points at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with points done and in all; may raise to cancel.

    Returns:
        Three curves an image and their areas.

    Raises:
        InvalidInput: Inputs, maps or baseline do not fit each other.
        InvalidTarget: Classes that are not there.
        InvalidOption: An option out of range.
        NetworkError: Predictions on the way are not finite.
        OutOfMemory: A single point does not fit into memory.

    Cost:
        ``n_steps + 1`` forward passes an image, and one more for the choice of classes; what a function fills with
        takes its own time.

    Guarantee:
        Exact, about images that no camera took: a replaced pixel is evidence too.

    Source:
        Zhang & Gao 2020, "Measuring Feature Importance of Convolutional Neural Networks", section IV.B.2; Samek et al.
        2017 for the perturbation, Petsiuk, Das & Saenko 2018, "RISE", for deletion and insertion.

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[4.0, 2.0], [0.0, 0.0]]))
    >>> image = torch.ones(1, 1, 1, 2)
    >>> occlusion_curves(Network(linear), image, image, torch.tensor([0]), n_steps=2).standard_deviation.tolist()
    [[3.0, 1.0, 0.0]]
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    maps = require_maps(maps, inputs)
    if not isinstance(target, torch.Tensor) or target.dim() != 1:
        raise InvalidTarget("target: expected one class an image, int64 (batch,)")
    targets = targets_of(target, None, len(inputs), inputs.device)
    fill = fill_of(network, inputs, baseline)
    require_count(n_steps, "n_steps")
    require_number(share, "share", 1e-6, 1.0)
    with torch.inference_mode(False), torch.no_grad():
        n_classes = network.class_count(inputs)
        require_classes(targets, n_classes)
        require_class_sets(classes, n_classes)
        steps = _steps(maps, n_steps, share, positive_only=positive_only)
        size = default_chunk(network, inputs) if chunk_size is None else chunk_size
        chunks = Chunks(size, len(inputs) * (n_steps + 2), progress)
        points = _Points(steps, inputs, fill, insert)
        sets = _sets(network, inputs, classes, chunks)
        prediction, entropy, deviation = _curves(network, points, sets, targets.classes, chunks)
        require_finite("predictions", prediction)
        shares = torch.linspace(0, share, n_steps + 1, dtype=torch.float64, device=inputs.device)
        return OcclusionCurves(
            prediction=prediction,
            entropy=entropy,
            standard_deviation=deviation,
            shares=shares,
            n_removed=steps.n_removed,
            prediction_area=_area(prediction, shares),
            entropy_area=_area(entropy, shares),
            standard_deviation_area=_area(deviation, shares),
            chunk_size=chunks.size,
        )


def random_maps(inputs: torch.Tensor, generator: Generators) -> torch.Tensor:
    """Returns maps ``(batch, 1, height, width)`` that put the pixels in random order, to compare others with."""
    return row_noise(torch.rand, inputs[:, :1], generator)


def input_x_gradient_maps(
    network: Network, inputs: torch.Tensor, target: torch.Tensor, against: torch.Tensor | None = None
) -> torch.Tensor:
    """Returns input times gradient of what is explained, ``(batch, channels, height, width)``, to compare others with.

    Cost:
        One forward and one backward pass an image.
    """
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    with torch.inference_mode(False):
        chunks = Chunks(default_chunk(network, inputs), len(inputs))
        return inputs * input_gradients(network, inputs, targets, chunks)[:, 0]


def _steps(maps: torch.Tensor, n_steps: int, share: float, *, positive_only: bool) -> _Steps:
    scores = maps.flatten(2).sum(1, dtype=torch.float64)
    ranks = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    counts = torch.linspace(0, share * scores.shape[1], n_steps + 1, dtype=torch.float64).round().long()
    most = (scores > 0).sum(1, keepdim=True) if positive_only else torch.full_like(ranks[:, :1], ranks.shape[1])
    return _Steps(ranks, torch.minimum(counts.to(most.device), most))


def _sets(network: Network, inputs: torch.Tensor, classes: Classes, chunks: Chunks) -> ClassSets:
    outputs: list[torch.Tensor] = []
    chunks.run(len(inputs), lambda start, stop: outputs.append(network(laid_out(inputs[start:stop]))))
    return class_sets(classes, torch.cat(outputs), network.likelihoods)


def _curves(
    network: Network, points: _Points, sets: ClassSets, table: torch.Tensor, chunks: Chunks
) -> list[torch.Tensor]:
    """Returns prediction, entropy and standard deviation, each ``(batch, n_steps + 1)``."""
    batch, length = points.steps.n_removed.shape
    numbers = torch.arange(batch * length, device=table.device)
    parts: list[torch.Tensor] = []

    def work(start: int, stop: int) -> None:
        rows = points.images(numbers[start:stop])
        outputs = network.logits(laid_out(points.at(numbers[start:stop]))).double()
        parts.append(_figures(network, outputs, ClassSets(sets.table[rows], sets.mask[rows]), table[rows]))

    chunks.run(batch * length, work)
    return [curve.view(batch, length) for curve in torch.cat(parts).unbind(1)]


def _area(curve: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    return torch.trapezoid(curve, shares, dim=1) / shares[-1]


def _figures(network: Network, logits: torch.Tensor, sets: ClassSets, table: torch.Tensor) -> torch.Tensor:
    """Returns the three figures of each row of logits, ``(n, 3)``."""
    variance = sets.centred(network.explained(logits)).square().sum(1) / sets.mask.sum(1)
    likely = probabilities(logits, network.link).gather(1, table).squeeze(1)
    return torch.stack([likely, entropy(logits, network.link, sets.mask), variance.sqrt()], dim=1)
