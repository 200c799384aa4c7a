"""Which images excite the feature maps of a layer most and least, and which part of each they see."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from attribution_contracts.base import Wire
from attribution_contracts.parameters.layers import Channel, LayerChoice
from attribution_contracts.tasks.base import DataTask

Beside = Literal["deconvolution", "guided_backprop", "lrp"]


class MaximalPatchesTask(DataTask):
    """The images that excite feature maps of a layer most and least, and the patch of each that they see."""

    belongs_to = "maximal_patches"
    needs_layers = True

    task: Literal["maximal_patches"]
    layer: LayerChoice = "last"
    """The layer, by its name; the last one with places unless told."""
    channels: Annotated[list[Channel], Field(min_length=1, max_length=64)] | None = None
    """The feature maps to show, by index from 0."""
    n_channels: Annotated[int, Field(ge=1, le=64, strict=True)] | None = None
    """How many are shown where they are not named, 9 unless told: those that a few images excite far more than others
    do."""
    n_images: Annotated[int, Field(ge=1, le=25, strict=True)] = 9
    """Images on either side."""
    measure: Literal["maximum", "mean", "absolute"] = "maximum"
    """What a feature map is measured by: its largest value, its mean, or its largest absolute value."""
    beside: Beside | Literal["none"] | None = None
    """What leads the unit back to the image beside each patch; unless told lrp where it applies to the model, else
    deconvolution, else nothing."""

    @property
    def uses(self) -> tuple[str, ...]:
        """What leads units back, where it is named."""
        return () if self.beside in {None, "none"} else (str(self.beside),)

    @model_validator(mode="after")
    def _require_one_choice(self) -> "MaximalPatchesTask":
        if self.channels is None:
            return self
        if self.n_channels is not None:
            raise ValueError("channels: it says which feature maps are shown and n_channels how many; give one of them")
        if len(set(self.channels)) < len(self.channels):
            raise ValueError("channels: each may be named once")
        return self


class Patch(Wire):
    """An image that excites a feature map, and where."""

    image: str
    """Its name in the data set."""
    label: int
    """Its class in the data set, as the model counts."""
    name: str | None = None
    """Of that class, where the model's classes have names."""
    value: float
    """The measure of the feature map."""
    row: int
    """Of the unit with the largest value."""
    column: int
    """Of the same."""
    window: tuple[int, int, int, int]
    """What that unit sees, in pixels of the image as the network sees it: the top row, the left column, and the first
    row and column behind it."""


class ChannelPatches(Wire):
    """One feature map."""

    channel: int
    mean: float
    """Of the measure, over all images."""
    std: float
    """Its standard deviation over all images."""
    most: list[Patch]
    """The largest first; of equal ones the first in the data set."""
    least: list[Patch]
    """The smallest first."""


class MaximalPatchesReport(Wire):
    """What excites feature maps of a layer."""

    layer: str
    measure: Literal["maximum", "mean", "absolute"]
    images: int
    n_channels: int
    """Feature maps of the layer."""
    beside: Beside | None
    """What leads each unit back to the image."""
    channels: list[ChannelPatches]
    warnings: list[str] = []
    """What the pictures do not show."""
