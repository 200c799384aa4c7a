"""From a specification and its weights to a classifier, and the report on one."""

from pathlib import Path

import torch
from torch import nn

from attribution.decomposition.classifiers import decomposed_like, with_dense_head
from attribution.errors import InvalidInput, NetworkError
from attribution_contracts.models import ModelSpec
from workers.models.architectures import MAX_PARAMETERS, Factories, build
from workers.models.torchvision_weights import with_own_weights
from workers.models.weights import load_into
from workers.problems import InvalidModel


def load(
    spec: ModelSpec,
    weights_path: Path | None,
    factories: Factories,
    *,
    max_parameters: int = MAX_PARAMETERS,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """The classifier in evaluation mode and float32, its parameters frozen.

    Args:
        spec: What was registered.
        weights_path: The safetensors file; unused where the weights are torchvision's own.
        factories: The operator's own architectures.
        max_parameters: Largest network, in parameters.
        device: Where the parameters go.

    Raises:
        InvalidModel: The specification or the file is wrong; the message names every mismatch.
    """
    module, width = build(spec, factories, max_parameters=max_parameters), 0
    if spec.decomposed is not None:
        module, width = _decomposed(module, spec)
    if spec.weights.torchvision is not None:
        module = with_own_weights(spec)
    elif weights_path is None:
        raise InvalidModel("the model has no weights file: send one in safetensors format")
    else:
        load_into(module, weights_path, sha256=spec.weights.sha256)
    if spec.decomposed is not None:
        module = _dense(module, width)
    return module.to(device, torch.float32).eval().requires_grad_(False)


def _decomposed(module: nn.Module, spec: ModelSpec) -> tuple[nn.Module, int]:
    if spec.weights.torchvision is not None:
        raise InvalidModel("torchvision has no weights of decomposed classifiers: send those of a fit or a retraining")
    try:
        return decomposed_like(module, spec.decomposed or 1)
    except NetworkError as error:
        raise InvalidModel(str(error)) from error


def _dense(module: nn.Module, width: int) -> nn.Module:
    """The same with an ordinary last layer, which every method knows; indices of other features are refused."""
    try:
        return with_dense_head(module, width)
    except InvalidInput as error:
        raise InvalidModel(str(error)) from error
