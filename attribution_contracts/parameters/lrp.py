"""Parameters of layer-wise relevance propagation."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from attribution_contracts.base import Wire, form_of
from attribution_contracts.parameters.base import Scale
from attribution_contracts.parameters.layers import FEW_PATTERNS, LayerChoice
from attribution_contracts.parameters.rules import RuleParams

LayerRule = Literal["epsilon", "gamma", "alpha1_beta0"]


class RuleOfLayers(Wire):
    """The rule of some layers."""

    layers: Annotated[list[LayerChoice], Field(min_length=1, max_length=100), FEW_PATTERNS]
    """By name, kind (`conv`, `linear`) or pattern (`features.*`); those without weights are left as they are."""
    rule: LayerRule
    """What they follow."""


Rule = Annotated[
    Annotated[Literal["epsilon", "epsilon_plus", "gamma", "alpha1_beta0", "cp_lrp", "attn_lrp"], Tag("word")]
    | Annotated[list[RuleOfLayers], Field(min_length=1, max_length=32), Tag("list")],
    form_of(
        ("epsilon", "epsilon_plus", "gamma", "alpha1_beta0", "cp_lrp", "attn_lrp"),
        {},
        'expected "epsilon", "epsilon_plus", "gamma", "alpha1_beta0", "cp_lrp", "attn_lrp", or a list like [{"layers": '
        '["conv"], "rule": "gamma"}]',
    ),
]


class LrpParams(RuleParams):
    """LRP: the relevance of a logit, handed back to the image layer by layer, by rules (layer-wise relevance)."""

    version = 2
    use = "for a debugger: which channels of a layer carry a decision, and where in the image each of them looks"
    guarantee = "exact conservation, but by attn_lrp: map and absorbed shares add up; which rule is right is a choice"
    cost_class = "one forward and backward pass for each image, for all layers together; two to three times with a rule"

    method: Literal["lrp"]
    rule: Rule | None = None
    """Of all layers with weights: `epsilon`, `epsilon_plus` (`alpha1_beta0` for convolutions, `epsilon` for linear
    layers), `gamma`, `alpha1_beta0`; or a list of rules and their layers, the last that fits, else `epsilon`. Of
    transformers `cp_lrp`, which holds the probabilities of attention constant, or `attn_lrp`, which does not. Unless
    told `epsilon_plus`, and `cp_lrp` where that does not apply."""
    epsilon: Annotated[float, Field(ge=1e-12, le=1e6, strict=True)] = 1e-4
    """The stabiliser of every rule, in units of a layer's output."""
    gamma: Annotated[float, Field(ge=0, le=1000, strict=True)] = 0.25
    """Of the rule `gamma`: how much more positive contributions count."""

    def passes(self, scale: Scale) -> int:
        """A forward pass, with rules about three times its work, and one back for each class."""
        work = 1 if self.rule == "epsilon" else 3
        return work * (1 + self.backward(scale))
