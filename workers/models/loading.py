"""From a specification and its weights to a classifier, and the report on one."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from attribution.decomposition.classifiers import decomposed_like, with_dense_head
from attribution.errors import InvalidInput, NetworkError
from attribution_contracts.models import ModelSpec
from attribution_contracts.patterns import ONNX
from workers.models.architectures import MAX_PARAMETERS, Factories, build
from workers.models.torchvision_weights import with_own_weights
from workers.models.weights import load_into, require_digest
from workers.problems import InvalidModel

_TOLD_BY_NAME = {"googlenet": "transform_input", "inception_v3": "transform_input"}
"""Networks of torchvision with an option that is no tensor and that its own weights switch on when they are named."""


MAX_PASS_BYTES = 4 * 1024**3
"""For what an ONNX file computes at a time."""


class LoadedModule(NamedTuple):
    """A network with its weights, and what was taken that is not quite what the architecture has.

    `classes` are those that the file of an ONNX model declares, where it does.
    """

    module: nn.Module
    taken: list[str]
    classes: int | None = None


def load(
    spec: ModelSpec,
    weights_path: Path | None,
    factories: Factories,
    *,
    max_parameters: int = MAX_PARAMETERS,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """The network alone: see `load_module`."""
    return load_module(spec, weights_path, factories, max_parameters=max_parameters, device=device).module


def load_module(
    spec: ModelSpec,
    weights_path: Path | None,
    factories: Factories,
    *,
    max_parameters: int = MAX_PARAMETERS,
    max_pass_bytes: int = MAX_PASS_BYTES,
    device: torch.device | str = "cpu",
) -> LoadedModule:
    """The network in evaluation mode and float32, its parameters frozen.

    Args:
        spec: What was registered.
        weights_path: The safetensors file; unused where the weights are torchvision's own.
        factories: The operator's own architectures.
        max_parameters: Largest network, in parameters.
        max_pass_bytes: For what an ONNX file computes at a time.
        device: Where the parameters go.

    Raises:
        InvalidModel: The specification or the file is wrong; the message names every mismatch.
    """
    if spec.architecture == ONNX:
        return _from_onnx(spec, weights_path, max_parameters, max_pass_bytes)
    module, width, taken = build(spec, factories, max_parameters=max_parameters), 0, list[str]()
    if spec.decomposed is not None:
        module, width = _decomposed(module, spec)
    if spec.weights.torchvision is not None:
        module = with_own_weights(spec)
    elif weights_path is None:
        raise InvalidModel("the model has no weights file: send one in safetensors format")
    else:
        _require_told(spec)
        taken = load_into(module, weights_path, sha256=spec.weights.sha256)
    if spec.decomposed is not None:
        module = _dense(module, width)
    return LoadedModule(module.to(device, torch.float32).eval().requires_grad_(False), taken)


def _from_onnx(spec: ModelSpec, path: Path | None, max_parameters: int, max_pass_bytes: int) -> LoadedModule:
    from workers.models.onnx_files.loading import judged, load_onnx  # 25 MB, which only workers of such models pay
    from workers.models.onnx_files.verdict import Image, Question

    if path is None:
        raise InvalidModel("the model has no weights file: send the ONNX model")
    if spec.weights.sha256 is not None:
        require_digest(path, spec.weights.sha256)
    question = Question(
        path=str(path.absolute()),
        image=Image(size=spec.preprocessing.size, channels=spec.preprocessing.channels),
        max_parameters=max_parameters,
        max_bytes=max_pass_bytes,
    )
    found = judged(question)
    return LoadedModule(load_onnx(path, found, max_pass_bytes), [], found.classes)


def _require_told(spec: ModelSpec) -> None:
    """Refuses a file of weights that means one of two networks, where nobody said which."""
    option = _TOLD_BY_NAME.get(spec.architecture.removeprefix("torchvision:"))
    if option is not None and option not in spec.options:
        raise InvalidModel(
            f"a weights file of {spec.architecture} does not tell whether {option} was on, and the network computes"
            " something else without it: it is on where torchvision's weights are named, and off where the builder gets"
            f" none; say so in the options, {option}=true or {option}=false"
        )


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
