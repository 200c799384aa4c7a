"""How much of a classifier's accuracy parts, shape and texture carry."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from attribution_contracts.base import Wire
from attribution_contracts.tasks.base import DataTask

Cue = Literal["shuffled", "occluded", "silhouette", "texture", "blurred", "edges"]
CUES: tuple[Cue, ...] = ("shuffled", "occluded", "silhouette", "texture", "blurred", "edges")


class PartShapeTextureTask(DataTask):
    """The answers to images of which one cue alone is left, and how much of the accuracy each cue carries."""

    belongs_to = "part_shape_texture"

    task: Literal["part_shape_texture"]
    cues: Annotated[list[Cue], Field(min_length=1, max_length=6)] = list(CUES)
    """What is left: patches in other places, the image without some of its parts, its shape in black, a piece of its
    texture everywhere, what is coarse, lines alone."""
    grid: Annotated[int, Field(ge=2, le=32, strict=True)] = 4
    """Patches along each side that change places, or go."""
    hidden: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.5
    """Share of the patches that go."""
    sigma: Annotated[float, Field(ge=0.002, le=0.5, strict=True)] = 0.02
    """Of the blur, as a share of the shorter side."""
    window: Annotated[float, Field(ge=0.05, le=0.9, strict=True)] = 0.25
    """Side of the piece of texture, as a share of the shorter side."""
    n_examples: Annotated[int, Field(ge=0, le=32, strict=True)] = 8
    """Images that are shown with all that is left of them."""

    @field_validator("cues")
    @classmethod
    def _require_each_once(cls, cues: list[Cue]) -> list[Cue]:
        if len(set(cues)) < len(cues):
            raise ValueError("each cue may be named once")
        return cues


class CueFigures(Wire):
    """What is left of the answers where one cue alone is left of the images."""

    cue: Cue
    accuracy: float
    """Share of the images that are right."""
    accuracy_error: float
    """Its standard error."""
    carried: float | None
    """Share of what the accuracy of the images themselves has above chance; null where that is nothing."""
    carried_error: float | None
    """Its standard error, with both answers to an image taken together."""
    moved: float
    """Mean change of the probability of the image's own class."""
    moved_error: float | None
    """The standard error of that mean; null for a single image."""
    kept: float
    """Share of the images that are given the same class as before, right or not."""


class PartShapeTextureReport(Wire):
    """How much of the accuracy each cue carries."""

    images: int
    accuracy: float
    """Of the images themselves."""
    accuracy_error: float
    probability: float
    """The mean probability of the images' own classes."""
    cues: list[CueFigures]
    warnings: list[str] = []
    """Where a rule does not fit the images."""
