"""torchvision's own weights by name, where the worker's network reaches them."""

import pickle
from http.client import HTTPException

import torchvision
from torch import nn
from torchvision.models import WeightsEnum

from attribution_contracts.models import ModelSpec
from workers.models.architectures import torchvision_builder
from workers.problems import InvalidModel


def with_own_weights(spec: ModelSpec) -> nn.Module:
    """The classifier with weights that torchvision publishes, from the cache of torch.hub or downloaded into it.

    Raises:
        InvalidModel: There are no such weights, they do not fit the options, or cannot be reached; the last may be
            tried again.
    """
    family, _, name = spec.architecture.partition(":")
    if family != "torchvision":
        raise InvalidModel(
            f"torchvision has no weights for {spec.architecture}: they exist for torchvision:<name> alone, "
            "send a safetensors file"
        )
    weights = _weights(name, spec.weights.torchvision or "")
    _require_reached(weights)
    try:
        return torchvision_builder(name)(weights=weights, progress=False, **spec.options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidModel(f"{weights} do not fit the options {dict(spec.options)}: {error}") from error


def _weights(architecture: str, name: str) -> WeightsEnum:
    torchvision_builder(architecture)
    # `DEFAULT` is no choice: it means other weights in another release, and a version of a model never changes.
    known = {weights.name: weights for weights in torchvision.models.get_model_weights(architecture)}
    if name not in known:
        raise InvalidModel(f"torchvision:{architecture} has no weights {name!r}: there are {', '.join(sorted(known))}")
    return known[name]


def _require_reached(weights: WeightsEnum) -> None:
    """Downloads the file, checks its digest, and reads it in a way that runs no code before the builder reads it."""
    try:
        weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, HTTPException) as error:
        raise InvalidModel(
            f"{weights} could not be downloaded from {weights.url} ({error}): send a safetensors file, or try again "
            "when the worker's network reaches it",
            retryable=True,
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InvalidModel(
            f"the download of {weights} is broken ({error}): remove it from the cache of torch.hub and try again",
            retryable=True,
        ) from error
