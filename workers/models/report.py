"""What is reported of a network before anything is explained."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
import torchvision
from PIL import Image

from attribution.final_layer.layer import FinalLayer
from attribution.layerwise.places import placed_layers
from attribution.networks.network import Network
from attribution.networks.stages import stages
from attribution.propagation.rule_sets import rule_of
from attribution_contracts.models import (
    LayerInfo,
    MeasuredCheck,
    MethodApplies,
    ModelReport,
    ModelSpec,
    Preprocessing,
)
from workers.images.preprocessing import preprocess
from workers.models.speed import speed_of
from workers.models.trials import tried
from workers.problems import InvalidModel

_UNLIKELY = 1.5
"""A mean or deviation of values in [0, 1] from here on was meant for values in [0, 255]."""


def report_on(
    network: Network, spec: ModelSpec, taken: Sequence[str] = (), disabled: Sequence[str] = ()
) -> ModelReport:
    """Runs a mid-grey image through a network, tries every method on it, and reports what was found.

    Args:
        network: One that has met images of the specification's size.
        spec: What was registered.
        taken: What was taken of the weights file that is not quite what the architecture has.
        disabled: Methods that are not tried, and of which nothing is said.

    Raises:
        InvalidModel: The outputs are not finite, or the labels are not as many as the classes.
    """
    inputs = _grey_image(spec)
    classes = _class_count(network.logits(inputs.to(network.device or "cpu")), spec)
    methods, found = tried(network, spec, disabled), network.report()
    odd = [*_odd_units(spec.preprocessing), *_not_normalised(spec), *_not_scaled(spec.preprocessing)]
    return ModelReport(
        classes=classes,
        input_shape=list(inputs.shape[1:]),
        parameters=network.n_parameters,
        weight_bytes=network.n_bytes,
        traced=found.traced,
        linear_head=found.linear_head.name if found.linear_head else None,
        features=FinalLayer(network).n_features if methods["decomposition"] is None else None,
        layers=[
            LayerInfo(
                name=layer.name, kind=layer.kind, shape=list(layer.shape) if layer.shape else None, cuts=layer.cuts
            )
            for layer in found.layers
        ],
        stages=stages(found.layers),
        mapped=None if network.graph is None else placed_layers(network),
        relevance_rule=rule_of(network.explaining("logit")) if methods.get("lrp", "") is None else None,
        methods={name: MethodApplies(applies=not reason, reason=reason) for name, reason in methods.items()},
        link=network.link,
        speed=speed_of(network),
        checks=[*checks_of(network), *odd],
        warnings=[
            *taken,
            *(check.detail for check in odd),
            *_repeated(spec.labels),
            *found.warnings,
        ],
    ).without(disabled)


def checks_of(network: Network) -> list[MeasuredCheck]:
    """What was measured of a network, as reports have it."""
    return [
        MeasuredCheck(**(check._asdict() | {name: _finite(getattr(check, name)) for name in ("figure", "bound")}))
        for check in network.report().checks
    ]


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _odd_units(preprocessing: Preprocessing) -> Iterator[MeasuredCheck]:
    for name in ("mean", "std"):
        given = getattr(preprocessing, name)
        if max(given) >= _UNLIKELY:
            detail = (
                f"{name} {given} looks as if it were meant for pixels in 0..255; here they are divided by 255 before "
                f"{name} is used: divide {name} by 255 as well, or the network sees something else than in training"
            )
            yield MeasuredCheck(name=name, figure=max(given), bound=_UNLIKELY, verdict="noted", detail=detail)


def _not_scaled(preprocessing: Preprocessing) -> Iterator[MeasuredCheck]:
    if 0 < max(map(abs, preprocessing.mean)) < _UNLIKELY and set(preprocessing.std) == {1.0}:
        yield _noted(
            "std",
            f"mean {preprocessing.mean} is subtracted, but std is 1: if the network was trained with a std as well, "
            "register a new version with it, or predictions and maps are of another network",
        )


def _noted(name: str, detail: str) -> MeasuredCheck:
    return MeasuredCheck(name=name, figure=None, bound=None, verdict="noted", detail=detail)


def _not_normalised(spec: ModelSpec) -> Iterator[MeasuredCheck]:
    """What is said of a network of torchvision that sees values in [0, 1], which its own weights never do."""
    family, _, name = spec.architecture.partition(":")
    plain = set(spec.preprocessing.mean) == {0.0} and set(spec.preprocessing.std) == {1.0}
    if family != "torchvision" or not plain or spec.preprocessing.color != "rgb":
        return
    own = next((weights.transforms() for weights in torchvision.models.get_model_weights(name)), None)
    if own is not None:
        yield _noted(
            "normalisation",
            f"there is no mean and no std: the network sees values in [0, 1]. torchvision's own weights of {name} were "
            f"trained with mean {own.mean} and std {own.std}; if yours were trained so, register a new version with "
            f"--mean {_commas(own.mean)} --std {_commas(own.std)}, or predictions and maps are of another network",
        )


def _commas(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


def _repeated(labels: Sequence[str]) -> Iterator[str]:
    counts = Counter(labels)
    twice = {label: [at for at, one in enumerate(labels) if one == label] for label in labels if counts[label] > 1}
    if twice:
        shown = "; ".join(f"{label!r} is {' and '.join(map(str, places))}" for label, places in list(twice.items())[:5])
        name = "label names" if len(twice) == 1 else "labels name"
        yield f"{len(twice)} {name} several classes ({shown}): choose those by index"


def _grey_image(spec: ModelSpec) -> torch.Tensor:
    height, width = spec.preprocessing.size
    image = Image.new("L", (width, height), 128)
    return preprocess(image, spec.preprocessing.model_copy(update={"resize": None})).tensor[None]


def _class_count(logits: torch.Tensor, spec: ModelSpec) -> int:
    if not torch.isfinite(logits).all():
        raise InvalidModel(
            f"the network's outputs for a mid-grey image are not finite ({logits.flatten()[:5].tolist()}, ...): "
            "check weights, mean and std"
        )
    require_a_label_each(spec, logits.shape[1])
    return logits.shape[1]


def require_a_label_each(spec: ModelSpec, classes: int) -> None:
    """Refuses labels that are not as many as the classes.

    Raises:
        InvalidModel: They are not.
    """
    if spec.labels and len(spec.labels) != classes:
        raise InvalidModel(
            f"there are {len(spec.labels)} labels, but the network has {classes} classes: "
            "give one label for each, or none"
        )
