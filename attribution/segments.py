"""Segments of images: label maps ``(height, width)``, int64, from 0.

Pictures are float ``(height, width, 3)`` with values between 0 and 1, as the network saw them before normalisation.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from attribution.checks import require_count, require_number

#: The size of image that the scales of Felzenszwalb's segments are published for, and the least pixels of one.
_SIDE, _LEAST = 224, 150
SCALES = (50, 100, 150, 250, 500, 1200)
"""Of Felzenszwalb's segments, as XRAI takes them."""


def grid(height: int, width: int, rows: int, columns: int) -> torch.Tensor:
    """Returns rectangles, row by row of a grid that covers the image.

    >>> grid(2, 4, 1, 2).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    require_count(rows, "rows", 1, height)
    require_count(columns, "columns", 1, width)
    row, column = torch.arange(height) * rows // height, torch.arange(width) * columns // width
    return row.unsqueeze(1) * columns + column


def slic(picture: NDArray[np.floating], n_segments: int = 50, compactness: float = 10.0) -> torch.Tensor:
    """Returns superpixels: clusters of colour and place (Achanta et al. 2012), by scikit-image.

    Args:
        picture: What is cut up.
        n_segments: About how many.
        compactness: The weight of place against colour, above 0: more makes squares.

    >>> slic(np.zeros((8, 8, 3)), 4).unique().tolist()
    [0, 1, 2, 3]
    """
    from skimage.segmentation import slic as superpixels  # scikit-image comes in with what uses it alone

    require_count(n_segments, "n_segments", 1, picture.shape[0] * picture.shape[1])
    require_number(compactness, "compactness", 1e-6)
    labels = superpixels(picture, n_segments, compactness, start_label=0, channel_axis=-1)
    return torch.from_numpy(np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int64))


def felzenszwalb(picture: NDArray[np.floating], scales: Sequence[float] = SCALES) -> torch.Tensor:
    """Returns segments by contrast (Felzenszwalb & Huttenlocher 2004) at several scales, ``(scales, height, width)``.

    As XRAI has them: values between -1 and 1, smoothed by 0.8 pixels, at 224 x 224 pixels and with at least 150 of them
    a segment; the labels are stretched back to the picture's size.

    Args:
        picture: What is cut up.
        scales: Larger ones make larger segments.

    >>> felzenszwalb(np.zeros((8, 8, 3)), [50]).unique().tolist()
    [0]
    """
    from skimage.segmentation import felzenszwalb as segmented

    pixels = torch.from_numpy(np.asarray(picture, np.float64)).permute(2, 0, 1).unsqueeze(0)
    large = functional.interpolate(pixels, (_SIDE, _SIDE), mode="bilinear", align_corners=False)[0]
    values = (2 * large - 1).clamp(-1, 1).permute(1, 2, 0).numpy()
    found = [segmented(values, scale=scale, sigma=0.8, min_size=_LEAST, channel_axis=-1) for scale in scales]
    labels = torch.from_numpy(np.stack(found).astype(np.int64))
    return stretched(labels, picture.shape[0], picture.shape[1])


def stretched(labels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Returns label maps ``(..., rows, columns)`` at another size: each pixel has the label at its middle.

    >>> stretched(torch.tensor([[0, 1]]), 2, 4).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    rows, columns = (
        ((torch.arange(side) + 0.5) * given / side).long()
        for side, given in ((height, labels.shape[-2]), (width, labels.shape[-1]))
    )
    return labels[..., rows.unsqueeze(1), columns]
