"""What is left of an image once all but one cue is taken from it: its parts, its shape, its texture, its edges.

Every function takes images with values from 0 to 1 and gives such, and leaves a constant image a constant image.

Source: Geirhos et al. 2019, "ImageNet-trained CNNs are biased towards texture", for silhouettes, edges and textures;
Brendel & Bethge 2019, "Approximating CNNs with Bag-of-local-Features models works surprisingly well on ImageNet", for
images whose patches change places.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, label
from torch.nn import functional

from attribution import baselines
from attribution.checks import require_count, require_number
from attribution.errors import InvalidInput
from attribution.noise import Generators, image_generators

_LEVELS = 256
#: Of the shorter side: how wide the edge is whose colour counts as the background's.
_RIM = 1 / 16
#: Of the shorter side: how far distances of colour are smoothed before they are parted in two.
_SOFT = 0.01
#: Regions smaller than this share of the largest are no part of an object.
_SPECK = 0.1
#: Windows whose share of the object is this close to the largest are as good as it.
_WITHIN = 0.02


def patches_shuffled(images: torch.Tensor, generator: Generators | None = None, *, grid: int = 4) -> torch.Tensor:
    """Returns the images with their patches in other places: the parts are there, their arrangement is not.

    Args:
        images: ``(batch, channels, height, width)``.
        generator: One an image, or one for all; seed 0 unless told.
        grid: Patches along each side. What is left over on the right and below stays where it is.

    Raises:
        InvalidInput: Other than images from 0 to 1 with as many pixels a side as patches.

    >>> found = patches_shuffled(torch.arange(4.0).view(1, 1, 2, 2) / 4, grid=2)
    >>> sorted(found.flatten().tolist()) == [0, 0.25, 0.5, 0.75]
    True
    """  # noqa: DOC502 - the check that it calls raises
    high, wide = _cell(images, grid)
    found = images.clone()
    for row, own in enumerate(image_generators(generator, len(images))):
        order = torch.randperm(grid * grid, generator=own).tolist()
        for place, source in enumerate(order):
            down, across = divmod(place, grid)
            up, along = divmod(source, grid)
            found[row, :, down * high : (down + 1) * high, across * wide : (across + 1) * wide] = images[
                row, :, up * high : (up + 1) * high, along * wide : (along + 1) * wide
            ]
    return found


def parts_occluded(
    images: torch.Tensor, generator: Generators | None = None, *, grid: int = 4, hidden: float = 0.5
) -> torch.Tensor:
    """Returns the images with a share of their patches, drawn by lot, in the image's mean colour.

    Args:
        images: ``(batch, channels, height, width)``.
        generator: One an image, or one for all; seed 0 unless told.
        grid: Patches along each side.
        hidden: Share of them.

    Raises:
        InvalidInput: Other than images from 0 to 1 with as many pixels a side as patches.
        InvalidOption: A share out of range.

    >>> found = parts_occluded(torch.tensor([0.0, 1.0]).repeat(2, 1).view(1, 1, 2, 2), grid=2)
    >>> int((found == 0.5).sum())
    2
    """  # noqa: DOC502 - the checks that it calls raise
    high, wide = _cell(images, grid)
    require_number(hidden, "hidden", 0.0, 1.0)
    found, means = images.clone(), images.mean((2, 3))
    for row, own in enumerate(image_generators(generator, len(images))):
        for place in torch.randperm(grid * grid, generator=own)[: round(hidden * grid * grid)].tolist():
            down, across = divmod(place, grid)
            part = found[row, :, down * high : (down + 1) * high, across * wide : (across + 1) * wide]
            part[:] = means[row, :, None, None]
    return found


def foregrounds(images: torch.Tensor) -> torch.Tensor:
    """Returns a guess of where the object is, bool ``(batch, height, width)``: where the colour is not the rim's.

    Each pixel's distance from the median colour of the image's rim, a little smoothed, is parted in two as Otsu does
    (the threshold with the largest variance between both sides), holes are filled, and regions that are smaller than a
    tenth of the largest are dropped. A heuristic: an object of the background's colour is missed, a background of many
    colours is taken for an object.

    Args:
        images: ``(batch, channels, height, width)``.

    Raises:
        InvalidInput: Other than images from 0 to 1.

    >>> image = torch.zeros(1, 1, 16, 16)
    >>> image[:, :, 5:10, 4:12] = 1.0
    >>> int(foregrounds(image).sum())
    40
    """  # noqa: DOC502 - the check that it calls raises
    _cell(images, 1)
    height, width = images.shape[2:]
    rim = max(1, round(_RIM * min(height, width)))
    is_rim = torch.ones(height, width, dtype=torch.bool)
    is_rim[rim : height - rim, rim : width - rim] = False
    background = images[:, :, is_rim.to(images.device)].median(2).values
    distances = (images - background[:, :, None, None]).square().sum(1, keepdim=True).sqrt()
    soft = baselines.blur(distances, max(0.3, _SOFT * min(height, width)))[:, 0].cpu().double().numpy()
    # A picture of one colour has no object, whatever rounding makes of it.
    masks = [_without_specks(binary_fill_holes(row > max(otsu(row), 0.5 / 255))) for row in soft]
    return torch.from_numpy(np.stack(masks)).to(images.device)


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns the largest connected region, and those that are not much smaller."""
    regions, count = label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    kept: NDArray[np.bool_] = (sizes >= _SPECK * sizes.max())[regions]
    return kept


def otsu(values: NDArray[np.float64]) -> float:
    """Returns the threshold that parts values in two with the largest variance between both sides.

    >>> round(otsu(np.array([0.0, 0.1, 0.9, 1.0])), 2)
    0.1
    """
    counts, edges = np.histogram(values, _LEVELS)
    middles = (edges[1:] + edges[:-1]) / 2
    below, above = counts.cumsum(), counts.sum() - counts.cumsum()
    sums = (counts * middles).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = sums / below - (sums[-1] - sums) / above
        between = np.nan_to_num(below * above * apart**2)
    return float(edges[1:][between.argmax()])


def silhouettes(images: torch.Tensor, foreground: torch.Tensor | None = None) -> torch.Tensor:
    """Returns the foregrounds in black on white: the shape alone. See ``foregrounds``, a heuristic.

    Args:
        images: ``(batch, channels, height, width)``.
        foreground: Where the object is, bool ``(batch, height, width)``; guessed unless told.

    Raises:
        InvalidInput: Other than images from 0 to 1.

    >>> silhouettes(torch.full((1, 3, 4, 4), 0.5)).unique().tolist()
    [1.0]
    """  # noqa: DOC502 - the check that it calls raises
    object_ = foregrounds(images) if foreground is None else foreground
    return (~object_).unsqueeze(1).expand_as(images).to(images.dtype)


def textures(images: torch.Tensor, foreground: torch.Tensor | None = None, *, share: float = 0.25) -> torch.Tensor:
    """Returns images of one window of each, mirrored side by side: the texture without the shape.

    The window is the most contrasted of those that lie most inside of the foreground.

    Args:
        images: ``(batch, channels, height, width)``.
        foreground: Where the object is, bool ``(batch, height, width)``; guessed unless told.
        share: Side of the window, of the shorter side.

    Raises:
        InvalidInput: Other than images from 0 to 1.
        InvalidOption: A share out of range.

    >>> float(textures(torch.full((1, 3, 8, 8), 0.5)).std())
    0.0
    """  # noqa: DOC502 - the checks that it calls raise
    require_number(share, "share", 0.01, 1.0)
    _cell(images, 1)
    height, width = images.shape[2:]
    side = max(2, round(share * min(height, width)))
    object_ = foregrounds(images) if foreground is None else foreground
    inside = functional.avg_pool2d(object_.to(images.dtype).unsqueeze(1), side, 1)[:, 0].flatten(1)
    contrast = functional.avg_pool2d(_slopes(images), side, 1)[:, 0].flatten(1)
    best = torch.where(inside >= inside.amax(1, keepdim=True) - _WITHIN, contrast, -1.0).argmax(1)
    columns = width - side + 1
    down, across = _mirrored(height, side), _mirrored(width, side)
    rows = []
    for image, place in zip(images, best.tolist(), strict=True):
        top, left = divmod(place, columns)
        rows.append(image[:, top : top + side, left : left + side][:, down][:, :, across])
    return torch.stack(rows)


def blurred(images: torch.Tensor, *, sigma: float = 0.02) -> torch.Tensor:
    """Returns the images without what is fine: coarse shape and colour.

    Args:
        images: ``(batch, channels, height, width)``.
        sigma: Of the Gaussian, as a share of the shorter side.

    Raises:
        InvalidInput: Other than images from 0 to 1.
        InvalidOption: A share out of range.

    >>> round(float(blurred(torch.full((1, 3, 8, 8), 0.5)).mean()), 6)
    0.5
    """  # noqa: DOC502 - the checks that it calls raise
    require_number(sigma, "sigma", 1e-3, 1.0)
    _cell(images, 1)
    return baselines.blur(images, sigma * min(images.shape[2:])).clamp(0, 1)


def edges(images: torch.Tensor) -> torch.Tensor:
    """Returns how steep the brightness is, dark on white, the steepest place of each image in black: lines alone.

    Raises:
        InvalidInput: Other than images from 0 to 1.

    >>> edges(torch.full((1, 3, 4, 4), 0.5)).unique().tolist()
    [1.0]
    """  # noqa: DOC502 - the check that it calls raises
    _cell(images, 1)
    slopes = _slopes(images)
    steepest = slopes.amax((2, 3), keepdim=True)
    return (1 - slopes / steepest.clamp(min=1e-6)).expand_as(images).contiguous()


def _slopes(images: torch.Tensor) -> torch.Tensor:
    """Returns the length of Sobel's gradient of the brightness, ``(batch, 1, height, width)``."""
    grey = functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=images.device) / 8
    kernels = torch.stack([across, across.T]).unsqueeze(1).to(images.dtype)
    return functional.conv2d(grey, kernels).square().sum(1, keepdim=True).sqrt()


def _mirrored(length: int, side: int) -> torch.Tensor:
    """Returns which place of a window each place takes where windows lie side by side, each the mirror of the last."""
    places = torch.arange(length) % (2 * side)
    return torch.where(places < side, places, 2 * side - 1 - places)


def _cell(images: torch.Tensor, grid: int) -> Sequence[int]:
    """Returns height and width of the cells of a grid over images.

    Raises:
        InvalidInput: These are no images from 0 to 1, or have fewer pixels a side than the grid has cells.
    """
    require_count(grid, "grid")
    if images.dim() != 4 or float(images.min()) < 0 or float(images.max()) > 1:
        raise InvalidInput(
            f"images have the shape {tuple(images.shape)} and values from {float(images.min()):.3g} to"
            f" {float(images.max()):.3g}, expected (batch, channels, height, width) from 0 to 1: before normalisation"
        )
    if min(images.shape[2:]) < grid:
        raise InvalidInput(f"images of {images.shape[2]} x {images.shape[3]} pixels have no {grid} x {grid} patches")
    return images.shape[2] // grid, images.shape[3] // grid
