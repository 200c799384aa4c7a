"""Parameters of inversion."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from attribution_contracts.base import ClassIndex, ClassName
from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.parameters.feature_visualization import OUTPUT
from attribution_contracts.parameters.layers import LayerChoice


class InversionParams(MethodParams):
    """Inversion: pictures, made from noise, that a layer cannot tell from the image."""

    version = 1
    use = "for a debugger: what of an image a layer keeps, and what it has given up"
    guarantee = "heuristic: each picture comes with the error of its representation; no picture is unique"
    cost_class = "for each start and step a forward and a backward pass"
    makes_maps = False

    method: Literal["inversion"]
    layer: LayerChoice = "last"
    """A layer by its name; `last`, the last one with places; or `output`, whose channels are the classes."""
    channels: Annotated[list[ClassIndex | ClassName], Field(min_length=1, max_length=256)] | None = None
    """Channels of the layer, or classes of the output by index or name, that alone are to be matched; all unless
    told."""
    n_starts: Annotated[int, Field(ge=1, le=16, strict=True)] = 3
    """Pictures of each image, from different noise: what they share the layer has kept."""
    n_steps: Annotated[int, Field(ge=1, le=5000, strict=True)] = 200
    """Steps of each picture."""
    step_size: Annotated[float, Field(gt=0, le=1, strict=True)] = 0.05
    """Of the first step, as a share of what natural images have of each frequency; later ones are shorter."""
    total_variation: Annotated[float, Field(ge=0, le=100, strict=True)] = 0.2
    """Weight of smoothness: of the mean square difference of neighbours, beside the squared relative error."""
    decay: Annotated[float, Field(ge=0, le=100, strict=True)] = 0.001
    """Weight of the mean sixth power of the distance from grey."""

    @property
    def planes(self) -> int:
        """A picture a start."""
        return self.n_starts

    @property
    def quantities(self) -> tuple[str, ...]:
        """The pictures of each image."""
        return ("inversion",)

    def passes(self, scale: Scale) -> int:
        """Forward and backward for each step of each start, and forward at both ends."""
        del scale
        return self.n_starts * (2 * self.n_steps + 1) + 1

    @model_validator(mode="after")
    def _require_sense(self) -> "InversionParams":
        if self.channels is not None and len(set(self.channels)) < len(self.channels):
            raise ValueError("channels: each may be named once")
        if self.layer != OUTPUT and (names := [one for one in self.channels or [] if isinstance(one, str)]):
            raise ValueError(f"channels: {names[0]!r} is a name, which classes have; channels of a layer are numbers")
        return self
