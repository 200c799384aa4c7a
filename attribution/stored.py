"""What the engine stores, as safetensors."""

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from attribution.errors import InvalidInput


def loaded(stored: bytes) -> dict[str, torch.Tensor]:
    """Returns the tensors of a safetensors file.

    Raises:
        InvalidInput: It is none.
    """
    try:
        tensors: dict[str, torch.Tensor] = load(stored)
    except SafetensorError as error:
        raise InvalidInput(f"{len(stored)} bytes are no safetensors file ({error})") from error
    return tensors
