"""What units of a network look for: pictures that excite them, by gradient ascent."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch

from attribution.checks import require_choice, require_count
from attribution.errors import InvalidOption
from attribution.networks.network import Network, require_network
from attribution.noise import image_generators
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk
from attribution.visualisation.ascent import ascended
from attribution.visualisation.normalising import Normalisation, picture_shape, wide
from attribution.visualisation.representations import OUTPUT, Representation, Units
from attribution.visualisation.spectra import natural_spectrum, spectrum_of
from attribution.visualisation.ways import Way, fixed_magnitudes, free_pixels

Mode = Literal["maco", "plain"]
Magnitudes = Literal["natural", "images"]


class FeatureVisualization(NamedTuple):
    """A picture for each unit.

    Attributes:
        pixels: ``(units, channels, height, width)``, between 0 and 1, before normalisation.
        activation: float64 ``(units,)``, what the unit answers to its picture.
        curve: float64 ``(units, n_steps)``, what it answered before each step: to the whole picture, which ``plain``
            has moved a little.
        redrawn: int64 ``(units,)``, how often a picture to which the unit was silent was drawn anew.
        channels: The units, in the order of all others.
        natural: float64 ``(n, units)``, what the units answer to the given images; nothing where none were given.
        layer: The layer that they are of.
        chunk_size: Units at once, after any halving.
    """

    pixels: torch.Tensor
    activation: torch.Tensor
    curve: torch.Tensor
    redrawn: torch.Tensor
    channels: list[int]
    natural: torch.Tensor | None
    layer: str
    chunk_size: int


class _Raised(NamedTuple):
    """The same of some units."""

    pixels: torch.Tensor
    activation: torch.Tensor
    curve: torch.Tensor
    redrawn: torch.Tensor


def feature_visualization(
    network: Network,
    channels: Sequence[int] | None = None,
    *,
    layer: str = OUTPUT,
    at: tuple[int, int] | None = None,
    mode: Mode = "maco",
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    images: torch.Tensor | None = None,
    magnitudes: Magnitudes = "natural",
    n_steps: int = 64,
    step_size: float | None = None,
    n_crops: int = 1,
    noise: float = 0.1,
    jitter: float = 0.03,
    blur: float = 0.5,
    total_variation: float = 0.25,
    generator: Callable[[int], torch.Generator] | torch.Generator | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> FeatureVisualization:
    r"""Makes a picture for each unit, from noise, that the unit answers to strongly.

    A unit is a feature map :math:`A_k`, of which the mean over its places is raised; one place of it; or an output of
    the network, so that the picture is of a class. With :math:`z` what is free in a picture :math:`x(z)`,

    .. math:: z^* = \arg\max_z \; \mathbb{E}_\tau \, a_k(\tau(x(z))).

    ``"maco"`` keeps the magnitude of every frequency of the picture at that of natural images and changes the phases
    alone, so that high frequencies cannot take over; :math:`\tau` are the whole picture and random parts of it,
    enlarged, with noise. ``"plain"`` changes pixels by plain ascent from grey noise; :math:`\tau` moves the picture.

    Args:
        network: What to look into, with its ``input_shape``; layers but the output need its graph.
        channels: The units: channels of the layer, from 0; of the output the classes. The first nine unless told.
        layer: A layer's name, ``"last"`` for the last one with places, or ``"output"``.
        at: Row and column of a single neuron of each map; the mean of the map without.
        mode: ``"maco"`` or ``"plain"``.
        mean: What the network's normalisation subtracts from pixels between 0 and 1, one a channel or one for all.
        std: What it divides them by.
        images: Normalised natural images ``(n, channels, height, width)``, whose activations the results are held
            against.
        magnitudes: Of ``maco``: ``"natural"``, a closed form that falls with the frequency and has little colour, or
            ``"images"``, the mean over ``images``.
        n_steps: Steps.
        step_size: Of each: radians of a phase, 0.5 unless told; or root mean square of the pixels' change, 0.04.
        n_crops: Of ``maco``: random parts at each step, beside the whole picture.
        noise: Of ``maco``: standard deviation of the noise on these, in pixels between 0 and 1.
        jitter: Of ``plain``: how far pictures are moved, as a share of their sides.
        blur: Of ``plain``: standard deviation, in pixels, of the Gaussian after each step; 0 for none.
        total_variation: Of ``plain``: weight of smoothness beside the unit's gradient, both of unit size.
        generator: One for all units, or what gives one for each channel, so that no picture depends on the others;
            seed 0 for each unless told.
        chunk_size: Units at once; fitted to memory unless told, halved when it runs out.
        progress: Called after each step with steps done and to do, over all units; may raise to cancel.

    Returns:
        Pictures, what the units answer to them and to the images, and how they rose.

    Raises:
        InvalidInput: The images do not fit, the size of the network's images is not known, or ``mean`` and ``std``.
        InvalidOption: An option out of range, a channel or place that there is not, or magnitudes of no images.
        NetworkError: The network has no gradients or no such layer, or values that are not finite.
        OutOfMemory: A single unit does not fit into memory.

    Cost:
        For each unit and step a forward and a backward pass, up to the layer, of the picture and each part; one more
        forward pass at the end, and one an image.

    Guarantee:
        Heuristic: a picture that excites the unit, not the one that does so most, nor one that it was trained on. How
        far it exceeds what natural images excite it to is in the result.

    Source:
        Fel et al. 2023, "Unlocking Feature Visualization for Deep Networks with MAgnitude Constrained Optimization",
        arXiv 2306.06805, section 3 (there the magnitudes are the mean of ImageNet's); for ``plain`` Erhan et al. 2009,
        "Visualizing Higher-Layer Features of a Deep Network", and Simonyan et al. 2014, arXiv 1312.6034, section 2.

    >>> pixel = torch.nn.Conv2d(1, 1, 1, bias=False)
    >>> _ = pixel.weight.data.fill_(2.0)
    >>> network = Network(torch.nn.Sequential(pixel, torch.nn.Flatten(), torch.nn.Linear(4, 2)), (1, 2, 2))
    >>> found = feature_visualization(network, [0], layer="0", mode="plain", n_steps=40, total_variation=0, blur=0)
    >>> found.pixels.tolist(), found.activation.tolist()
    ([[[[1.0, 1.0], [1.0, 1.0]]]], [2.0])
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    require_choice(mode, "mode", get_args(Mode))
    require_choice(magnitudes, "magnitudes", get_args(Magnitudes))
    require_count(n_steps, "n_steps")
    if at is not None and layer == OUTPUT:
        raise InvalidOption(f"at is {at}, but outputs have no places: leave it out, or choose a layer with maps")
    shape = picture_shape(require_network(network))
    normal = Normalisation(mean, std, shape)
    example = torch.zeros(1, *shape, dtype=network.dtype or torch.float32, device=network.device or "cpu")
    kept = example.to(wide(example.dtype))
    images = None if images is None else network.require_images(images, "images")
    if mode == "plain":
        way = free_pixels(shape, kept, step_size=step_size, jitter=jitter, blur=blur, total_variation=total_variation)
    else:
        if magnitudes == "natural":
            spectrum = natural_spectrum(shape, kept)
        elif images is None:
            raise InvalidOption("magnitudes are those of images, and none are given: give images, or 'natural'")
        else:
            spectrum = spectrum_of(normal.pixels(images, kept.dtype))
        way = fixed_magnitudes(spectrum, shape[1:], step_size=step_size, n_crops=n_crops, noise=noise)
    with torch.inference_mode(False):
        network.require_gradients(example)
        units = Units(Representation(network, layer), channels, example, at)
        generators = (
            [generator(channel) for channel in units.channels]
            if callable(generator)
            else image_generators(generator, len(units.channels))
        )
        size = max(1, default_chunk(network, example) // way.n_views) if chunk_size is None else chunk_size
        chunks = Chunks(size, n_steps * len(units.channels), progress)
        work = _Work(units, way, normal, example.dtype, n_steps, chunks)
        raised = work.all(generators)
        natural = None if images is None else work.natural(images)
    whole = _Raised(*map(torch.cat, zip(*raised, strict=True)))
    return FeatureVisualization(
        whole.pixels, whole.activation, whole.curve, whole.redrawn, units.channels, natural, units.layer, chunks.size
    )


class _Work(NamedTuple):
    """What raises units, chunk by chunk."""

    units: Units
    way: Way
    normal: Normalisation
    dtype: torch.dtype
    n_steps: int
    chunks: Chunks

    def all(self, generators: Sequence[torch.Generator]) -> list[_Raised]:
        """Returns what there is of all units, chunk by chunk."""
        start, found = 0, list[_Raised]()
        while start < len(generators):
            rest = generators[start:]
            states = [one.get_state() for one in rest]
            found.append(self.chunks.fitted(partial(self._raised, start, rest, states)))
            start += len(found[-1].pixels)
        return found

    def _raised(
        self, start: int, rest: Sequence[torch.Generator], states: Sequence[torch.Tensor], size: int
    ) -> _Raised:
        """Returns what there is of units from one on, so many at once."""
        own = rest[:size]
        for generator, state in zip(rest, states, strict=True):  # a chunk that did not fit begins anew
            generator.set_state(state)

        def value(pixels: torch.Tensor, rows: list[int]) -> torch.Tensor:
            inputs = self.normal.inputs(pixels, self.dtype)
            return self.units.of_each(inputs, [start + row for row in rows]).to(pixels.dtype)

        found = ascended(
            self.way.make(), value, self.way.views, own, self.n_steps, partial(self.chunks.advance, len(own))
        )
        with torch.no_grad():
            activation = value(found.pixels, list(range(len(own)))).double()
        return _Raised(found.pixels, activation, found.curve.double(), found.redrawn)

    def natural(self, images: torch.Tensor) -> torch.Tensor:
        """Returns what the units answer to images, ``(n, units)``."""
        with torch.no_grad():
            parts = [self.units.of_all(part).double() for part in torch.split(images, self.chunks.size)]
        return torch.cat(parts)
