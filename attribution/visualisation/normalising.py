"""From pixels between 0 and 1 to what a network takes, and back."""

from collections.abc import Sequence

import torch

from attribution.errors import InvalidInput
from attribution.networks.network import Network


class Normalisation:
    """What is subtracted from pixels between 0 and 1, and what divides them.

    Args:
        mean: One number a channel, or one for all.
        std: The same, above 0.
        shape: Channels, height and width of images.

    Raises:
        InvalidInput: They do not fit.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], shape: tuple[int, int, int]) -> None:
        """Takes numbers for images of one shape."""
        _require_fit(mean, std, shape[0])
        self._mean, self._std = (
            torch.tensor(list(numbers), dtype=torch.float64).view(-1, 1, 1) for numbers in (mean, std)
        )

    def inputs(self, pixels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Returns normalised images of a dtype."""
        return ((pixels - self._mean.to(pixels)) / self._std.to(pixels)).to(dtype)

    def pixels(self, inputs: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Returns the pixels of normalised images, as far as they lie between 0 and 1."""
        wide = inputs.to(dtype)
        return (wide * self._std.to(wide) + self._mean.to(wide)).clamp(0, 1)


def _require_fit(mean: Sequence[float], std: Sequence[float], channels: int) -> None:
    """Accepts numbers for each channel.

    Raises:
        InvalidInput: There are too few or too many, or a deviation is none.
    """
    if any(len(numbers) not in {1, channels} for numbers in (mean, std)) or not all(one > 0 for one in std):
        raise InvalidInput(
            f"mean {list(mean)} and std {list(std)} for {channels} channels, expected one value a channel or one for"
            " all, std above 0"
        )


def picture_shape(network: Network) -> tuple[int, int, int]:
    """Returns channels, height and width of what a network takes.

    Raises:
        InvalidInput: They are not known yet.
    """
    if network.input_shape is None:
        raise InvalidInput("the size of the network's images is not known: give Network its input_shape")
    channels, height, width = network.input_shape
    return channels, height, width


def wide(dtype: torch.dtype | None) -> torch.dtype:
    """Returns in what pictures are kept: float32 at least, since Fourier transforms take nothing narrower."""
    return torch.promote_types(dtype or torch.float32, torch.float32)
