"""What the decomposition of the final layer says of an image."""

from attribution_contracts.base import Wire


class FeatureContribution(Wire):
    """What one influential feature adds to the logit of its class."""

    index: int
    contribution: float
    """Its value times its weight."""
    value: float
    place: int
    """In the class's histogram; 1 is the most frequent."""
    frequency: float
    """In what share of the class's images it was among the largest."""


class DecompositionResult(Wire):
    """One decision by the influential features of a class, or the difference from others that it is held against."""

    target: int
    logit: float
    decomposed_logit: float
    """By the influential features alone."""
    bias: float
    """Of the class: what the decomposed logit has besides the contributions."""
    convergence_delta: float
    """Contributions and bias minus the decomposed logit."""
    features: list[FeatureContribution]
    """In falling order of contribution."""
    maps_missing: str | None = None
    """Why there are no maps."""


class DecompositionFigures(Wire):
    """What an image's result says of the features of its classes."""

    decomposition: list[DecompositionResult] = []
    """Of the decomposition of the final layer: one entry a class."""
