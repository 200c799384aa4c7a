"""Parameters of maps of attention."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from attribution_contracts.parameters.base import MethodParams, Scale
from attribution_contracts.targets import ExplainedOutput, Target

Variant = Literal["rollout", "legrad"]


class AttentionParams(MethodParams):
    """Attention of a vision transformer weighted by its gradients: gradient-weighted rollout and LeGrad."""

    version = 1
    use = "for a customer: which patches a vision transformer's decision attends to, on the grid of its patches"
    guarantee = "heuristic; probabilities and gradients are exact, and values of tokens take no part"
    cost_class = "one forward and backward pass for each image; legrad a backward pass through each block"

    method: Literal["attention"]
    target: Target = "predicted"
    """The classes to explain."""
    output: ExplainedOutput = "logit"
    """What is explained: the raw logit (default), the probability or its logarithm."""
    variants: Annotated[list[Variant], Field(min_length=1, max_length=2)] = ["rollout"]
    """The formulas, each of which makes a map; `rollout` needs a class token."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """The maps of each image and class."""
        return tuple(self.variants)

    def passes(self, scale: Scale) -> int:
        """A forward pass and one backward for each class and variant."""
        return 1 + scale.targets * len(self.variants)

    @model_validator(mode="after")
    def _require_each_once(self) -> "AttentionParams":
        if len(set(self.variants)) < len(self.variants):
            raise ValueError("variants: each may be named once")
        return self
