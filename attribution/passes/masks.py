"""Random smooth masks of images: coarse grids of zeros and ones, stretched and shifted, as RISE has them."""

from typing import NamedTuple

import torch
from torch.nn import functional

from attribution.noise import Generators, image_generators


class Masks(NamedTuple):
    """The masks of a batch as what they are made of, so that thousands of them take no memory.

    A mask is a grid of ``cells x cells`` zeros and ones, stretched linearly over one cell more than the image has, of
    which a window of the image's size is cut at a random place.

    Attributes:
        size: Height and width.
        grids: ``(batch, n, cells, cells)``, booleans: which cells are shown.
        places: ``(batch, n, 2)``, int64: the first row and column of the window.
        rows: ``(stretched height, cells)``, float64: how much of each row of the grid a stretched one has.
        columns: ``(stretched width, cells)``, the same of columns.
    """

    size: tuple[int, int]
    grids: torch.Tensor
    places: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor

    @property
    def n_masks(self) -> int:
        """Masks of an image."""
        return self.grids.shape[1]

    def of(self, images: torch.Tensor, numbers: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Returns masks in [0, 1], ``(n, height, width)``, by image and number, both int64 ``(n,)``."""
        places = self.places[images, numbers].unsqueeze(2)
        rows, columns = (
            shares[places[:, axis] + torch.arange(side, device=places.device)].to(dtype)
            for axis, (shares, side) in enumerate(zip((self.rows, self.columns), self.size, strict=True))
        )
        return rows @ self.grids[images, numbers].to(dtype) @ columns.transpose(1, 2)


def random_masks(
    size: tuple[int, int],
    n_masks: int,
    cells: int,
    share: float,
    generator: Generators | None,
    batch: int,
    device: torch.device,
) -> Masks:
    """Returns masks that show each cell with a probability; each image's from its own generator.

    Args:
        size: Height and width of the images.
        n_masks: Masks an image.
        cells: Of the grid along each side, at most as many as the image has pixels.
        share: Probability that a cell is shown.
        generator: One, or one an image; seed 0 for every image unless told.
        batch: Images.
        device: Of the masks.

    >>> masks = random_masks((4, 4), 3, 2, 0.5, None, 1, torch.device("cpu"))
    >>> masks.of(torch.zeros(3).long(), torch.arange(3), torch.float64).shape
    torch.Size([3, 4, 4])
    """
    room = torch.tensor([-(-side // cells) for side in size], dtype=torch.float64)
    grids, places = [], []
    for one in image_generators(generator, batch):
        keys = torch.rand(n_masks, cells, cells, generator=one, dtype=torch.float64, device=one.device)
        grids.append((keys < share).to(device))
        keys = torch.rand(n_masks, 2, generator=one, dtype=torch.float64, device=one.device)
        places.append((keys.cpu() * room).long().to(device))
    rows, columns = (_stretched(side, cells).to(device) for side in size)
    return Masks(size, torch.stack(grids), torch.stack(places), rows, columns)


def _stretched(side: int, cells: int) -> torch.Tensor:
    """Returns what each place of the stretched grid has of each cell, ``(places, cells)``."""
    length = (cells + 1) * -(-side // cells)
    each = torch.eye(cells, dtype=torch.float64).unsqueeze(0)
    return functional.interpolate(each, length, mode="linear", align_corners=False)[0].T.contiguous()
