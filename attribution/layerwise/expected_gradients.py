r"""The expected-gradient form for every layer at once.

.. math:: \phi_l = \mathrm{mean}_s \; (a_l(x) - a_l(x'_s)) \, g_l\big(x'_s + t_s (x - x'_s)\big)

with a background image and a t drawn for each sample: what Captum calls LayerGradientShap. At inner layers the
difference of a layer's values is not the way that they take, so that the mean is biased, however many samples.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from attribution.layerwise.passes import LayerPass, layer_gradients
from attribution.layerwise.totals import LayerTotals, Piece
from attribution.networks.layers import Layer
from attribution.networks.network import Network
from attribution.noise import Generators, image_generators, row_noise
from attribution.passes.chunks import Chunks
from attribution.passes.gradients import laid_out
from attribution.paths.straight import Paths

#: A layer's values at the image and at the background image of each sample.
_Changes = Callable[[str], tuple[torch.Tensor, torch.Tensor]]


class Draws(NamedTuple):
    """For each image and sample, ``(batch, n_samples)``: the number of a background image, and t, float64."""

    background: torch.Tensor
    t: torch.Tensor


def random_draws(inputs: torch.Tensor, n_samples: int, n_background: int, generator: Generators | None) -> Draws:
    """Returns even draws; from a generator for each image, seeded with 0, where none is given."""
    template = torch.empty(len(inputs), n_samples, 2, dtype=torch.float64, device=inputs.device)
    numbers, t = row_noise(torch.rand, template, image_generators(generator, len(inputs))).unbind(2)
    return Draws((numbers * n_background).long().clamp(max=n_background - 1), t)


def sample_totals(
    network: Network, paths: Paths, layers: Mapping[str, Layer], draws: Draws, chunks: Chunks, totals: LayerTotals
) -> None:
    """Adds the mean over the samples of every layer to ``totals``.

    Cost:
        One forward and k backward passes a sample, and a forward pass of each chunk's different images and background
        images, whose activations are held.
    """
    passes = _SamplePasses(network, paths, layers, draws, totals)
    chunks.run(draws.t.numel(), passes.work)


def sample_errors(totals: LayerTotals, n_samples: int) -> dict[str, torch.Tensor] | None:
    """Returns the standard error of each score from its samples; nothing below two, which show no spread."""
    if n_samples < 2:
        return None
    # Layers that nothing reads have no squares, and a mean of zero.
    variances = {
        layer: totals.squares.get(layer, torch.zeros_like(mean)) - mean.square()
        for layer, mean in totals.scores.items()
    }
    return {layer: (variance.clamp(min=0) / (n_samples - 1)).sqrt() for layer, variance in variances.items()}


def _rows(images: torch.Tensor) -> list[tuple[int, slice]]:
    """Returns each image of a sorted chunk with the rows that are its."""
    numbers, counts = torch.unique_consecutive(images, return_counts=True)
    stops = counts.cumsum(0).tolist()
    return [
        (number, slice(stop - count, stop))
        for number, count, stop in zip(numbers.tolist(), counts.tolist(), stops, strict=True)
    ]


class _SamplePasses:
    """Sums up chunks of the items ``image * n_samples + sample``."""

    def __init__(
        self, network: Network, paths: Paths, layers: Mapping[str, Layer], draws: Draws, totals: LayerTotals
    ) -> None:
        self._network, self._paths, self._layers, self._draws = network, paths, layers, draws
        self._totals = totals

    def work(self, start: int, stop: int) -> None:
        """Evaluates the items from ``start`` to ``stop``; changes the sums only once everything else has worked."""
        n_samples = self._draws.t.shape[1]
        items = torch.arange(start, stop, device=self._draws.t.device)
        images = items // n_samples
        background = self._draws.background.flatten()[items]
        numbers = images * self._paths.n_baselines + background
        changes = self._changes(images, background)
        rows = _rows(images)
        pieces: list[Piece] = []

        def receive(layer: str, number: int, values: torch.Tensor, gradients: torch.Tensor) -> None:
            own, end = changes(layer)
            wide = torch.promote_types(values.dtype, torch.float32)
            products = (own.to(wide) - end.to(wide)).mul_(gradients.to(wide))
            for image, where in rows:
                part = products[where]
                squares = self._totals.by_channel(layer, part).double().square().sum(0)
                pieces.append(self._totals.piece(layer, image, number, part.sum(0), n_samples, squares))

        points = self._paths.points(numbers, self._draws.t.flatten()[items])
        _, shapes = layer_gradients(self._network, points, self._paths.targets(numbers), self._layers, receive)
        self._totals.add(pieces)
        self._totals.expect(shapes, points)

    def _changes(self, images: torch.Tensor, background: torch.Tensor) -> _Changes:
        """Runs the images and background images of a chunk, each once.

        Returns:
            For a layer by name, its values at each row's image and at its background image.
        """
        own, at_own = torch.unique(images, return_inverse=True)
        ends, at_end = torch.unique(background, return_inverse=True)
        run = LayerPass(self._network, self._layers)
        with torch.no_grad():
            run.run(laid_out(torch.cat([self._paths.inputs[own], self._paths.baselines[ends, 0]])))
        return lambda layer: (run.values[layer][at_own], run.values[layer][len(own) + at_end])
