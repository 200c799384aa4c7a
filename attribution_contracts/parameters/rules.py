"""What methods have that hand an output back by rules, layer by layer."""

from typing import Annotated

from pydantic import Field

from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.parameters.layers import AnyLayers, Concept
from attribution_contracts.targets import Target


class RuleParams(MethodParams):
    """What is handed back, and what is shown of it on the way."""

    target: Target = "predicted"
    """The classes to explain."""
    layers: AnyLayers | None = None
    """Layers whose shares are shown beside the image's: `last`, `stages`, `all`, or some by name, kind (`conv`) or
    pattern (`features.*`); none unless told."""
    concept: Concept | None = None
    """Hand on what goes through these channels of a layer alone."""
    top: Annotated[int, Field(ge=1, le=100, strict=True)] = 10
    """How many channels of each layer are listed, the largest shares first whatever their sign."""

    @property
    def explained(self) -> list[str] | None:
        """The layers explained, the image among them; nothing where it is the only one."""
        if self.layers is None:
            return None
        # The last layer with places is among the stages; a word in a list means what it means alone.
        words = {"last": "stages"}
        return ["input", *([words.get(self.layers, self.layers)] if isinstance(self.layers, str) else self.layers)]

    @property
    def quantities(self) -> tuple[str, ...]:
        """The maps of each image, class and layer."""
        return ("attributions",)

    def backward(self, scale: Scale) -> int:
        """Backward passes of one image."""
        return scale.targets * (1 if self.concept is None else 2)
