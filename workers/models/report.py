"""What is reported of a network before anything is explained."""

import torch
from PIL import Image

from attribution import applicable_methods
from attribution.final_layer.layer import FinalLayer
from attribution.networks.network import Network
from attribution_contracts.models import LayerInfo, MethodApplies, ModelReport, ModelSpec
from workers.images.preprocessing import preprocess
from workers.problems import InvalidModel


def report_on(network: Network, spec: ModelSpec) -> ModelReport:
    """Runs one mid-grey image through a network and reports its classes, its layers and the methods that apply.

    Raises:
        InvalidModel: The outputs are not finite, or the labels are not as many as the classes.
    """
    inputs = _grey_image(spec)
    classes = _class_count(network.logits(inputs.to(network.device or "cpu")), spec)
    found, methods = network.report(), applicable_methods(network)
    return ModelReport(
        classes=classes,
        input_shape=list(inputs.shape[1:]),
        parameters=sum(parameter.numel() for parameter in network.module.parameters()),
        traced=found.traced,
        linear_head=found.linear_head.name if found.linear_head else None,
        features=FinalLayer(network).n_features if methods["decomposition"] is None else None,
        layers=[
            LayerInfo(
                name=layer.name, kind=layer.kind, shape=list(layer.shape) if layer.shape else None, cuts=layer.cuts
            )
            for layer in found.layers
        ],
        methods={name: MethodApplies(applies=not reason, reason=reason) for name, reason in methods.items()},
        warnings=list(found.warnings),
    )


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
    classes = logits.shape[1]
    if spec.labels and len(spec.labels) != classes:
        raise InvalidModel(
            f"there are {len(spec.labels)} labels, but the network has {classes} classes: "
            "give one label for each, or none"
        )
    return classes
