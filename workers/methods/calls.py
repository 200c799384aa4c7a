"""What a method is called with, and what it returns to the job."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from torch import Tensor

from attribution import Network
from attribution.class_sets import Classes
from attribution.networks.lattices import Lattice
from attribution_contracts.images import ImageRef
from attribution_contracts.models import Preprocessing
from attribution_contracts.parameters.base import MethodParams
from attribution_contracts.warnings import ResultWarning
from workers.methods.baselines import Row

OutputKind = Literal["signed", "magnitude", "regions", "ranks", "per_layer", "layer_magnitude", "picture", "values"]
"""Maps of the image, signed or not, and such whose regions have edges; maps of a layer at its own resolution; pictures
with pixels between 0 and 1; or values that are stored and not drawn."""


class Alone(NamedTuple):
    """What a method that looks at no image knows in place of rows."""

    seed: int
    """The job's."""
    preprocessing: Preprocessing
    """What the model makes of an image."""
    backgrounds: Mapping[str, Sequence[str]]
    """The model's named sets of images, as digests."""
    fetch: Callable[[ImageRef], Tensor]
    """An image as the model sees it."""


class Call(NamedTuple):
    """One call of a method: images of one job that take the same number of targets."""

    network: Network
    rows: Sequence[Row]
    inputs: Tensor
    """`(batch, channels, height, width)`, normalised."""
    target: Tensor
    """`int64 (batch, k)`; of a method that compares classes k is 0."""
    params: Any
    """The method's parameters, of the class that the table says."""
    progress: Callable[[int, int], None]
    """Called between chunks with what is done and the total of this call; raises to stop."""
    kept_bytes: int
    """Memory for what a method keeps besides its chunk."""
    artifact: Callable[[str], bytes]
    """Fetches an artefact that the parameters name, by its digest."""
    labels: Sequence[str] = ()
    """Names of the model's classes, where it has some."""
    against: Tensor | None = None
    """What the classes are held against: classes `int64 (batch, k)`, or weights `float64 (batch, k, classes)`."""
    alone: Alone | None = None
    """Of a method that looks at no image."""


class MethodOutput(NamedTuple):
    """One map of every image."""

    field: str
    """Key of the method's outputs, which say how it is drawn."""
    values: Tensor
    """`(batch, channels, height, width)`; an image whose map is not finite has none."""
    targets: list[int] | None = None
    """The explained class of each image, where it is of one."""
    layer: str | None = None
    part: str | None = None
    """Tells several maps of one field and class apart."""
    lattice: Lattice | None = None
    """Of a layer's map: where its units lie in the image, where that is known."""
    channels: list[list[int]] | None = None
    """Of maps of single neurons: the channel of the layer that each plane of each image is; every plane is then a map
    of its own."""
    units_of: str | None = None
    """The layer whose units a map has that names no layer."""
    unit: int | None = None
    """The channel of the layer that all of it is of."""

    def maps_of(self, position: int) -> Iterator[tuple[int | None, Tensor]]:
        """The maps of one image: each neuron's, with its channel, or one of all planes together."""
        values = self.values[position]
        if self.channels is None:
            yield None, values
        else:
            yield from zip(self.channels[position], values.unsqueeze(1), strict=True)


class Uncertainty(NamedTuple):
    """How far a layer's estimated scores may be off, and how many independent draws say so."""

    standard_error: list[float | None]
    """Of each score; nothing where a single draw shows no spread, as in `interval`."""
    interval: list[list[float] | None]
    """Both ends of what holds each score in 95 % of all runs."""
    n_draws: int


class LayerScores(NamedTuple):
    """All scores of one layer for one class."""

    target: int
    layer: str
    scores: list[float]
    uncertainty: Uncertainty | None
    """Nothing where no score is a random estimate."""


class Figures(NamedTuple):
    """What a method says of one image beside its maps."""

    sums: Sequence[float] = ()
    """Of the map of each explained class; of several, of the first layer's."""
    wire: Mapping[str, Any] = MappingProxyType({})
    """By field of the image's result: see `attribution_contracts.figures`."""
    scores: Sequence[LayerScores] = ()
    """What is stored beside them as a file."""
    warnings: Sequence[ResultWarning] = ()
    """What speaks against it: as the method says itself, and as found afterwards."""


class Explained(NamedTuple):
    """What a method returns."""

    outputs: list[MethodOutput]
    figures: list[Figures]
    """One an image."""
    chunk_size: int
    compared: Classes = "all"
    """The classes that figures about the outputs as a whole are taken over."""
    peak_bytes: int | None = None


class Method(NamedTuple):
    """One row of the table of methods."""

    params: type[MethodParams]
    run: Callable[[Call], Explained]
    outputs: dict[str, OutputKind]
    """How each output is drawn."""
    trial: Mapping[str, Any] | Callable[[Sequence[int]], Mapping[str, Any]] = MappingProxyType({})
    """Parameters of the small call that shows whether the method applies to a model, or what gives them for the shape
    of its images; the defaults unless told."""
