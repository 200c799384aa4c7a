"""Maps over noisy copies of an image, for every method by gradients."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from attribution_contracts.base import Wire


class Smooth(Wire):
    """Explain noisy copies of each image and put their maps together, with a standard error."""

    kind: Literal["smoothgrad", "squaregrad", "vargrad"] = "smoothgrad"
    """The mean of the maps, the mean of their squares, or their variance."""
    n_samples: Annotated[int, Field(ge=1, le=256, strict=True)] = 16
    """How many noisy copies."""
    noise: Annotated[float, Field(gt=0, le=1, strict=True)] = 0.1
    """Standard deviation of the noise as a share of the range from black to white."""

    @property
    def quantity(self) -> str | None:
        """What the maps are called where they are not of the method's own unit."""
        return {"squaregrad": "square", "vargrad": "variance"}.get(self.kind)

    @model_validator(mode="after")
    def _require_spread(self) -> "Smooth":
        if self.kind == "vargrad" and self.n_samples < 2:
            raise ValueError("n_samples is 1: a variance needs at least 2 copies")
        return self


def copies(smooth: Smooth | None) -> int:
    """How many images are explained for each."""
    return 1 if smooth is None else smooth.n_samples
