"""Pixel co-variation: with which others a pixel tells the classes apart."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

from attribution.class_sets import Classes, ClassSets, class_sets, require_class_sets
from attribution.errors import InvalidOption
from attribution.multiclass.attributions import Attribution, AttributionOptions, attribution_rows
from attribution.multiclass.matrices import Rows
from attribution.networks.network import Network, require_network
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk
from attribution.paths.quadrature import Quadrature

#: The value of highest, lowest (most negative) or smallest absolute importance, or ``(channel, row, column)``.
Pixel = Literal["most", "least", "nearly_zero"] | tuple[int, int, int]

_NAMES = ("most", "least", "nearly_zero")


class PixelCovariation(NamedTuple):
    """Co-variation of p chosen values with all others, in squared units of the output.

    Attributes:
        covariation: ``(batch, p, channels, height, width)``, the inputs' dtype; a pixel with itself is its individual
            effect.
        pixels: ``(batch, p, 3)`` int64, channel, row and column of each.
        importance: ``(batch, p)`` float64, that of each pixel: the sum of its row.
        five_numbers: ``(batch, p, 5)`` float64, minimum, quartiles and maximum over all other values.
        chunk_size: Points evaluated at once, after any halving.
    """

    covariation: torch.Tensor
    pixels: torch.Tensor
    importance: torch.Tensor
    five_numbers: torch.Tensor
    chunk_size: int


def pixel_covariation(
    network: Network,
    inputs: torch.Tensor,
    pixels: Sequence[Pixel],
    *,
    attribution: Attribution = "input_x_gradient",
    classes: Classes = "all",
    baseline: torch.Tensor | Sequence[torch.Tensor] | None = None,
    background: torch.Tensor | None = None,
    n_steps: int | None = None,
    quadrature: Quadrature | None = None,
    epsilon: float | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> PixelCovariation:
    r"""Finds single rows of the co-variation matrix of ``multiclass_importance``.

    .. math:: \mathrm{COV}[X_i, X_s] = \sum_j \tilde A_{ji} \tilde A_{js} = \big( c^T A \big)_s, \quad c = P A e_i.

    Args:
        network: What to explain.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        pixels: Each ``"most"``, ``"least"`` or ``"nearly_zero"`` for the value of that importance in each image, or
            ``(channel, row, column)``.
        attribution: As for ``multiclass_importance``, but for ``"saliency"``, which is not linear in the output.
        classes: As for ``multiclass_importance``.
        baseline: As for ``multiclass_importance``.
        background: As for ``multiclass_importance``.
        n_steps: As for ``multiclass_importance``.
        quadrature: As for ``multiclass_importance``.
        epsilon: As for ``multiclass_importance``.
        chunk_size: Points at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with points done and in all; may raise to cancel.

    Returns:
        A map a pixel and image, and the figures of its box plot.

    Raises:
        InvalidInput: Inputs or baselines do not fit the network.
        InvalidTarget: Classes that the network does not have, or fewer than two.
        InvalidOption: A pixel that is not there, or an option out of range.
        NetworkError: The attribution has no rule for a layer.
        OutOfMemory: A single point does not fit into memory.

    Cost:
        One forward-mode product, one forward and one backward pass a pixel and image, and the same once for the
        importance of an image where a pixel is named by it. Integrated gradients: times ``n_steps``.

    Guarantee:
        Exact; with integrated gradients up to the quadrature.

    Source:
        Zhang & Gao 2020, "Measuring Feature Importance of Convolutional Neural Networks", equation 2 and Figure 6; the
        two products in place of the matrix are ours.

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[4.0, 2.0], [2.0, 1.0]]))
    >>> found = pixel_covariation(Network(linear), torch.ones(1, 1, 1, 2), ["most"])
    >>> found.covariation.flatten().tolist(), found.pixels.flatten().tolist(), found.importance.tolist()
    ([2.0, 1.0], [0, 0, 0], [[3.0]])
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    _require_pixels(pixels, inputs.shape)
    if attribution == "saliency":
        raise InvalidOption("saliency is not linear in the output, and its co-variation needs all rows; use gradient")
    options = AttributionOptions(baseline, background, n_steps, quadrature, epsilon)
    # Gradients need ordinary tensors, also where the caller is in inference mode.
    with torch.inference_mode(False), torch.no_grad():
        require_class_sets(classes, network.require_gradients(inputs))
        rows = attribution_rows(network, inputs, attribution, options)
        size = default_chunk(network, inputs) if chunk_size is None else chunk_size
        chunks = Chunks(size, len(inputs) * (1 + len(pixels)), progress)
        sets, places = _placed(rows, classes, pixels, chunks)
        maps = _covariations(rows, sets, places, chunks)
        own = torch.zeros_like(maps.flatten(2), dtype=torch.bool).scatter(2, places.unsqueeze(2), value=True)
        others = maps.flatten(2)[~own].view(*places.shape, -1).double()
        return PixelCovariation(
            covariation=maps.to(inputs.dtype),
            pixels=torch.stack(torch.unravel_index(places, inputs.shape[1:]), dim=2),
            importance=maps.flatten(2).sum(2, dtype=torch.float64),
            five_numbers=_five_numbers(others),
            chunk_size=chunks.size,
        )


def _require_pixels(pixels: Sequence[Pixel], shape: torch.Size) -> None:
    if isinstance(pixels, str) or len(pixels) == 0:
        raise InvalidOption(f"pixels is {pixels!r}, expected a sequence of at least one of {_NAMES} or coordinates")
    for pixel in pixels:
        if pixel in _NAMES:
            continue
        if isinstance(pixel, str) or len(pixel) != 3:
            raise InvalidOption(f"pixel {pixel!r}: expected one of {', '.join(_NAMES)} or (channel, row, column)")
        if not all(isinstance(at, int) and 0 <= at < side for at, side in zip(pixel, shape[1:], strict=True)):
            raise InvalidOption(f"pixel {pixel}: expected (channel, row, column) below {tuple(shape[1:])}, from 0")


def _placed(rows: Rows, classes: Classes, pixels: Sequence[Pixel], chunks: Chunks) -> tuple[ClassSets, torch.Tensor]:
    """Returns the class sets of the images, and the flat index of each pixel in each image ``(batch, p)``."""
    images = torch.arange(len(rows.inputs), device=rows.inputs.device)
    is_named = any(isinstance(pixel, str) for pixel in pixels)
    outputs: list[torch.Tensor] = []
    places: list[torch.Tensor] = []

    def work(start: int, stop: int) -> None:
        totals = rows.totals(images[start:stop])
        sets = class_sets(classes, totals.outputs, rows.network.likelihoods)
        importance = torch.zeros_like(rows.inputs[start:stop])
        if is_named:
            (importance,) = rows.along(images[start:stop], sets.centred(totals.sums.double()).unsqueeze(0))
        places.append(_places(importance.flatten(1), pixels, rows.inputs.shape))
        outputs.append(totals.outputs)

    chunks.run(len(images), work)
    return class_sets(classes, torch.cat(outputs), rows.network.likelihoods), torch.cat(places)


def _places(importance: torch.Tensor, pixels: Sequence[Pixel], shape: torch.Size) -> torch.Tensor:
    named = {"most": importance.argmax(1), "least": importance.argmin(1), "nearly_zero": importance.abs().argmin(1)}
    _, _, height, width = shape
    return torch.stack(
        [
            named[pixel]
            if isinstance(pixel, str)
            else torch.full_like(named["most"], (pixel[0] * height + pixel[1]) * width + pixel[2])
            for pixel in pixels
        ],
        dim=1,
    )


def _covariations(rows: Rows, sets: ClassSets, places: torch.Tensor, chunks: Chunks) -> torch.Tensor:
    batch, p = places.shape
    images = torch.arange(batch, device=places.device).repeat_interleave(p)
    parts: list[torch.Tensor] = []

    def work(start: int, stop: int) -> None:
        chosen = images[start:stop]
        flat = rows.inputs.new_zeros(len(chosen), rows.inputs[0].numel())
        unit = flat.scatter(1, places.flatten()[start:stop].unsqueeze(1), 1).view(-1, *rows.inputs.shape[1:])
        columns = rows.times(chosen, unit).double()
        weights = ClassSets(sets.table[chosen], sets.mask[chosen]).centred(columns)
        parts.extend(rows.along(chosen, weights.unsqueeze(0)))

    chunks.run(len(images), work)
    return torch.cat(parts).view(batch, p, *rows.inputs.shape[1:])


def _five_numbers(values: torch.Tensor) -> torch.Tensor:
    """Returns minimum, quartiles and maximum over the last axis; between two values, in proportion."""
    ordered = values.sort(dim=-1).values
    at = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], device=values.device, dtype=values.dtype) * (values.shape[-1] - 1)
    below, above = ordered[..., at.floor().long()], ordered[..., at.ceil().long()]
    return torch.lerp(below, above, at - at.floor())
