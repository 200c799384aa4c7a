r"""Principal components of representations that come in parts: mean and scatter, merged pairwise in float64.

With :math:`n = n_a + n_b` images and :math:`\delta = \mu_b - \mu_a`

.. math:: \mu = \mu_a + \delta \, \frac{n_b}{n}, \qquad S = S_a + S_b + \delta \delta^T \frac{n_a n_b}{n}.

Source: Chan, Golub & LeVeque 1983, "Algorithms for Computing the Sample Variance", equation 2.1; Pearson 1901, "On
lines and planes of closest fit to systems of points in space".
"""

from typing import NamedTuple

import torch

from attribution.checks import require_count, require_finite
from attribution.errors import InvalidInput, NetworkError

#: Numbers of a representation at most: a scatter of 128 MiB, whose components take about a minute on one core.
WIDEST = 4096


class Moments(NamedTuple):
    """How representations are spread.

    Attributes:
        n_images: How many there are.
        mean: float64 ``(d,)``.
        scatter: float64 ``(d, d)``, the sum of the products of what lies apart from the mean.
    """

    n_images: int
    mean: torch.Tensor
    scatter: torch.Tensor

    def merge(self, other: "Moments") -> "Moments":
        """Returns the moments of the images of both.

        Raises:
            InvalidInput: They are of different widths.
        """
        if self.mean.shape != other.mean.shape:
            raise InvalidInput(f"representations of {len(self.mean)} and {len(other.mean)} numbers do not merge")
        n_images = self.n_images + other.n_images
        apart, share = other.mean - self.mean, other.n_images / n_images
        scatter = torch.addr(self.scatter + other.scatter, apart, apart, alpha=self.n_images * share)
        return Moments(n_images, self.mean + apart * share, scatter)


def moments(representations: torch.Tensor) -> Moments:
    """Returns the moments of representations ``(n, d)``.

    Raises:
        InvalidInput: There is none, or they are too wide.
        NetworkError: One is not finite.

    >>> found = moments(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    >>> found.mean.tolist(), found.scatter.tolist()
    ([2.0, 0.0], [[2.0, 0.0], [0.0, 0.0]])
    """  # noqa: DOC502 - the checks that it calls raise
    require_width(representations)
    require_finite("the representations", representations)
    wide = representations.double()
    mean = wide.mean(0)
    apart = wide - mean
    return Moments(len(wide), mean, apart.T @ apart)


def require_width(representations: torch.Tensor) -> None:
    """Accepts ``(n, d)`` with at most ``WIDEST`` numbers an image.

    Raises:
        InvalidInput: It is something else.
    """
    if representations.dim() != 2 or not len(representations) or not 0 < representations.shape[1] <= WIDEST:
        raise InvalidInput(
            f"representations have the shape {tuple(representations.shape)}, expected (n, d) with d up to {WIDEST:,}:"
            " take the mean of each feature map, or another layer"
        )


class Principal(NamedTuple):
    """The directions in which representations differ most.

    Attributes:
        mean: float64 ``(d,)``.
        components: float64 ``(k, d)`` of length 1, the one of largest variance first; the number of largest absolute
            value in each is positive.
        variances: float64 ``(k,)``, along each.
        total: The variance along all directions together.
        spectrum: float64 ``(d,)``, the variances along all directions, the largest first.
    """

    mean: torch.Tensor
    components: torch.Tensor
    variances: torch.Tensor
    total: float
    spectrum: torch.Tensor

    @property
    def explained(self) -> torch.Tensor:
        """The share of the variance along each component, ``(k,)``."""
        return self.variances / self.total

    def coordinates(self, representations: torch.Tensor) -> torch.Tensor:
        """Returns where representations ``(n, d)`` lie along the components, float64 ``(n, k)``."""
        return (representations.double() - self.mean) @ self.components.T


def principal_components(found: Moments, n_components: int) -> Principal:
    r"""Returns the first principal components: eigenvectors of the covariance :math:`S / (n - 1)`.

    Args:
        found: Moments of at least two images.
        n_components: How many; fewer where the images or their numbers are fewer.

    Raises:
        InvalidInput: There are fewer than two images.
        InvalidOption: No component is asked for.
        NetworkError: All representations are the same.

    Cost:
        About ``10 d^3`` operations; no pass.

    Guarantee:
        Exact, without randomness; where two variances are equal, any two directions between them serve as well.

    >>> found = principal_components(moments(torch.tensor([[0.0, 0.0], [3.0, 4.0]])), 5)
    >>> [round(value, 6) for value in found.components.flatten().tolist()], round(found.total, 6)
    ([0.6, 0.8], 12.5)
    """  # noqa: DOC502 - the check that it calls raises
    require_count(n_components, "n_components")
    if found.n_images < 2:
        raise InvalidInput("principal components need two images at least, given one")
    covariance = found.scatter / (found.n_images - 1)
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    spectrum = values.flip(0).clamp(min=0)
    total = float(spectrum.sum())
    if total == 0:
        raise NetworkError("the layer gives the same for all images: there is no direction to see; choose another")
    count = min(n_components, found.n_images - 1, len(spectrum))
    components = vectors.flip(1).T[:count]
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return Principal(found.mean, components * largest.sign(), spectrum[:count], total, spectrum)


def between(coordinates: torch.Tensor, groups: torch.Tensor) -> float:
    """Returns how much of the variance of coordinates ``(n, k)`` lies between groups: 1 where each group is a point.

    Args:
        coordinates: float64.
        groups: int64 ``(n,)``, such as classes.

    >>> between(torch.tensor([[0.0], [0.0], [2.0], [2.0]]), torch.tensor([0, 0, 1, 1]))
    1.0
    """
    apart = coordinates - coordinates.mean(0)
    total = float(apart.square().sum())
    names, members = torch.unique(groups, return_inverse=True)
    sums = torch.zeros(len(names), coordinates.shape[1], dtype=coordinates.dtype).index_add_(0, members, apart)
    counts = torch.bincount(members).unsqueeze(1)
    return float((sums.square() / counts).sum()) / total if total else 0.0
