"""Tasks of the decomposition of the final layer, and what they report."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from attribution_contracts.base import Sha256, Wire
from attribution_contracts.tasks.base import DatasetRef, DataTask, PassTask, Size


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
