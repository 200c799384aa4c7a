"""Parameters of an explanation whose method is left to the model."""

from typing import Literal

from attribution_contracts.parameters.base import MethodParams
from attribution_contracts.targets import Target


class AutoParams(MethodParams):
    """The default method of the model, which its report names with the reason; results name it by its own id."""

    version = 1
    use = "for whoever does not want to choose: a map that this classifier can be explained by, at a bearable cost"
    guarantee = "that of the method which is taken"
    cost_class = "that of the method which is taken"
    has_engine = False

    method: Literal["auto"]
    target: Target = "predicted"
    """The classes to explain."""
