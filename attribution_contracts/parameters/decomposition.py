"""Parameters of the decomposition of the final layer."""

from typing import Literal

from attribution_contracts.base import Sha256
from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.targets import Target


class DecompositionParams(MethodParams):
    """Decomposition of the final layer: what the few features that decide a class see, and what each of them adds."""

    version = 2
    use = "for a CI job: the few features that decide each class, counted over a data set, to compare versions by"
    guarantee = "exact: contributions and bias add up to the decomposed logit; that the maps show where is a heuristic"
    cost_class = "one forward pass, whatever the number of classes; fitted beforehand on a data set"

    method: Literal["decomposition"]
    fit: Sha256
    """The fitted decomposition of the model, as the result of a job with the task `fit` names it."""
    target: Target = "predicted"
    """The classes to explain."""

    def passes(self, scale: Scale) -> int:  # noqa: ARG002 - the classes come with the features
        """One forward pass."""
        return 1

    @property
    def quantities(self) -> tuple[str, ...]:
        """The maps of each image and class."""
        return ("influential", "others", "everything")
