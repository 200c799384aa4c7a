"""What the network says of an image."""

from torch import Tensor

from attribution_contracts.results import ClassScore

TOP = 5


def class_scores(logits: Tensor, probabilities: Tensor, labels: list[str]) -> list[ClassScore]:
    """The most probable classes of one image from its logits and their probabilities, both `(classes,)`."""
    top = probabilities.topk(min(TOP, len(logits)))
    return [class_score(index, logits, probabilities, labels) for index in top.indices.tolist()]


def class_score(index: int, logits: Tensor, probabilities: Tensor, labels: list[str]) -> ClassScore:
    """One class of one image."""
    return ClassScore(
        index=index,
        name=name_of(index, labels),
        logit=float(logits[index]),
        probability=float(probabilities[index]),
    )


def name_of(index: int, labels: list[str]) -> str | None:
    """The label of a class, where classes have labels."""
    return labels[index] if labels else None
