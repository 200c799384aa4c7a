"""What a job does with a whole data set."""

from typing import Annotated, Literal

from pydantic import Field

from attribution_contracts.base import Sha256, Wire
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.tasks.decomposition import AblateTask, FitTask, RetrainTask, SweepTask
from attribution_contracts.tasks.evaluation import EvaluateTask
from attribution_contracts.tasks.explain import ExplainTask
from attribution_contracts.tasks.maximal_patches import MaximalPatchesTask
from attribution_contracts.tasks.part_shape_texture import PartShapeTextureTask
from attribution_contracts.tasks.representation_pca import RepresentationPcaTask
from attribution_contracts.tasks.strategies import StrategiesTask

Task = Annotated[
    FitTask
    | EvaluateTask
    | SweepTask
    | AblateTask
    | RetrainTask
    | MaximalPatchesTask
    | RepresentationPcaTask
    | PartShapeTextureTask
    | StrategiesTask
    | ExplainTask,
    Field(discriminator="task"),
]


class PinnedDataset(Wire):
    """A data set as a job means it."""

    name: str
    version: str
    sha256: Sha256
    """Of its index."""
    images: int
    classes: list[int]
    """The model's class of each of its labels."""


class Shard(Wire):
    """Images `start` to `stop` of the data set, or of the one for validation."""

    start: int
    stop: int
    of: Literal["dataset", "validation"] = "dataset"


class DataJob(Wire):
    """A task with everything named by digest; a part of one has a shard."""

    model: ModelIdentity
    dataset: PinnedDataset
    validation: PinnedDataset | None = None
    task: Task
    shard: Shard | None = None
