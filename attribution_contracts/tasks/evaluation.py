"""How well a classifier does on a data set."""

from typing import Literal

from attribution_contracts.base import Sha256, Wire
from attribution_contracts.tasks.base import PassTask


class EvaluateTask(PassTask):
    """Accuracy a class and in all, confusion and calibration; with a fit, of the full and the decomposed classifier."""

    version = 3

    task: Literal["evaluate"]
    fit: Sha256 | None = None
    """A fitted decomposition of the model."""

    @property
    def uses(self) -> tuple[str, ...]:
        """Decomposition alone, where there is a fit."""
        return () if self.fit is None else (self.method,)


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
