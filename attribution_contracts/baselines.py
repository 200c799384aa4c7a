"""What an image is compared with."""

from typing import Annotated, Literal

from pydantic import Field

from attribution_contracts.base import Name, Wire
from attribution_contracts.images import ImageRef


class ZeroBaseline(Wire):
    """Zero after normalisation: every pixel at the mean colour of the model's preprocessing."""

    kind: Literal["zero"] = "zero"

    @property
    def said(self) -> str:
        """What it is, in words."""
        return "the mean colour of the model's preprocessing"


class BlackBaseline(Wire):
    """Black in pixel space, through the model's normalisation."""

    kind: Literal["black"] = "black"

    @property
    def said(self) -> str:
        """What it is, in words."""
        return "black"


class WhiteBaseline(Wire):
    """White in pixel space, through the model's normalisation."""

    kind: Literal["white"] = "white"

    @property
    def said(self) -> str:
        """What it is, in words."""
        return "white"


class MeanBaseline(Wire):
    """Each image's own mean colour."""

    kind: Literal["mean"] = "mean"

    @property
    def said(self) -> str:
        """What it is, in words."""
        return "the image's own mean colour"


class BlurBaseline(Wire):
    """The image blurred by a Gaussian."""

    kind: Literal["blur"] = "blur"
    sigma: Annotated[float, Field(ge=0.1, le=200, strict=True)] = 10.0
    """Standard deviation of the Gaussian, in pixels of the model's input."""

    @property
    def said(self) -> str:
        """What it is, in words."""
        return f"the image blurred with a sigma of {self.sigma:g}"


class UniformBaseline(Wire):
    """Uniform noise in pixel space, drawn from the job's seed and the image's digest."""

    kind: Literal["uniform"] = "uniform"
    n_samples: Annotated[int, Field(ge=1, le=64, strict=True)] = 1
    """How many draws to average."""

    @property
    def said(self) -> str:
        """What it is, in words."""
        return "uniform noise"


class ImageBaseline(Wire):
    """A given image, preprocessed like the input."""

    kind: Literal["image"] = "image"
    image: ImageRef
    """Where the path starts for every input."""

    @property
    def said(self) -> str:
        """What it is, in words."""
        return "the given image"


class BackgroundBaseline(Wire):
    """A set of given images, all averaged for every input."""

    kind: Literal["background"] = "background"
    images: Annotated[list[ImageRef], Field(min_length=1, max_length=64)]
    """The images that are averaged."""

    @property
    def said(self) -> str:
        """What it is, in words."""
        return f"each of {len(self.images)} given images"


class SetBaseline(Wire):
    """A set of images that was registered with the model, all averaged for every input."""

    kind: Literal["set"] = "set"
    name: Name
    """Its name in the model's `backgrounds`."""

    @property
    def said(self) -> str:
        """What it is, in words."""
        return f"each image of the set {self.name}"


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


class NoisyLinearBaseline(Wire):
    """The weighted mean of a pixel's eight neighbours, known or gone alike, and a little Gaussian noise (ROAD)."""

    kind: Literal["noisy_linear"] = "noisy_linear"
    noise: Annotated[float, Field(ge=0, le=1, strict=True)] = 0.01
    """Standard deviation of the noise, where black to white is 1; from the job's seed and the image's digest."""


Fill = Annotated[Baseline | NoisyLinearBaseline, Field(discriminator="kind")]
"""What takes the place of pixels: a fixed image, or what the pixels that remain make likely."""
