"""Localisation: how far maps lie where the evidence is said to be."""

import math
from typing import NamedTuple

import torch
from torch.nn import functional

from attribution.checks import require_count
from attribution.errors import InvalidInput
from attribution.quality.maps import require_maps

MOST_TOLERANCE = 64
"""Pixels."""
_SPREAD = 0.25
"""The standard deviation of the central map, of each side."""


class Localization(NamedTuple):
    """How far the map of each image lies within its mask.

    Attributes:
        pointing: ``(batch,)``, float64: 1 where the largest value lies within the mask, else 0; of several places that
            share the largest value the share that does.
        mass_inside: ``(batch,)``, float64, from 0 to 1: the share of the positive values' sum that lies within; NaN
            where nothing is positive.
        rank_accuracy: ``(batch,)``, float64, from 0 to 1: the share of the n largest values that lies within a mask of
            n pixels.
    """

    pointing: torch.Tensor
    mass_inside: torch.Tensor
    rank_accuracy: torch.Tensor


def localization(maps: torch.Tensor, inputs: torch.Tensor, masks: torch.Tensor, *, tolerance: int = 0) -> Localization:
    r"""Compares maps with masks of where the evidence is.

    .. math::
        P = [\operatorname{argmax} a \in M], \qquad
        I = \frac{\sum_{p \in M} \max(a_p, 0)}{\sum_p \max(a_p, 0)}, \qquad
        R = \frac{|\operatorname{top}_{|M|}(a) \cap M|}{|M|}

    with the mask :math:`M` and :math:`a_p` the map's sum over the channels at pixel p. Equal values count as in random
    order, on average over all of them: of places that share the largest value, or that the end of the n largest falls
    between, each counts by its share. A flat map thereby has P and R by chance alone: the mask's share of the image.

    Args:
        maps: ``(batch, channels or 1, height, width)``, any unit.
        inputs: The images that they are of.
        masks: Bool ``(batch, height, width)``, true where the evidence is: some pixels of each image and not all.
        tolerance: Pixels that the largest value may lie beside the mask and still count for P, as the crow flies.

    Returns:
        The three figures of each image.

    Raises:
        InvalidInput: Maps that are not of these inputs, or not finite; masks of another shape, empty or full.
        InvalidOption: A tolerance out of range.

    Cost:
        No pass; each map is sorted once.

    Guarantee:
        Exact, about the mask: a network that looks elsewhere is shown rightly by a map that scores low.

    Source:
        P: Zhang, Bargal, Lin, Brandt, Shen & Sclaroff 2018, "Top-down Neural Attention by Excitation Backprop"
        (arXiv 1608.00507), the pointing game, there with a tolerance of 15 pixels. I and R: Arras, Osman & Samek 2022,
        "CLEVR-XAI: A Benchmark Dataset for the Ground Truth Evaluation of Neural Network Explanations"
        (arXiv 2003.07258), relevance mass accuracy and rank accuracy, there of maps pooled to be nowhere negative.

    >>> image = torch.tensor([[[[4.0, 3.0, 1.0, -2.0]]]])
    >>> [figure.item() for figure in localization(image, image, torch.tensor([[[True, False, True, False]]]))]
    [1.0, 0.625, 0.5]
    """  # noqa: DOC502 - the checks that it calls raise them
    plane = require_maps(maps, inputs).sum(1, dtype=torch.float64).flatten(1)
    _require_masks(masks, inputs)
    require_count(tolerance, "tolerance", 0, MOST_TOLERANCE)
    inside = masks.flatten(1)
    largest = plane == plane.amax(1, keepdim=True)
    positive = plane.clamp(min=0)
    return Localization(
        _share(largest, _grown(masks, tolerance).flatten(1)),
        (positive * inside).sum(1) / positive.sum(1),
        _rank_accuracy(plane, inside),
    )


def centre_maps(inputs: torch.Tensor) -> torch.Tensor:
    r"""Returns a map of no network: large in the centre of the image, to compare others with.

    .. math:: a_p = \exp\Big(-\frac{y_p^2}{2 (H / 4)^2} - \frac{x_p^2}{2 (W / 4)^2}\Big)

    with y and x from the image's centre; of an even side its two middle pixels share the largest value. What it scores
    is the centre bias, for photographers put what they mean in the middle.

    Args:
        inputs: ``(batch, channels, height, width)``.

    Returns:
        ``(batch, 1, height, width)``, from 0 to 1, the same of each image.

    >>> centre_maps(torch.zeros(1, 3, 1, 4)).squeeze().mul(1000).round().tolist()
    [325.0, 882.0, 882.0, 325.0]
    """
    bells = [torch.exp(-_from_centre(side).square() / (2 * (_SPREAD * side) ** 2)) for side in inputs.shape[2:]]
    return (bells[0].unsqueeze(1) * bells[1]).to(inputs).expand(len(inputs), 1, -1, -1)


def _from_centre(side: int) -> torch.Tensor:
    return torch.arange(side, dtype=torch.float64) - (side - 1) / 2


def _rank_accuracy(plane: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    count = inside.sum(1, keepdim=True)
    last = plane.sort(1, descending=True).values.gather(1, count - 1)
    above, equal = plane > last, plane == last
    left = (count - above.sum(1, keepdim=True)).squeeze(1)
    return ((above & inside).sum(1) + left * _share(equal, inside)) / count.squeeze(1)


def _share(places: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Returns the share of some places that lies inside."""
    return (places & inside).sum(1, dtype=torch.float64) / places.sum(1)


def _grown(masks: torch.Tensor, by: int) -> torch.Tensor:
    """Returns masks with all pixels no further than that from theirs, row by row of a disc."""
    if not by:
        return masks
    wide = functional.pad(masks.float().unsqueeze(1), (0, 0, by, by))
    grown = torch.zeros_like(masks)
    for down in range(-by, by + 1):
        half = math.isqrt(by**2 - down**2)
        rows = wide[:, :, by + down : by + down + masks.shape[1]]
        grown |= functional.max_pool2d(rows, (1, 2 * half + 1), 1, (0, half)).squeeze(1) > 0
    return grown


def _require_masks(masks: torch.Tensor, inputs: torch.Tensor) -> None:
    expected = (len(inputs), *inputs.shape[2:])
    if masks.dtype != torch.bool or masks.shape != expected or masks.device != inputs.device:
        raise InvalidInput(
            f"masks is {masks.dtype} {tuple(masks.shape)} on {masks.device}, expected torch.bool {expected} on "
            f"{inputs.device}; make them of these inputs"
        )
    for row, share in enumerate(masks.flatten(1).double().mean(1).tolist()):
        if share in (0, 1):
            raise InvalidInput(
                f"mask {row} has {'no pixel' if share == 0 else 'all pixels'} of the image, expected some and not all: "
                "there is nothing to tell maps apart by"
            )
