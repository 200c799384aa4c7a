"""Which images of a data set excite each feature map of a layer most, and which least."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from safetensors.torch import load, save

from attribution.checks import require_choice, require_count, require_finite
from attribution.errors import InvalidInput

Measure = Literal["maximum", "mean", "absolute"]
MEASURES: tuple[Measure, ...] = ("maximum", "mean", "absolute")

NOBODY = -1
"""The position where there are fewer images than places."""


class Ranking(NamedTuple):
    """The images that come first, of each feature map; of equal ones the first by its position.

    Attributes:
        values: float64 ``(channels, n)``, the measure of each.
        positions: int64 ``(channels, n)``, of the images in the data set; ``NOBODY`` where there are fewer.
        places: int64 ``(channels, n)``, where each map is largest, row by row; by absolute value for ``absolute``.
    """

    values: torch.Tensor
    positions: torch.Tensor
    places: torch.Tensor


class Extremes(NamedTuple):
    """The most and the least exciting images of each feature map, and how its measure is spread over all of them.

    Attributes:
        most: The largest measures first.
        least: The smallest first.
        n_images: How many there are.
        mean: float64 ``(channels,)``, of the measure over all images.
        squares: float64 ``(channels,)``, the sum of its squared distances from the mean.
        sizes: Rows and columns of the maps.
    """

    most: Ranking
    least: Ranking
    n_images: int
    mean: torch.Tensor
    squares: torch.Tensor
    sizes: tuple[int, int]

    @property
    def std(self) -> torch.Tensor:
        """The standard deviation of the measure over all images."""
        return (self.squares / max(self.n_images - 1, 1)).sqrt()

    def merge(self, other: "Extremes") -> "Extremes":
        """Returns the extremes of the images of both, whichever comes first.

        Raises:
            InvalidInput: They are of layers of different form.
        """
        if self.sizes != other.sizes or self.most.values.shape != other.most.values.shape:
            raise InvalidInput(
                f"maps of {tuple(self.most.values.shape)} and {self.sizes} do not merge with"
                f" {tuple(other.most.values.shape)} and {other.sizes}: they are of other layers"
            )
        n, count = self.most.values.shape[1], self.n_images + other.n_images
        apart, share = other.mean - self.mean, other.n_images / count
        return Extremes(
            _first(_joined(self.most, other.most), n, descending=True),
            _first(_joined(self.least, other.least), n, descending=False),
            count,
            self.mean + apart * share,
            self.squares + other.squares + apart.square() * self.n_images * share,
            self.sizes,
        )

    def outstanding(self, n_channels: int) -> list[int]:
        """Returns the feature maps that a few images excite far more than others do.

        They are those whose most exciting images lie most standard deviations above the mean of all, the first one
        first; never such as answer the same to all images.
        """
        known = torch.where(self.most.positions != NOBODY, self.most.values, torch.nan)
        apart = (known.nanmean(1) - self.mean) / self.std
        order = apart.nan_to_num(-torch.inf, posinf=-torch.inf).argsort(descending=True, stable=True)
        return [channel for channel in order.tolist() if float(self.std[channel]) > 0][:n_channels]

    def to_bytes(self) -> bytes:
        """Returns everything as one file of the format safetensors."""
        whole = {f"{name}.{field}": getattr(getattr(self, name), field) for name in _SIDES for field in Ranking._fields}
        numbers = {"n_images": torch.tensor(self.n_images), "sizes": torch.tensor(self.sizes)}
        tensors = whole | numbers | {"mean": self.mean, "squares": self.squares}
        return save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})

    @classmethod
    def from_bytes(cls, content: bytes) -> "Extremes":
        """Returns what ``to_bytes`` wrote."""
        found = load(content)
        most, least = (Ranking(*(found[f"{side}.{field}"] for field in Ranking._fields)) for side in _SIDES)
        height, width = found["sizes"].tolist()
        return cls(most, least, int(found["n_images"]), found["mean"], found["squares"], (height, width))


_SIDES = ("most", "least")


def extremes(maps: torch.Tensor, positions: Sequence[int], n: int, measure: Measure = "maximum") -> Extremes:
    r"""Returns the extremes of some images.

    The measure of a map is :math:`\max A`, its mean, or :math:`\max |A|`.

    Args:
        maps: ``(images, channels, height, width)``.
        positions: Of the images in the data set.
        n: Images that are kept on either side.
        measure: What a map is measured by.

    Raises:
        InvalidInput: Other than one position an image, or none.
        InvalidOption: An unknown measure, or no image to keep.
        NetworkError: A map is not finite.

    >>> maps = torch.tensor([[[[1.0, 5.0]]], [[[2.0, 0.0]]], [[[3.0, 5.0]]]])
    >>> found = extremes(maps, [0, 1, 2], 2)
    >>> found.most.positions.tolist(), found.most.places.tolist(), found.least.values.tolist()
    ([[0, 2]], [[1, 1]], [[2.0, 5.0]])
    """  # noqa: DOC502 - the checks that it calls raise
    require_choice(measure, "measure", MEASURES)
    require_count(n, "n")
    if len(positions) != len(maps) or not len(maps):
        raise InvalidInput(f"{len(positions)} positions of {len(maps)} images, expected one of each, and an image")
    require_finite("the maps", maps)
    flat = maps.flatten(2).double()
    strengths = flat.abs() if measure == "absolute" else flat
    peaks = strengths.amax(2)
    values = flat.mean(2) if measure == "mean" else peaks
    # Of equal values the first place: which one argmax names is not said.
    numbers = torch.arange(flat.shape[2], device=flat.device)
    places = torch.where(strengths == peaks.unsqueeze(2), numbers, flat.shape[2]).amin(2)
    where = torch.tensor(list(positions), device=flat.device).unsqueeze(1).expand_as(places)
    whole = Ranking(values.T.cpu(), where.T.cpu(), places.T.cpu())
    mean = whole.values.mean(1)
    return Extremes(
        _first(whole, n, descending=True),
        _first(whole, n, descending=False),
        len(maps),
        mean,
        (whole.values - mean.unsqueeze(1)).square().sum(1),
        (maps.shape[2], maps.shape[3]),
    )


def _joined(one: Ranking, other: Ranking) -> Ranking:
    return Ranking(*(torch.cat(both, 1) for both in zip(one, other, strict=True)))


def _first(found: Ranking, n: int, *, descending: bool) -> Ranking:
    """Returns the first ``n`` of each row; what is nobody's comes last, and fills what is left."""
    values = torch.where(found.positions == NOBODY, -torch.inf if descending else torch.inf, found.values)
    by_position = found.positions.argsort(dim=1, stable=True)
    order = by_position.gather(1, values.gather(1, by_position).argsort(dim=1, descending=descending, stable=True))[
        :, :n
    ]
    kept = [column.gather(1, order) for column in (found.values, found.positions, found.places)]
    if missing := max(n - kept[0].shape[1], 0):
        fill = (0.0, NOBODY, 0)
        kept = [torch.cat([one, one.new_full((len(one), missing), fill[at])], 1) for at, one in enumerate(kept)]
    return Ranking(*kept)
