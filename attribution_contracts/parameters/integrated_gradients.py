"""Parameters of integrated gradients."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from attribution_contracts.baselines import Baseline, BlackBaseline
from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.parameters.smooth import Smooth, copies
from attribution_contracts.targets import ExplainedOutput, Target

DEFAULT_TOLERANCE = 0.02
"""Of the output's change: what a request that names neither steps nor a rule is worked to."""
USUAL_STEPS, USUAL_STEPS_OF_DIFFERENCE = 32, 64
"""Points of a path that a tolerance takes on most networks, for a class and for the difference of two: see the figures
in docs/methods/integrated_gradients.md."""


class IntegratedGradientsParams(MethodParams):
    """Integrated gradients along the straight path from a baseline; against a background set, expected gradients."""

    version = 4
    use = "for a customer: one map that says why this class, and how much of the output's change it misses"
    guarantee = "exact up to the reported completeness gap of each map"
    cost_class = (
        "forward and backward passes at some 10 to 40 points for each image and baseline, at most at max_steps; or at "
        "n_steps points"
    )

    method: Literal["integrated_gradients"]
    target: Target = "predicted"
    """The classes to explain."""
    output: ExplainedOutput = "logit"
    """What is explained: the raw logit (default), the probability or its logarithm."""
    baselines: Annotated[list[Baseline], Field(min_length=1, max_length=8)] = [BlackBaseline()]
    """Where the path starts; several are averaged."""
    n_steps: Annotated[int, Field(ge=1, le=1000, strict=True)] | None = None
    """Instead of a tolerance: points of the quadrature, 50 where `quadrature` alone is given."""
    quadrature: Literal["gauss_legendre", "trapezoid", "midpoint", "right"] | None = None
    """Instead of a tolerance: the rule, Gauss-Legendre where `n_steps` alone is given."""
    tolerance: Annotated[float, Field(ge=1e-6, lt=1, strict=True)] | None = None
    """Split intervals until the gap is at most this share of the difference; 0.02 without steps and rule."""
    max_steps: Annotated[int, Field(ge=5, le=2000, strict=True)] = 256
    """The most points that `tolerance` may use for each image and baseline."""
    smooth: Smooth | None = None
    """Put the maps of noisy copies together; the completeness error is that of the copies, averaged. Its former name,
    `smoothgrad`, is taken as well."""

    def passes(self, scale: Scale) -> int:
        """A forward pass and one backward for each class, at every point of every path."""
        return self._passes(self.max_steps, scale)

    def usual_passes(self, scale: Scale) -> int:
        """The same with as many points as a tolerance takes on most networks."""
        usual = USUAL_STEPS_OF_DIFFERENCE if scale.is_difference else USUAL_STEPS
        return self._passes(min(self.max_steps, usual), scale)

    def _passes(self, to_tolerance: int, scale: Scale) -> int:
        steps = (self.n_steps or 50) if self.accuracy is None else to_tolerance
        return copies(self.smooth) * scale.baselines * (steps + 2) * (1 + scale.targets)

    def filled(self) -> dict[str, Any]:
        """All parameters, with the tolerance or the rule that is taken."""
        if self.accuracy is not None:
            return super().filled() | {"tolerance": self.accuracy}
        rule = {"n_steps": self.n_steps or 50, "quadrature": self.quadrature or "gauss_legendre"}
        return super().filled() | rule

    @property
    def accuracy(self) -> float | None:
        """The tolerance that it is worked to, told or not; nothing where steps or a rule are given."""
        if self.n_steps is not None or self.quadrature is not None:
            return None
        return DEFAULT_TOLERANCE if self.tolerance is None else self.tolerance

    @property
    def quantities(self) -> tuple[str, ...]:
        """The maps of each image and class."""
        return ((self.smooth.quantity if self.smooth is not None else None) or "attributions",)

    @model_validator(mode="before")
    @classmethod
    def _take_former_name(cls, data: object) -> object:
        if not isinstance(data, Mapping) or "smoothgrad" not in data:
            return data
        if data.get("smooth") is not None:
            raise ValueError("smoothgrad is the former name of smooth: give smooth alone")
        rest = {name: value for name, value in data.items() if name != "smoothgrad"}
        return rest | {"smooth": data["smoothgrad"]}

    @model_validator(mode="after")
    def _require_one_accuracy(self) -> "IntegratedGradientsParams":
        if self.tolerance is not None and (self.n_steps is not None or self.quadrature is not None):
            raise ValueError("tolerance chooses its own points: give either tolerance, or n_steps and quadrature")
        if self.quadrature == "trapezoid" and self.n_steps == 1:
            raise ValueError("trapezoid needs at least 2 steps: it evaluates both ends")
        return self
