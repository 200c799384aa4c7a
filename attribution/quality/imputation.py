"""Noisy linear imputation: pixels that are gone become the weighted mean of their neighbours, and a little noise."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch.nn import functional

from attribution.checks import require_images, require_number
from attribution.errors import InvalidInput
from attribution.noise import Generators, row_noise
from attribution.quality.fills import Fill

TOLERANCE = 1e-5
"""Of the range of what remains: no pixel is further from the mean of its neighbours than that, before the noise."""
_BESIDE, _DIAGONAL = 1 / 6, 1 / 12
_MOST_ROUNDS = 2000
"""Far above what any mask takes: rounding that stalls must not keep a worker."""


class _System(NamedTuple):
    """The equations of the pixels that are gone, ``gone`` and ``weights`` ``(n, 1, height, width)``.

    ``weights`` of a pixel is the sum of those of its neighbours inside the image; ``coarser`` has for each coarser grid
    the inverse of its diagonal, 0 in cells without a missing pixel.
    """

    gone: torch.Tensor
    weights: torch.Tensor
    coarser: list[torch.Tensor]

    def times(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the left-hand side for values that are 0 where pixels remain."""
        return self.gone * (self.weights * values - _neighbours(values))

    def roughly_solved(self, residual: torch.Tensor) -> torch.Tensor:
        """Returns about what the left-hand side would have to be given to make a residual."""
        sums = [residual]
        for _ in self.coarser:
            sums.append(_summed(sums[-1]))
        found = torch.zeros_like(sums[-1])
        for own, inverse in zip(sums[::-1], [*self.coarser[::-1], 1 / self.weights], strict=True):
            found = own * inverse + _spread(found, own)
        return self.gone * found


def noisy_linear_fill(
    inputs: torch.Tensor, *, noise: float | Sequence[float], generator: Generators | None = None
) -> Fill:
    """Returns what fills pixels of these images by linear imputation and noise; see :func:`linear_imputation`.

    The noise of a pixel is the same whenever it is gone, so that curves of two orders differ by the orders alone.

    Args:
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        noise: Standard deviation of the Gaussian noise, one for all channels or one each, in units of the inputs, from
            0; the paper's is 0.01 of pixels between 0 and 1.
        generator: Of the noise, one for the batch or one an image; none where there is no noise.

    Returns:
        The fill.

    Raises:
        InvalidInput: No images, or not one noise a channel, or a noise without a generator.
        InvalidOption: A negative noise.
    """  # noqa: DOC502 - the checks that it calls raise them
    require_images(inputs, "inputs", None, None)
    deviations = [require_number(one, "noise", 0) for one in ([noise] if isinstance(noise, int | float) else noise)]
    if len(deviations) not in (1, inputs.shape[1]):
        raise InvalidInput(
            f"noise has {len(deviations)} values for {inputs.shape[1]} channels, expected one each or one"
        )
    if generator is None and any(deviations):
        raise InvalidInput(f"noise is {noise} and generator is None: give a generator, or a noise of 0")
    drawn = torch.zeros_like(inputs) if generator is None else row_noise(torch.randn, inputs, generator)
    drawn = drawn * inputs.new_tensor(deviations).view(1, -1, 1, 1)

    def fill(images: torch.Tensor, gone: torch.Tensor) -> torch.Tensor:
        return linear_imputation(inputs[images], gone) + drawn[images]

    return fill


def linear_imputation(inputs: torch.Tensor, gone: torch.Tensor) -> torch.Tensor:
    r"""Returns images whose missing pixels are the weighted means of their neighbours, known or missing alike.

    .. math:: x_p = \sum_{q \in N(p)} w_{pq} x_q \Big/ \sum_{q \in N(p)} w_{pq}

    for every missing p, over the up to eight neighbours inside the image, with :math:`w = 1/6` beside and 1/12
    diagonally. Where a pixel remains, the solution is unique. Where none does, every constant image solves the
    equations; the one nearest to the image is taken, its own mean colour.

    Multiplied by the sums of weights the equations are symmetric and positive definite: conjugate gradients solve them,
    preconditioned by the diagonals of ever coarser grids, whose cells gather the missing pixels in 2 x 2, 4 x 4 and so
    on. Of an image of 224 x 224 with 95 % missing in one piece, the furthest pixel is then 0.0004 of the range from the
    exact solution, after some 85 rounds; without the coarser grids it takes 400 to 550.

    Args:
        inputs: Images, float ``(batch, channels, height, width)``, any unit; missing pixels are not read, but where
            none remains.
        gone: Bool ``(batch, height, width)``: the missing pixels, of all channels.

    Returns:
        The inputs' shape, dtype and unit: the remaining pixels as they are, every other within :data:`TOLERANCE` of the
        mean of its neighbours, in units of the range of what remains of its channel.

    Raises:
        InvalidInput: No images, or a mask that does not fit them.

    Cost:
        No pass; 14 to 88 rounds at 224 x 224, more for wide holes than for scattered pixels, each of a few sums over
        the images. Memory of some 12 times the images.

    Guarantee:
        The equations hold to the tolerance; an image does not depend on its batch.

    Source:
        Rong, Leemann, Borisov, Kasneci & Kasneci 2022, "A Consistent and Efficient Evaluation Strategy for Attribution
        Methods" (arXiv 2202.00449), for the equations; Bramble, Pasciak & Xu 1990, "Parallel
        Multilevel Preconditioners", for the sum of diagonals.

    >>> image = torch.tensor([[[[0.0, 9.0, 9.0, 3.0]]]])
    >>> gone = torch.tensor([[[False, True, True, False]]])
    >>> [round(value, 3) for value in linear_imputation(image, gone).flatten().tolist()]
    [0.0, 1.0, 2.0, 3.0]
    """
    require_images(inputs, "inputs", None, None)
    if gone.dtype != torch.bool or gone.shape != (len(inputs), *inputs.shape[2:]):
        batch, _, height, width = inputs.shape
        raise InvalidInput(
            f"gone is {gone.dtype} {tuple(gone.shape)}, expected torch.bool ({batch}, {height}, {width}): the pixels "
            "of each image that are missing"
        )
    missing = gone.unsqueeze(1)
    known = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    low = known.masked_fill(missing, torch.inf).amin((2, 3), keepdim=True)
    high = known.masked_fill(missing, -torch.inf).amax((2, 3), keepdim=True)
    mean = known.mean((2, 3), keepdim=True)
    remains = low <= high
    low, width_of = torch.where(remains, low, mean), torch.where(high > low, high - low, 1.0)
    scaled = ((known - low) / width_of).masked_fill(missing, 0)
    solved = low + width_of * _solved(_system(missing, known), scaled)
    return torch.where(missing, torch.where(remains, solved, mean).to(inputs), inputs)


def _solved(system: _System, known: torch.Tensor) -> torch.Tensor:
    """Returns the values of the missing pixels, and 0 elsewhere, by conjugate gradients; each channel has its own."""
    residual = system.gone * _neighbours(known)
    values = torch.zeros_like(residual)
    direction, before = torch.zeros_like(residual), torch.ones_like(residual[..., :1, :1])
    for _ in range(_MOST_ROUNDS):
        going = (residual / system.weights).abs().amax((2, 3), keepdim=True) > TOLERANCE
        if not bool(going.any()):
            break
        rough = system.roughly_solved(residual)
        now = _product(residual, rough)
        direction = rough + now / before * direction
        image = system.times(direction)
        # A channel that is solved stands still, so that its values do not depend on the others'.
        step = torch.where(going, now / _product(direction, image), 0)
        values, residual = values + step * direction, residual - step * image
        before = now.masked_fill(~going, torch.inf)
    return values


def _system(missing: torch.Tensor, like: torch.Tensor) -> _System:
    gone = missing.to(like.dtype)
    coarser = list[torch.Tensor]()
    while 2 ** len(coarser) < max(gone.shape[2:]):
        diagonal = _leaving(gone, 2 ** (len(coarser) + 1))
        for _ in range(len(coarser) + 1):
            diagonal = _summed(diagonal)
        coarser.append(torch.where(diagonal > 0, 1 / diagonal, 0))
    return _System(gone, _neighbours(torch.ones_like(gone[:1])), coarser)


def _leaving(gone: torch.Tensor, side: int) -> torch.Tensor:
    """Returns of each missing pixel the weights of its neighbours that remain, or lie in another cell of this side.

    Summed over a cell they are its place in the diagonal of the coarser grid.
    """
    rows, columns = (torch.arange(count, device=gone.device) // side + 1 for count in gone.shape[2:])
    cells = (rows.unsqueeze(1) * (len(columns) + 1) + columns).expand_as(gone[:1])
    inside, found = torch.ones_like(gone[:1]), torch.zeros_like(gone)
    for down, across in product((-1, 0, 1), repeat=2):
        if down or across:
            weight = _DIAGONAL if down and across else _BESIDE
            stays = (_moved(cells, down, across) == cells) * _moved(gone, down, across)
            found += weight * (_moved(inside, down, across) - stays)
    return gone * found


def _neighbours(values: torch.Tensor) -> torch.Tensor:
    """Returns the weighted sum of each pixel's neighbours: 1, 2, 1 down times 1, 2, 1 across is 12 w, and 4 within."""
    found = functional.pad(values, (1, 1, 1, 1))
    found = found[:, :, :-2] + 2 * found[:, :, 1:-1] + found[:, :, 2:]
    found = found[..., :-2] + 2 * found[..., 1:-1] + found[..., 2:]
    return (found - 4 * values) / 12


def _moved(values: torch.Tensor, down: int, across: int) -> torch.Tensor:
    """Returns at each pixel the value of the one so far down and across, 0 outside the image."""
    height, width = values.shape[2:]
    padded = functional.pad(values, (1, 1, 1, 1))
    return padded[..., 1 + down : 1 + down + height, 1 + across : 1 + across + width]


def _summed(values: torch.Tensor) -> torch.Tensor:
    """Returns the sums over cells of 2 x 2 from the upper left, smaller at the other edges."""
    return functional.avg_pool2d(values, 2, ceil_mode=True, divisor_override=1)


def _spread(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Returns values of cells of 2 x 2 at each of their pixels."""
    height, width = like.shape[2:]
    return values.repeat_interleave(2, 2)[:, :, :height].repeat_interleave(2, 3)[..., :width]


def _product(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (one * other).sum((2, 3), keepdim=True)
