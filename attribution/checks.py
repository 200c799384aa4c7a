"""Checks that several methods share; each raises with what was given, what was expected and what to do."""

import math
from collections.abc import Sequence

import torch

from attribution.errors import InvalidInput, InvalidOption, InvalidTarget, NetworkError

#: More points than this on one path is a mistake, not a wish.
MAX_STEPS = 100_000


def require_images(inputs: torch.Tensor, name: str, dtype: torch.dtype | None, device: torch.device | None) -> None:
    """Accepts a finite float tensor ``(batch, channels, height, width)`` of the network's dtype and device.

    Raises:
        InvalidInput: It is anything else.
    """
    if not isinstance(inputs, torch.Tensor):
        raise InvalidInput(f"{name} is a {type(inputs).__name__}, expected a torch.Tensor")
    if inputs.dim() != 4 or 0 in inputs.shape:
        raise InvalidInput(
            f"{name} has shape {tuple(inputs.shape)}, expected (batch, channels, height, width) with none of them 0;"
            " add the batch dimension with .unsqueeze(0)"
        )
    if not inputs.is_floating_point() or (dtype is not None and inputs.dtype != dtype):
        raise InvalidInput(f"{name} is {inputs.dtype}, the network is {dtype or 'of any float type'}; use .to(dtype)")
    if device is not None and inputs.device != device:
        raise InvalidInput(f"{name} is on {inputs.device}, the network on {device}; move one of them")
    if not bool(torch.isfinite(inputs).all()):
        raise InvalidInput(f"{name} contains NaN or infinity; clean the image before explaining it")


def require_labels(labels: torch.Tensor, batch: int, n_classes: int) -> None:
    """Accepts one class an image.

    Raises:
        InvalidTarget: Anything else.
    """
    if not isinstance(labels, torch.Tensor) or labels.dtype != torch.int64 or labels.shape != (batch,):
        given = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, torch.Tensor) else type(labels).__name__
        raise InvalidTarget(f"labels is {given}, expected torch.int64 ({batch},): one class an image")
    if batch and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
        raise InvalidTarget(
            f"labels go from {int(labels.min())} to {int(labels.max())}, the network has the classes 0 to"
            f" {n_classes - 1}"
        )


def require_count(value: int, name: str, minimum: int = 1, maximum: int = MAX_STEPS) -> int:
    """Returns an integer between two bounds; ``True`` and ``3.0`` are none.

    Raises:
        InvalidOption: Another type or out of range.

    >>> require_count(50, "n_steps")
    50
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidOption(f"{name} is {value!r}, expected an integer from {minimum} to {maximum}")
    if not minimum <= value <= maximum:
        raise InvalidOption(f"{name} is {value}, expected {minimum} to {maximum}")
    return value


def require_number(value: float, name: str, minimum: float, maximum: float = math.inf) -> float:
    """Returns a finite number between two bounds.

    Raises:
        InvalidOption: Not a number, NaN, infinite or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidOption(f"{name} is {value!r}, expected a finite number of at least {minimum}")
    if not minimum <= value <= maximum:
        raise InvalidOption(f"{name} is {value}, expected {minimum} to {maximum}")
    return float(value)


def require_finite(what: str, *values: torch.Tensor) -> None:
    """Accepts values ``(batch, ...)`` without NaN and infinity.

    Raises:
        NetworkError: There are some; the message names the images.
    """
    finite = torch.stack([some.isfinite().flatten(1).all(1) for some in values]).all(0)
    if not bool(finite.all()):
        rows = ", ".join(map(str, (~finite).nonzero()[:10, 0].tolist()))
        raise NetworkError(
            f"{what} of images {rows} are not finite: the network gives NaN or infinity for them, for their baseline or"
            " between the two, as where a flat image is divided by its spread; use another baseline, or check weights,"
            " mean and std"
        )


def require_choice(value: str, name: str, choices: Sequence[str]) -> None:
    """Accepts one of several names.

    Raises:
        InvalidOption: It is none of them.
    """
    if value not in choices:
        raise InvalidOption(f"{name} is {value!r}, expected one of {', '.join(choices)}")
