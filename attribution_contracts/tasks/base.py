"""What tasks over data sets have in common."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from attribution_contracts.base import ModelRef, Wire
from attribution_contracts.states import JobKind

Size = Annotated[int, Field(ge=1, le=100_000, strict=True)]

DatasetRef = ModelRef
"""`name` (its newest version that is ready) or `name@version`."""

ClassOrder = Literal["value", "text"]
"""Of labels that are numbers: 0, 1, 2, 10 by value; 0, 1, 10, 2 as text."""


class DataTask(Wire):
    """What all tasks have."""

    task: str
    kind: ClassVar[JobKind | None] = None
    """Of its jobs; the one that is called as the task is, unless told."""
    belongs_to: ClassVar[str] = "decomposition"
    """The method whose task it is."""
    needs_layers: ClassVar[bool] = False
    """Whether it looks at a layer, which only a network with a graph has."""
    fewest: ClassVar[int] = 1
    """Images that it needs."""
    version: ClassVar[int] = 1
    """Of the procedure: what another one computed is not taken for its result."""

    @property
    def job_kind(self) -> JobKind:
        """Of its jobs."""
        return self.kind or JobKind(self.task)

    @property
    def method(self) -> str:
        """The method that it belongs to, whose obstacles are its own where it is one that explains."""
        return self.belongs_to

    @property
    def versions(self) -> tuple[int, ...]:
        """Of all procedures that its result depends on."""
        return (self.version,)

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
