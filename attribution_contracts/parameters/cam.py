"""Parameters of class activation maps."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.parameters.layers import AnyLayers
from attribution_contracts.targets import ExplainedOutput, Target

Variant = Literal["grad_cam", "hires_cam", "layer_cam", "grad_cam_plus_plus", "x_grad_cam"]


class CamParams(MethodParams):
    """Class activation maps: where the feature maps of a layer speak for a class (Grad-CAM and its kin)."""

    version = 3
    use = "for a customer: a coarse map of where, in one pass; the layer's grid is what it resolves"
    guarantee = "heuristic; values and gradients are exact, and hires_cam adds up where all behind the layer is affine"
    cost_class = "one forward and backward pass for each image, for all layers and variants together"

    method: Literal["cam"]
    target: Target = "predicted"
    """The classes to explain."""
    output: ExplainedOutput = "logit"
    """What is explained: the raw logit (default), the probability or its logarithm."""
    variants: Annotated[list[Variant], Field(min_length=1, max_length=5)] = ["grad_cam"]
    """The formulas, each of which makes a map, all from one pass."""
    layers: AnyLayers = "last"
    """The last layer with places; stem, ends of stages and last convolution; all layers; or some by name, kind (`conv`)
    or pattern (`features.*`)."""
    fuse: bool = False
    """The mean of the layers, each laid over the image where its units look, in place of a map for each."""

    @property
    def explained(self) -> str | list[str]:
        """The layers explained."""
        return "last" if self.fuse else self.layers

    @property
    def quantities(self) -> tuple[str, ...]:
        """The maps of each image, class and layer."""
        return tuple(self.variants)

    def has_map(self, shape: Sequence[int] | None) -> bool:
        """Whether a layer has several places, as far as its shape tells."""
        return shape is not None and len(shape) == 3 and max(shape[1:]) > 1

    def passes(self, scale: Scale) -> int:
        """A forward pass and one backward for each class."""
        return 1 + scale.targets

    @model_validator(mode="after")
    def _require_each_once(self) -> "CamParams":
        if len(set(self.variants)) < len(self.variants):
            raise ValueError("variants: each may be named once")
        return self
