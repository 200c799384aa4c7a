"""What an image is compared with."""

from typing import Annotated, Literal

from pydantic import Field

from attribution_contracts.base import Name, Wire
from attribution_contracts.images import ImageRef


class ZeroBaseline(Wire):
    """Zero after normalisation: every pixel at the mean colour of the model's preprocessing."""

    kind: Literal["zero"] = "zero"


class BlackBaseline(Wire):
    """Black in pixel space, through the model's normalisation."""

    kind: Literal["black"] = "black"


class WhiteBaseline(Wire):
    """White in pixel space, through the model's normalisation."""

    kind: Literal["white"] = "white"


class MeanBaseline(Wire):
    """Each image's own mean colour."""

    kind: Literal["mean"] = "mean"


class BlurBaseline(Wire):
    """The image blurred by a Gaussian."""

    kind: Literal["blur"] = "blur"
    sigma: Annotated[float, Field(ge=0.1, le=200, strict=True)] = 10.0
    """Standard deviation of the Gaussian, in pixels of the model's input."""


class UniformBaseline(Wire):
    """Uniform noise in pixel space, drawn from the job's seed and the image's digest."""

    kind: Literal["uniform"] = "uniform"
    n_samples: Annotated[int, Field(ge=1, le=64, strict=True)] = 1
    """How many draws to average."""


class ImageBaseline(Wire):
    """A given image, preprocessed like the input."""

    kind: Literal["image"] = "image"
    image: ImageRef
    """Where the path starts for every input."""


class BackgroundBaseline(Wire):
    """A set of given images, all averaged for every input."""

    kind: Literal["background"] = "background"
    images: Annotated[list[ImageRef], Field(min_length=1, max_length=64)]
    """The images that are averaged."""


class SetBaseline(Wire):
    """A set of images that was registered with the model, all averaged for every input."""

    kind: Literal["set"] = "set"
    name: Name
    """Its name in the model's `backgrounds`."""


Baseline = Annotated[
    ZeroBaseline
    | BlackBaseline
    | WhiteBaseline
    | MeanBaseline
    | BlurBaseline
    | UniformBaseline
    | ImageBaseline
    | BackgroundBaseline
    | SetBaseline,
    Field(discriminator="kind"),
]
