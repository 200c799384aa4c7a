"""What a job does with a whole data set."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from attribution_contracts.base import ModelRef, Sha256, Wire
from attribution_contracts.identity import ModelIdentity

Size = Annotated[int, Field(ge=1, le=100_000, strict=True)]
DatasetRef = ModelRef
"""`name` (its newest version that is ready) or `name@version`."""

ClassOrder = Literal["value", "text"]
"""Of labels that are numbers: 0, 1, 2, 10 by value; 0, 1, 10, 2 as text."""


class DataTask(Wire):
    """What all tasks have."""

    method: ClassVar[str] = "decomposition"
    """The method that a task belongs to, and whose obstacles are its own."""
    version: ClassVar[int] = 1
    """Of the procedure: what another one computed is not taken for its result."""

    shard_images: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 500
    """Images of one part of the job; smaller parts spread better over workers, larger ones cost less."""
    order: ClassOrder | None = None
    """Of labels that are numbers, where the model has no such names: torchvision's ImageFolder numbers them as text."""


class PassTask(DataTask):
    """What tasks have that pass over the images once."""

    precision: Literal["full", "bfloat16"] = "full"
    """In `bfloat16` features come by torch's autocast, faster on some devices; nearly tied ones may change places."""


class FitTask(PassTask):
    """Finds the features of the final layer that each class is decided by."""

    task: Literal["fit"]
    n_initial: Size = 5
    """Features counted of each image, the largest by absolute value."""
    n_features: Size | None = None
    """Features kept a class; 5 unless told, for coverage at most so many."""
    aggregation: Literal["frequency", "coverage"] = "frequency"
    """The most frequent ones, or the fewest that hold a share of the class's features."""
    share: Annotated[float, Field(ge=1e-9, le=1, strict=True)] | None = None
    """Of coverage; 0.5 unless told."""

    @model_validator(mode="after")
    def _require_coverage(self) -> "FitTask":
        if self.share is not None and self.aggregation != "coverage":
            raise ValueError("share belongs to aggregation=coverage, aggregation is frequency")
        return self


class EvaluateTask(PassTask):
    """Accuracy a class and in all, confusion and calibration; with a fit, of the full and the decomposed classifier."""

    version = 3

    task: Literal["evaluate"]
    fit: Sha256 | None = None
    """A fitted decomposition of the model."""


class SweepTask(PassTask):
    """Accuracy of every pair of `n_initial` and `n_features`, with one forward pass over each image."""

    task: Literal["sweep"]
    n_initial: Annotated[list[Size], Field(min_length=1, max_length=20)] = [1, 3, 5, 10]
    """Sizes of the histogram."""
    n_features: Annotated[list[Size], Field(min_length=1, max_length=20)] = [1, 3, 5, 10, 20]
    """Features a class."""
    validation: DatasetRef | None = None
    """What accuracy is measured on; the same images unless told."""


class AblateTask(PassTask):
    """Accuracy with the features of each image's own class, or all others, replaced."""

    task: Literal["ablate"]
    fit: Sha256
    """A fitted decomposition of the model."""
    replace: Literal["influential", "others"] = "influential"
    """Which features go."""
    noise: Literal["gaussian", "zero"] = "gaussian"
    """What takes their place."""


class RetrainTask(DataTask):
    """Trains the decomposed classifier, in one part on one worker."""

    task: Literal["retrain"]
    fit: Sha256
    """A fitted decomposition of the model."""
    weights: Sha256 | None = None
    """Of an earlier retraining of the same fit, to go on from."""
    epochs: Annotated[int, Field(ge=1, le=1000, strict=True)] = 1
    """Passes over the data set."""
    scope: Literal["head", "all"] = "head"
    """What is trained: the decomposed layer, or the whole network."""
    optimiser: Literal["sgd", "adam"] = "sgd"
    """SGD has a momentum of 0.9."""
    learning_rate: Annotated[float, Field(gt=0, le=10, strict=True)] | None = None
    """0.05 (head) and 0.01 (all) for SGD, 0.01 and 0.0001 for Adam, unless told."""
    weight_decay: Annotated[float, Field(ge=0, le=1, strict=True)] = 0.0
    """Of the optimiser."""
    batch_size: Annotated[int, Field(ge=1, le=4096, strict=True)] = 64
    """Images of one step; their order is drawn anew each epoch."""
    validation: DatasetRef | None = None
    """What accuracy is measured on before the first and after each epoch."""


Task = Annotated[FitTask | EvaluateTask | SweepTask | AblateTask | RetrainTask, Field(discriminator="task")]


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


class ClassCounts(Wire):
    """Images a class, and how many of them are right."""

    images: list[int]
    full: list[int]
    """Right by the full network."""
    other: list[int]
    """Right by the decomposed network, or with the features replaced."""
    agreed: list[int]
    """Given the same class by both."""


class Confused(Wire):
    """Images of one class that are given another."""

    label: int
    """The class in the data set."""
    predicted: int
    """The class that won."""
    images: int
    names: tuple[str, str] | None = None
    """Of both, where the model's classes have names."""


class Mistake(Wire):
    """An image that is given another class than its own."""

    image: str
    """Its name in the data set."""
    label: int
    """The class in the data set."""
    predicted: int
    """The class that won."""
    probability: float
    """Of that class."""
    names: tuple[str, str] | None = None
    """Of both, where the model's classes have names."""


class Misclassified(Wire):
    """The images that a classifier gets wrong."""

    images: int
    """How many there are."""
    surest: list[Mistake]
    """Those with the highest probability of the wrong class first, at most 100."""


class CalibrationBin(Wire):
    """Images whose winning class has about the same probability."""

    images: int
    confidence: float
    """The mean of these probabilities."""
    accuracy: float
    """Share of the images that are right."""


class Calibration(Wire):
    """Whether a classifier is right as often as it is sure."""

    error: float
    """The expected calibration error: the mean over all images of how far accuracy and confidence of a bin differ."""
    bins: list[CalibrationBin]
    """Those of 15 of equal width that have images, from unsure to sure."""


class EvaluationReport(Wire):
    """What an evaluation or ablation found."""

    accuracy: float
    """Of the decomposed network, or with the features replaced; of the network itself where there is neither."""
    full_accuracy: float
    ratio: float | None
    """The first over the second; null where that is zero."""
    agreement: float
    """Share of the images that both give the same class."""
    standard_error: float
    """Of `accuracy`, as a share of `images` independent ones."""
    interval: list[float] | None = None
    """Both ends of a 95 % interval of `accuracy`; null in reports that are older."""
    images: int
    calibration: Calibration | None = None
    """Of the network alone; null with a decomposition."""
    confused: list[Confused] | None = None
    """Pairs of different classes, the most images first; what is right is in `classes`. Null with a decomposition."""
    misclassified: Misclassified | None = None
    """Which images are wrong; null with a decomposition."""
    warnings: list[str] = []
    """What speaks against the model as it was registered: worse than guessing, classes in another order, no names."""
    classes: ClassCounts


class FitReport(Wire):
    """What a fit found; the whole histogram is in the artefact."""

    fit: Sha256
    """Digest of the fitted decomposition, for tasks and explanations to refer to."""
    weights: Sha256
    """The decomposed classifier's weights, for a model of its own."""
    width: int
    """Features of the final layer."""
    n_initial: int
    n_features: int
    """Of the class that has most."""
    images: list[int]
    """By class."""
    indices: list[list[int]]
    """The influential features of each class, the most frequent first."""
    frequencies: list[list[int]]
    """In how many images of the class each was among the largest."""
    coverage: list[float | None]
    """Share of the class's mean absolute features that they hold; null for a class without images."""
    disjointness: list[float | None]
    """Share of a class's features that no other class has."""
    mean_jaccard: float | None
    """Of the index sets of different classes."""


class SweepReport(Wire):
    """Accuracy by `n_initial` (rows) and `n_features` (columns)."""

    n_initial: list[int]
    n_features: list[int]
    accuracy: list[list[float]]
    ratio: list[list[float | None]]
    """Over the accuracy of the full network."""
    full_accuracy: float
    images: int


class RetrainReport(Wire):
    """What retraining reached."""

    weights: Sha256
    """The trained decomposed classifier's weights, for a model of its own or to go on from."""
    n_features: int
    losses: list[float]
    """Mean loss of each epoch."""
    accuracies: list[float] | None
    """On the validation data, before the first and after each epoch."""
    learning_rate: float
