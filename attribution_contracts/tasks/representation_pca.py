"""How a layer represents the images of a data set: their principal components."""

from typing import Annotated, Literal

from pydantic import Field

from attribution_contracts.base import Wire
from attribution_contracts.parameters.layers import LayerChoice
from attribution_contracts.tasks.base import DataTask

WIDEST = 4096
"""Numbers of a representation at most."""
MOST_NUMBERS = 2**27
"""Of all representations of one part: 512 MiB."""


class RepresentationPcaTask(DataTask):
    """The directions in which a layer's representations of images differ most, and where each image lies."""

    belongs_to = "representation_pca"
    fewest = 2
    needs_layers = True

    task: Literal["representation_pca"]
    layer: LayerChoice = "last"
    """The layer, by its name; the last one with places unless told."""
    representation: Literal["mean", "flat"] = "mean"
    """Of an image: the mean of each feature map, or all values of the layer."""
    n_components: Annotated[int, Field(ge=2, le=50, strict=True)] = 10
    """Directions that are kept; fewer where there are fewer."""
    color: Literal["label", "prediction", "probability", "right"] = "label"
    """What the points of the chart are coloured by, and those of the page to begin with: the class in the data set, the
    one that the model gives, the probability of the latter, or whether both are the same."""
    n_pictures: Annotated[int, Field(ge=0, le=2000, strict=True)] = 1000
    """Images that the page shows when pointed at, evenly taken from the data set."""


class Separation(Wire):
    """How much of the variance along the first two components lies between groups of images, from 0 to 1."""

    label: float
    """Between the classes of the data set."""
    prediction: float
    """Between those that the model gives."""


class RepresentationPcaReport(Wire):
    """How a layer represents images."""

    layer: str
    representation: Literal["mean", "flat"]
    images: int
    width: int
    """Numbers of a representation."""
    explained: list[float]
    """Share of the variance along each component."""
    half: int
    """Components that hold half of the variance."""
    most: int
    """Components that hold nine tenths of it."""
    separation: Separation
