"""Parameters of activation maps."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.parameters.layers import AnyLayers, Channel

_N_TOP = 9


class ActivationMapsParams(MethodParams):
    """Activation maps: what single neurons of a layer answer to an image, and which of them stand out."""

    version = 1
    use = "for a debugger: which neurons of a layer an image excites, and where; it says nothing of a class"
    guarantee = "exact: the network's own values; what a neuron does for a class they do not say"
    cost_class = "one forward pass for each image, for all layers together"

    method: Literal["activation_maps"]
    layers: AnyLayers = "last"
    """The last layer with places; stem, ends of stages and last convolution; all layers; or some by name, kind (`conv`)
    or pattern (`features.*`)."""
    n_top: Annotated[int, Field(ge=1, le=64, strict=True)] | None = None
    """How many neurons with the largest sums are shown of each image and layer; 9 unless told."""
    channels: Annotated[list[Channel], Field(min_length=1, max_length=64)] | None = None
    """The neurons to show, by index from 0, in place of those with the largest sums."""

    @property
    def explained(self) -> str | list[str]:
        """The layers explained."""
        return self.layers

    @property
    def quantities(self) -> tuple[str, ...]:
        """The maps of each image and layer."""
        return ("activation",)

    @property
    def planes(self) -> int:
        """One a neuron."""
        return (self.n_top or _N_TOP) if self.channels is None else len(self.channels)

    def has_map(self, shape: Sequence[int] | None) -> bool:
        """Whether a layer has several places, as far as its shape tells."""
        return shape is not None and len(shape) == 3 and max(shape[1:]) > 1

    def passes(self, scale: Scale) -> int:
        """A forward pass, whatever the layers."""
        del scale
        return 1

    @model_validator(mode="after")
    def _require_one_choice(self) -> "ActivationMapsParams":
        if self.channels is None:
            return self
        if self.n_top is not None:
            raise ValueError("channels: it says which neurons are shown and n_top how many; give one of them")
        if len(set(self.channels)) < len(self.channels):
            raise ValueError("channels: each may be named once")
        return self
