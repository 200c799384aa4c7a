"""What tasks over data sets have in common."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from attribution_contracts.base import ModelRef, Wire

Size = Annotated[int, Field(ge=1, le=100_000, strict=True)]

DatasetRef = ModelRef
"""`name` (its newest version that is ready) or `name@version`."""

ClassOrder = Literal["value", "text"]
"""Of labels that are numbers: 0, 1, 2, 10 by value; 0, 1, 10, 2 as text."""


class DataTask(Wire):
    """What all tasks have."""

    method: ClassVar[str] = "decomposition"
    """The method that a task belongs to, and whose obstacles are its own where it is one that explains."""
    needs_layers: ClassVar[bool] = False
    """Whether it looks at a layer, which only a network with a graph has."""
    fewest: ClassVar[int] = 1
    """Images that it needs."""
    version: ClassVar[int] = 1
    """Of the procedure: what another one computed is not taken for its result."""

    @property
    def uses(self) -> tuple[str, ...]:
        """Ids of the methods whose rules it follows as asked for."""
        return (self.method,)

    shard_images: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 500
    """Images of one part of the job; smaller parts spread better over workers, larger ones cost less."""
    order: ClassOrder | None = None
    """Of labels that are numbers, where the model has no such names: torchvision's ImageFolder numbers them as text."""


class PassTask(DataTask):
    """What tasks have that pass over the images once."""

    precision: Literal["full", "bfloat16"] = "full"
    """In `bfloat16` features come by torch's autocast, faster on some devices; nearly tied ones may change places."""
