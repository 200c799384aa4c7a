"""What the network says of an image, and which classes are explained."""

from collections.abc import Sequence

from torch import Tensor

from attribution_contracts.results import ClassScore, TargetScore
from attribution_contracts.targets import Target, TargetClasses, TargetTopK

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


def targets_of(target: Target, logits: Tensor) -> list[int]:
    """The classes to explain of one image; names were turned into indices when the job was accepted."""
    if target == "predicted":
        return [int(logits.argmax())]
    if target == "all":
        return list(range(len(logits)))
    if isinstance(target, TargetTopK):
        return logits.topk(min(target.top_k, len(logits))).indices.tolist()
    assert isinstance(target, TargetClasses)  # noqa: S101 - the last of the union
    return [int(index) for index in target.classes]


def target_scores(targets: list[int], outputs: Tensor, sums: Sequence[float], labels: list[str]) -> list[TargetScore]:
    """The explained output and the map's sum, for each class explained."""
    return [
        TargetScore(index=index, name=name_of(index, labels), output=float(outputs[index]), sum=total)
        for index, total in zip(targets, sums, strict=True)
    ]


def name_of(index: int, labels: list[str]) -> str | None:
    """The label of a class, where classes have labels."""
    return labels[index] if labels else None
