"""In which ways a classifier decides for each class, and how far each decision is from them."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from attribution_contracts.base import ClassIndex, Sha256, Wire
from attribution_contracts.tasks.base import DataTask

MapMethod = Literal["lrp", "input_x_gradient"]
MAP_METHODS: tuple[MapMethod, ...] = ("lrp", "input_x_gradient")
"""The first one that applies unless told."""


class StrategiesTask(DataTask):
    """The strategies of each class, as clusters of the maps of its images, and how far each image is from them."""

    belongs_to = "strategies"
    fewest = 2

    task: Literal["strategies"]
    maps: MapMethod | None = None
    """What maps are made by; lrp where it applies to the model, else input_x_gradient, unless told."""
    group: Literal["label", "prediction"] = "label"
    """What makes images those of a class, whose output is then explained: the data set, or the classifier."""
    classes: Annotated[list[ClassIndex], Field(min_length=1, max_length=64)] | None = None
    """The classes to look at, by index; all unless told."""
    side: Annotated[int, Field(ge=2, le=32, strict=True)] = 8
    """Cells along each side that maps are compared in."""
    n_examples: Annotated[int, Field(ge=1, le=12, strict=True)] = 6
    """Images of each strategy on its sheet."""

    @property
    def uses(self) -> tuple[str, ...]:
        """What maps are made by, where it is named."""
        return () if self.maps is None else (self.maps,)

    @field_validator("classes")
    @classmethod
    def _require_each_once(cls, classes: list[int] | None) -> list[int] | None:
        if classes is not None and len(set(classes)) < len(classes):
            raise ValueError("each class may be named once")
        return classes


class Strategy(Wire):
    """Images of a class whose maps are strong in the same places."""

    images: int
    share: float
    """Of the images of the class."""
    right: float
    """Share of them that the classifier gives their label."""
    nearest: list[str]
    """The images closest to its centre, by their names in the data set."""


class ClassStrategies(Wire):
    """The strategies of one class."""

    index: int
    name: str | None = None
    images: int
    clustered: int
    """Of these, how many the clusters were found on; the others have the strategy that they are most likely of."""
    n_neighbors: int
    """Of each map in the graph: a strategy of no more images is not seen."""
    eigenvalues: list[float]
    """The smallest of the graph's; one of nearly 0 a cluster."""
    strategies: list[Strategy]
    """The one with the most images first."""
    farthest: list[str]
    """The images furthest from every strategy."""


class StrategiesReport(Wire):
    """The strategies of each class."""

    state: Sha256
    """Digest of what tells the distance of other decisions, for later."""
    maps: MapMethod
    images: int
    several: list[int]
    """The classes with more than one strategy: look at these first."""
    by_class: list[ClassStrategies]
    """Those with at least two images."""
