"""How far a map moves as the image moves by less than is seen."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from attribution.checks import require_count, require_images
from attribution.errors import InvalidInput
from attribution.noise import Generators, row_noise
from attribution.passes.chunks import Progress


class Sensitivity(NamedTuple):
    """How far maps move, as a share of their length; 0 is not at all.

    Attributes:
        maximum: ``(batch,)``, float64: over all noisy copies; NaN where a map is zero everywhere.
        mean: The same.
    """

    maximum: torch.Tensor
    mean: torch.Tensor


def map_sensitivity(
    explain: Callable[[torch.Tensor], Sequence[torch.Tensor]],
    inputs: torch.Tensor,
    *,
    maps: Sequence[torch.Tensor] | None = None,
    radius: torch.Tensor,
    generator: Generators,
    n_samples: int = 8,
    progress: Progress | None = None,
) -> list[Sensitivity]:
    r"""Explains noisy copies of images, and tells how far their maps are from those of the images themselves.

    .. math:: \max_{\|e\|_\infty \le r} \left\| \frac{a(x + e)}{\|a(x + e)\|_2} - \frac{a(x)}{\|a(x)\|_2} \right\|_2

    and the mean in place of the maximum, over uniform draws of e. Maps are brought to length 1 first, for a method
    whose maps are large would be called sensitive, and one whose maps are zero robust. Two maps that have nothing in
    common are :math:`\sqrt 2` apart, opposite ones 2.

    Args:
        explain: What makes one or several maps ``(batch, ...)`` of images; the same ones, of the same classes, each
            time.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        maps: What it makes of these images, where that is known.
        radius: Largest change of an input value, ``(channels,)`` or one number for all, in units of the inputs.
        generator: Of the noise, one for the batch or one an image.
        n_samples: Noisy copies of each image.
        progress: Called after each with how many are done, and may raise.

    Returns:
        Both figures of each image, of each map.

    Raises:
        InvalidInput: No images, or a radius that is negative or of another number of channels.
        InvalidOption: Not a positive number of copies.

    Cost:
        ``n_samples`` explanations of each image, and one more where its maps are not given.

    Guarantee:
        From below: the largest change of so many draws is at most the largest there is.

    Source:
        Yeh, Hsieh, Suggala, Inouye & Ravikumar 2019, "On the (In)fidelity and Sensitivity of Explanations" (arXiv
        1901.09392), definition 2.

    >>> image = torch.ones(1, 1, 1, 2)
    >>> [found] = map_sensitivity(lambda x: [3 * x], image, radius=torch.tensor(0.0), generator=torch.Generator())
    >>> found.maximum.item()
    0.0
    """  # noqa: DOC502 - the checks that it calls raise them
    require_images(inputs, "inputs", None, None)
    require_count(n_samples, "n_samples", 1)
    reach = torch.as_tensor(radius, dtype=inputs.dtype, device=inputs.device)
    if reach.numel() not in (1, inputs.shape[1]) or not bool((reach >= 0).all()):
        raise InvalidInput(
            f"radius is {reach.flatten().tolist()}, expected one number from 0, or {inputs.shape[1]}, one a channel"
        )
    reach = reach.reshape(1, -1, 1, 1)
    before = [_unit(one) for one in (explain(inputs) if maps is None else maps)]
    moved: list[list[torch.Tensor]] = [[] for _ in before]
    for done in range(1, n_samples + 1):
        noise = reach * (2 * row_noise(torch.rand, inputs, generator) - 1)
        for own, one, start in zip(moved, explain(inputs + noise), before, strict=True):
            own.append((_unit(one) - start).norm(dim=1))
        if progress is not None:
            progress(done, n_samples)
    moves = [torch.stack(own) for own in moved]
    return [Sensitivity(own.amax(0), own.mean(0)) for own in moves]


def _unit(maps: torch.Tensor) -> torch.Tensor:
    """Returns maps of length 1, float64 ``(batch, values)``; of one that is zero not-a-numbers."""
    flat = maps.detach().double().flatten(1)
    unit: torch.Tensor = flat / flat.norm(dim=1, keepdim=True)
    return unit
