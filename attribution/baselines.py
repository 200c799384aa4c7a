"""Baselines: what an image is compared with.

``inputs`` are normalised images ``(batch, channels, height, width)``; ``mean`` and ``std`` are those of the
normalisation, one for each channel, with pixels between 0 and 1. Every function returns ``(batch or 1, channels,
height, width)`` of the inputs' dtype, on their device, and raises :class:`InvalidInput` or :class:`InvalidOption` where
its arguments do not fit.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

from attribution.checks import require_number
from attribution.errors import InvalidInput
from attribution.noise import Generators, row_noise


def zero(inputs: torch.Tensor) -> torch.Tensor:
    """Returns zeros in *normalised* space: the mean colour of the training set.

    >>> zero(torch.ones(2, 1, 1, 1)).flatten().tolist()
    [0.0]
    """
    return torch.zeros_like(inputs[:1])


def black(inputs: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Returns pixels of value 0, through the normalisation: ``-mean / std``.

    >>> black(torch.ones(2, 1, 1, 1), mean=[0.5], std=[0.25]).flatten().tolist()
    [-2.0]
    """
    return _colour(inputs, 0.0, mean, std)


def white(inputs: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Returns pixels of value 1, through the normalisation: ``(1 - mean) / std``.

    >>> white(torch.ones(2, 1, 1, 1), mean=[0.5], std=[0.25]).flatten().tolist()
    [2.0]
    """
    return _colour(inputs, 1.0, mean, std)


def mean(inputs: torch.Tensor) -> torch.Tensor:
    """Returns each image's own mean colour.

    >>> mean(torch.tensor([[[[1.0, 3.0]]]])).flatten().tolist()
    [2.0, 2.0]
    """
    return inputs.mean(dim=(2, 3), keepdim=True).expand_as(inputs).clone()


def blur(inputs: torch.Tensor, sigma: float = 10.0) -> torch.Tensor:
    r"""Each image blurred by a Gaussian of ``sigma`` pixels, with mirrored borders.

    Args:
        inputs: Normalised images ``(batch, channels, height, width)``.
        sigma: Standard deviation of the Gaussian in pixels, above 0; the kernel reaches to :math:`3 \sigma`, or
            as far as the mirrored image goes.

    Returns:
        Images of the inputs' shape; a constant image stays as it is.
    """
    require_number(sigma, "sigma", 1e-3)
    return _blur_last(_blur_last(inputs, sigma).transpose(2, 3), sigma).transpose(2, 3).contiguous()


def uniform(inputs: torch.Tensor, mean: Sequence[float], std: Sequence[float], generator: Generators) -> torch.Tensor:
    """Independent pixels, uniform between black and white.

    Args:
        inputs: Normalised images ``(batch, channels, height, width)``.
        mean: Mean of the normalisation, one value a channel.
        std: Standard deviation of the normalisation, one positive value a channel.
        generator: One for the batch, or one for each row, so that a row's noise does not depend on its batch.

    Returns:
        Noise of the inputs' shape.
    """
    low, high = black(inputs, mean, std), white(inputs, mean, std)
    return low + (high - low) * row_noise(torch.rand, inputs, generator)


def _colour(inputs: torch.Tensor, value: float, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    channels = inputs.shape[1]
    if len(mean) != channels or len(std) != channels or not all(deviation > 0 for deviation in std):
        raise InvalidInput(
            f"mean {list(mean)} and std {list(std)} for {channels} channels, expected one value a channel, std above 0"
        )
    colour = [(value - centre) / deviation for centre, deviation in zip(mean, std, strict=True)]
    return inputs.new_tensor(colour).view(1, -1, 1, 1).expand(1, *inputs.shape[1:]).clone()


def _blur_last(inputs: torch.Tensor, sigma: float) -> torch.Tensor:
    """Returns the inputs blurred along the width."""
    width = inputs.shape[3]
    reach = min(width - 1, max(1, round(3 * sigma)))
    offsets = torch.arange(-reach, reach + 1, dtype=inputs.dtype, device=inputs.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    rows = functional.pad(inputs.reshape(-1, 1, width), (reach, reach), mode="reflect")
    return functional.conv1d(rows, (kernel / kernel.sum()).view(1, 1, -1)).reshape(inputs.shape)
