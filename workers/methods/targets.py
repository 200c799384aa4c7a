"""Which classes of an image are explained, and what they are held against."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attribution.errors import InvalidTarget
from attribution_contracts.results import HeldAgainst, TargetScore
from attribution_contracts.targets import Against, Nearest, Target, TargetClasses, TargetTopK, against_of
from workers.methods.predictions import name_of


class Chosen(NamedTuple):
    """One explained class, with the classes and weights that it is held against; without any it stands by itself."""

    class_index: int
    against: tuple[tuple[int, float], ...] = ()


def chosen_of(target: Target, logits: Tensor, label: int | None, names: list[str]) -> list[Chosen]:
    """The classes to explain of one image; names were turned into indices when the job was accepted.

    Args:
        target: As asked for.
        logits: Of the image, `(classes,)`.
        label: The class that it truly has, where that is said.
        names: Of the model's classes, for what is said of them.

    Raises:
        InvalidTarget: All of them are what they were to be held against.
    """
    classes, against = _classes(target, logits), against_of(target)
    if against is None:
        return [Chosen(index) for index in classes]
    fixed = label if against == "label" else against if isinstance(against, int) else None
    if others := [index for index in classes if index != fixed]:
        return [Chosen(index, _held(index, against, logits, fixed)) for index in others]
    if against == "label":
        raise InvalidTarget(
            f"the class that is explained, {_said(classes[0], names)}, is the image's label: there is no "
            'other class to hold it against; "runner_up" has one for every image'
        )
    raise InvalidTarget(
        f"class {_said(classes[0], names)} is the one that is explained: it does not stand against itself, name another"
    )


def _said(index: int, names: list[str]) -> str:
    name = name_of(index, names)
    return str(index) if name is None else repr(name)


def against_table(chosen: Sequence[Sequence[Chosen]], n_classes: int, device: torch.device) -> Tensor | None:
    """What the classes of images, k of each, are held against; nothing where all stand by themselves.

    Returns:
        Classes `int64 (batch, k)`, or weights over all classes, `float64 (batch, k, classes)`.
    """
    held = [[one.against for one in of_image] for of_image in chosen]
    if not any(others for of_image in held for others in of_image):
        return None
    if all(len(others) == 1 and others[0][1] == 1 for of_image in held for others in of_image):
        return torch.tensor([[others[0][0] for others in of_image] for of_image in held], device=device)
    weights = torch.zeros(len(held), len(held[0]), n_classes, dtype=torch.float64)
    for row, of_image in enumerate(held):
        for place, others in enumerate(of_image):
            for index, weight in others:
                weights[row, place, index] = weight
    return weights.to(device)


def target_scores(
    chosen: Sequence[Chosen], outputs: Tensor, sums: Sequence[float], labels: list[str], starts: Sequence[float] = ()
) -> list[TargetScore]:
    """What is explained of an image, for each class.

    Args:
        chosen: The classes.
        outputs: Of the image, `(classes,)`.
        sums: Of each map.
        labels: Of the model.
        starts: The explained outputs of the baselines; empty where there are none.
    """
    return [
        TargetScore(
            index=index,
            name=name_of(index, labels),
            output=float(outputs[index]) - sum(weight * float(outputs[other]) for other, weight in against),
            sum=total,
            against=[HeldAgainst(index=other, name=name_of(other, labels), weight=weight) for other, weight in against],
            baseline_output=starts[place] if starts else None,
        )
        for place, ((index, against), total) in enumerate(zip(chosen, sums, strict=True))
    ]


def _classes(target: Target, logits: Tensor) -> list[int]:
    if target == "all":
        return list(range(len(logits)))
    if isinstance(target, TargetTopK):
        return logits.topk(min(target.top_k, len(logits))).indices.tolist()
    if isinstance(target, TargetClasses):
        return [int(index) for index in target.classes]
    return [int(logits.argmax())]


def _held(index: int, against: Against, logits: Tensor, fixed: int | None) -> tuple[tuple[int, float], ...]:
    if fixed is not None:
        return ((fixed, 1.0),)
    rest = logits.double().clone()
    if isinstance(against, Nearest):
        distance = (rest - rest[index]).abs()
        distance[index] = torch.inf
        nearest = distance.argsort(stable=True)[: against.nearest].tolist()
        return tuple((other, against.weight / len(nearest)) for other in nearest)
    rest[index] = -torch.inf
    return ((int(rest.argmax()), 1.0),)
