"""What became of relevance on its way to the image."""

from attribution_contracts.base import Wire


class Conservation(Wire):
    """Where the relevance of a class went: `sum`, all absorbed shares and `missing` add up to `explained`."""

    target: int
    explained: float
    """What was handed back: the logit, a difference of logits, or the relevance of a concept's channels."""
    sum: float
    """What reached the image: the sum of the map."""
    absorbed_by_biases: float
    """What biases kept, those of batch normalisations among them."""
    absorbed_by_epsilon: float
    """What the stabiliser kept, and functions that give something for nothing."""
    absorbed_by_tokens: float = 0.0
    """What the class token of a transformer kept, and its like."""
    absorbed_by_embeddings: float = 0.0
    """What the position embeddings of a transformer kept."""
    missing: float
    """The rest: rounding, and with the rule `attn_lrp` what softmaxes keep."""


class ConservationFigures(Wire):
    """What an image's result says of relevance."""

    conservation: list[Conservation] = []
    """Of methods that propagate relevance: one entry a class."""
