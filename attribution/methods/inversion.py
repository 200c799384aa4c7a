"""What a layer keeps of an image: pictures, made from noise, that have the same representation."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch

from attribution.checks import require_count, require_number
from attribution.errors import NetworkError
from attribution.layerwise.places import LAST
from attribution.networks.network import Network, require_network
from attribution.noise import Generators, image_generators
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk
from attribution.visualisation.ascent import ascended
from attribution.visualisation.inverting import SlowingWaves, excess, roughness, spread
from attribution.visualisation.normalising import Normalisation, wide
from attribution.visualisation.representations import Representation, each_once
from attribution.visualisation.spectra import natural_spectrum

_LARGEST_SEED = 2**62


class Inversion(NamedTuple):
    """Pictures for each image and start.

    Attributes:
        pixels: ``(batch, starts, channels, height, width)``, between 0 and 1, before normalisation.
        relative_error: float64 ``(batch, starts)``, the distance of the representations as a share of the image's own.
        start_error: The same of the noise that the picture began with.
        curve: float64 ``(batch, starts, n_steps)``, the same before each step.
        distance: float64 ``(batch, starts)``, root mean square difference of pixels from the image.
        spread: float64 ``(batch,)``, the same between two starts: how far the representation leaves the image open.
        layer: The layer.
        chunk_size: Pictures at once, after any halving.
    """

    pixels: torch.Tensor
    relative_error: torch.Tensor
    start_error: torch.Tensor
    curve: torch.Tensor
    distance: torch.Tensor
    spread: torch.Tensor
    layer: str
    chunk_size: int


def inversion(
    network: Network,
    inputs: torch.Tensor,
    *,
    layer: str = LAST,
    channels: Sequence[int] | None = None,
    n_starts: int = 3,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    n_steps: int = 200,
    step_size: float = 0.05,
    total_variation: float = 0.2,
    decay: float = 0.001,
    generator: Generators | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Inversion:
    r"""Looks for pictures that a layer cannot tell from an image.

    With :math:`\phi` what the layer makes of an image and :math:`x_0` the image,

    .. math:: \min_x \frac{\|\phi(x) - \phi(x_0)\|^2}{\|\phi(x_0)\|^2} + \lambda_V R_V(x) + \lambda_6 R_6(x)

    over pixels between 0 and 1, where :math:`R_V` is the mean square difference of neighbours and :math:`R_6` the mean
    sixth power of the distance from grey. Adam's steps change the waves that a picture is made of, each in units of
    what natural images have of it: of pixels they would make noise with the same representation. What all starts share
    the layer has kept; where they differ it has not.

    Args:
        network: What to look into; layers but the output need its graph.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        layer: A layer's name, ``"last"`` for the last one with places, or ``"output"``.
        channels: Channels of the layer that are to be matched, from 0; of the output the classes. All unless told.
        n_starts: Pictures of each image, from different noise.
        mean: What the network's normalisation subtracts from pixels between 0 and 1, one a channel or one for all.
        std: What it divides them by.
        n_steps: Steps of each picture.
        step_size: Of the first, as a share of what natural images have of each frequency; later ones are shorter.
        total_variation: :math:`\lambda_V`.
        decay: :math:`\lambda_6`.
        generator: One for each image, or one for all; seed 0 unless told.
        chunk_size: Pictures at once; fitted to memory unless told, halved when it runs out.
        progress: Called after each step with steps done and to do, over all pictures; may raise to cancel.

    Returns:
        The pictures, how far their representations are from the image's, and how far they are from each other.

    Raises:
        InvalidInput: Inputs do not fit the network, or ``mean`` and ``std``.
        InvalidOption: An option out of range, or a channel that the layer does not have.
        NetworkError: No gradients, no such layer, or a representation that is zero or not finite.
        OutOfMemory: A single picture does not fit into memory.

    Cost:
        For each image, start and step a forward and a backward pass up to the layer.

    Guarantee:
        Heuristic: the error that was reached is exact and comes with each picture; a smaller one may be possible, and
        pictures are not unique.

    Source:
        Mahendran & Vedaldi 2015, "Understanding Deep Image Representations by Inverting Them", arXiv 1412.0035,
        section 3; total variation with a power of 2, decay with one of 6.

    >>> same = torch.nn.Conv2d(1, 1, 1, bias=False)
    >>> _ = same.weight.data.fill_(1.0)
    >>> network = Network(torch.nn.Sequential(same, torch.nn.Flatten()), (1, 2, 2))
    >>> image = torch.tensor([[[[0.2, 0.4], [0.6, 0.8]]]])
    >>> found = inversion(network, image, layer="0", n_starts=1, total_variation=0, decay=0)
    >>> bool((found.pixels[0] - image).abs().max() < 0.01), bool(found.relative_error < 0.01)
    (True, True)
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    require_count(n_starts, "n_starts", 1, 64)
    require_count(n_steps, "n_steps")
    step = require_number(step_size, "step_size", 1e-6, 1)
    weights = (require_number(total_variation, "total_variation", 0), require_number(decay, "decay", 0))
    shape = (inputs.shape[1], inputs.shape[2], inputs.shape[3])
    normal = Normalisation(mean, std, shape)
    with torch.inference_mode(False):
        network.require_gradients(inputs)
        represented = _Represented(Representation(network, layer), channels)
        own = image_generators(generator, len(inputs))
        generators = [_child(one) for one in own for _ in range(n_starts)]
        size = default_chunk(network, inputs) if chunk_size is None else chunk_size
        chunks = Chunks(size, n_steps * len(generators), progress)
        kept = normal.pixels(inputs, wide(inputs.dtype))
        work = _Work(represented, normal, inputs, n_starts, n_steps, step, weights, chunks)
        whole = work.all(generators)
    by_start = _Inverted(*(part.reshape(len(inputs), n_starts, *part.shape[1:]) for part in whole))
    distance = (by_start.pixels - kept[:, None]).double().square().flatten(2).mean(2).sqrt()
    return Inversion(
        by_start.pixels,
        by_start.relative_error,
        by_start.curve[..., 0],
        by_start.curve,
        distance,
        spread(by_start.pixels),
        represented.layer,
        chunks.size,
    )


class _Inverted(NamedTuple):
    """What there is of some pictures."""

    pixels: torch.Tensor
    relative_error: torch.Tensor
    curve: torch.Tensor


class _Represented:
    """What a layer makes of images, or some channels of it, as one vector an image."""

    def __init__(self, representation: Representation, channels: Sequence[int] | None) -> None:
        self._representation = representation
        self._channels = None if channels is None else each_once(channels)

    @property
    def layer(self) -> str:
        """Its name."""
        return self._representation.layer

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns vectors ``(n, features)``."""
        values = self._representation(inputs)
        if self._channels is not None:
            maps = self._representation.maps(values)
            self._representation.require_channels(maps, self._channels)
            values = maps[:, self._channels]
        return values.flatten(1)


class _Work(NamedTuple):
    """What inverts representations, chunk by chunk."""

    represented: _Represented
    normal: Normalisation
    inputs: torch.Tensor
    n_starts: int
    n_steps: int
    step: float
    weights: tuple[float, float]
    chunks: Chunks

    def all(self, generators: Sequence[torch.Generator]) -> _Inverted:
        """Returns what there is of all pictures, start by start and image by image."""
        found = list[_Inverted]()
        while (start := sum(len(part.pixels) for part in found)) < len(generators):
            rest = generators[start:]
            states = [one.get_state() for one in rest]
            found.append(self.chunks.fitted(partial(self._inverted, start, rest, states)))
        return _Inverted(*map(torch.cat, zip(*found, strict=True)))

    def _inverted(
        self, start: int, rest: Sequence[torch.Generator], states: Sequence[torch.Tensor], size: int
    ) -> _Inverted:
        """Returns what there is of pictures from one on, so many at once."""
        own = rest[:size]
        for generator, state in zip(rest, states, strict=True):  # a chunk that did not fit begins anew
            generator.set_state(state)
        images = [(start + row) // self.n_starts for row in range(len(own))]
        with torch.no_grad():
            wanted = self.represented(self.inputs[images])
        lengths = _require_lengths(wanted, images)

        def error(pixels: torch.Tensor) -> torch.Tensor:
            found = self.represented(self.normal.inputs(pixels, self.inputs.dtype))
            return ((found - wanted).double().square().sum(1) / lengths.square()).to(pixels.dtype)

        def value(pixels: torch.Tensor, rows: list[int]) -> torch.Tensor:
            del rows
            smooth, plain = self.weights
            squared = error(pixels)
            told.append(squared.detach().double().sqrt())
            return -(squared + smooth * roughness(pixels) + plain * excess(pixels))

        told = list[torch.Tensor]()
        shape = (self.inputs.shape[1], self.inputs.shape[2], self.inputs.shape[3])
        like = torch.zeros(1, dtype=wide(self.inputs.dtype), device=self.inputs.device)
        spectrum = natural_spectrum(shape, like)
        picture = SlowingWaves(spectrum, shape[1:], step_size=self.step, n_steps=self.n_steps)
        advance = partial(self.chunks.advance, len(own))
        found = ascended(picture, value, lambda pixels, _: [pixels], own, self.n_steps, advance)
        with torch.no_grad():
            return _Inverted(found.pixels, error(found.pixels).double().sqrt(), torch.stack(told, 1))


def _require_lengths(wanted: torch.Tensor, images: Sequence[int]) -> torch.Tensor:
    """Returns the length of each representation.

    Raises:
        NetworkError: One is zero or not finite.
    """
    lengths = wanted.double().square().sum(1).sqrt()
    wrong = ~(lengths.isfinite() & (lengths > 0))
    if bool(wrong.any()):
        rows = sorted({images[row] for row in wrong.nonzero()[:, 0].tolist()})
        raise NetworkError(
            f"the representations of images {rows} are zero or not finite: there is nothing to match; choose another"
            " layer or other channels"
        )
    return lengths


def _child(generator: torch.Generator) -> torch.Generator:
    """Returns a generator of its own for a start, so that it does not matter which others run beside it."""
    seed = int(torch.randint(_LARGEST_SEED, (), generator=generator, device=generator.device))
    return torch.Generator().manual_seed(seed)
