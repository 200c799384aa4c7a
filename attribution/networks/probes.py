"""Inputs to find out with what a network does."""

from collections.abc import Sequence

import torch

#: Ranges of values, in the order in which they are tried: those of normalised images, of plain ones, and of bytes.
RANGES = ("normalised", "unit", "bytes")


def probes(
    shape: Sequence[int],
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    values: str = "normalised",
) -> torch.Tensor:
    """Returns three images ``(3, channels, height, width)`` with means and spreads like real inputs': always the same.

    Noise around a mean, a ramp from darkest to brightest, and a flat image whose channels differ. A pattern without a
    mean would not do: pooling cancels it. Networks that take no negative values have a range of their own.

    >>> probes((1, 2, 2)).mean((1, 2, 3))
    tensor([0.2093, 0.2500, 0.6000])
    >>> bool((probes((1, 2, 2), values="unit") > 0).all())
    True
    """
    size = torch.Size(shape)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(size, generator=generator, dtype=torch.float64) + 0.3
    ramp = torch.linspace(-1.5, 2.0, size.numel(), dtype=torch.float64).reshape(size)
    flat = torch.linspace(0.6, -0.4, size[0], dtype=torch.float64).view(-1, 1, 1).expand(size)
    found = torch.stack([noise, ramp, flat])
    if values != "normalised":
        found = found.sigmoid() * (255.0 if values == "bytes" else 1.0)
    return found.to(device, dtype or torch.get_default_dtype())
