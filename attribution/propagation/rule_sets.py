"""Which rules of relevance a network can be handed back by: those of layers, or those of transformers."""

from typing import Literal

from attribution.errors import InvalidOption, NetworkError
from attribution.networks.network import Network
from attribution.propagation.attended_relevance import AttentionRule
from attribution.propagation.attention_rules import require_attention_rules
from attribution.propagation.relevance import require_relevance

TransformerRule = Literal["cp_lrp", "attn_lrp"]
ATTENTION_RULES: dict[TransformerRule, AttentionRule] = {"cp_lrp": "cp", "attn_lrp": "attn"}


def rule_of(network: Network) -> Literal["epsilon_plus", "cp_lrp"]:
    """Returns the rule that is taken unless another is told: that of layers where it applies to all of a network.

    Raises:
        NetworkError: Neither applies; it says why not the rules of transformers, which know more operations.
    """  # noqa: DOC502 - the checks that it calls raise
    try:
        require_relevance(network, "lrp")
    except NetworkError:
        require_attention_rules(network, "lrp")
        return "cp_lrp"
    return "epsilon_plus"


def require_no_layers(layers: object, concept: object, rule: str) -> None:
    """Refuses what rules of transformers do not have.

    Raises:
        InvalidOption: Layers or a concept are given.
    """
    given = [name for name, value in (("layers", layers), ("concept", concept)) if value is not None]
    if given:
        raise InvalidOption(
            f"{' and '.join(given)}: the rule {rule} hands relevance to the image alone; leave them out, or use"
            " layer_shapley for layers"
        )
