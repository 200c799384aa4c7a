"""The strategies of a class: clusters of its maps, and how far a decision lies from those that are known."""

from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import kneighbors_graph

from attribution.checks import require_count, require_finite
from attribution.decomposition.histograms import loaded
from attribution.errors import InvalidInput

MOST_CLUSTERED = 2_000
"""Maps of a class that the eigenvalues are taken of; what they cost grows with the third power."""
MOST_STRATEGIES = 8
FEWEST = 12
"""Maps of a class below which it has one strategy."""
APART = 1 / 5
"""The largest ratio of two eigenvalues beside each other between which clusters end. A chain, which of all that hangs
together hangs together least, has the eigenvalues ``(pi j / L)^2``: a ratio of 1/4 after the first."""
_KEPT, _MOST_AXES = 0.95, 16
"""Of the variance of a class's vectors, and principal axes, that the mixture is fitted on."""
_FLOOR = 1e-6
"""Added to variances: the vectors have a length of 1."""


class Clusters(NamedTuple):
    """Which maps of a class are alike.

    Attributes:
        labels: int64 ``(n,)``: the cluster of each map, the largest one 0.
        eigenvalues: float64 ``(MOST_STRATEGIES + 1,)`` or fewer: the smallest ones of the graph's Laplacian.
        n_neighbors: Of each map in the graph.
    """

    labels: torch.Tensor
    eigenvalues: torch.Tensor
    n_neighbors: int

    @property
    def n_clusters(self) -> int:
        """How many there are."""
        return int(self.labels.max()) + 1


class Strategies(NamedTuple):
    """The known strategies of a class, as a mixture of Gaussians over its maps' vectors.

    Attributes:
        mean: float64 ``(d,)`` of the vectors.
        axes: float64 ``(q, d)``: the principal axes that the mixture is over.
        weights: float64 ``(k,)``, the share of each strategy.
        centres: float64 ``(k, q)``.
        precisions: float64 ``(k, q, q)``: upper triangular factors ``C`` of the precisions ``C C^T``.
        rest: Root mean square of what vectors have outside these axes.
    """

    mean: torch.Tensor
    axes: torch.Tensor
    weights: torch.Tensor
    centres: torch.Tensor
    precisions: torch.Tensor
    rest: torch.Tensor

    def nearest(self, vectors: torch.Tensor) -> "Nearest":
        """Returns the strategy that each decision is most likely of, and how far it lies from it.

        The distance is Mahalanobis', with what lies outside the axes as one more: ``sqrt(|C_k^T (z - m_k)|^2 +
        |rest of v|^2 / rest^2)``; of what a strategy itself makes, about the root of the number of axes.

        Args:
            vectors: float ``(n, d)`` of ``map_vectors``.
        """
        centred = vectors.double() - self.mean
        z = centred @ self.axes.T
        beyond = (centred - z @ self.axes).square().sum(1) / self.rest.square()
        away = torch.einsum("nkq,kqr->nkr", z[:, None] - self.centres, self.precisions).square().sum(2)
        spread = torch.diagonal(self.precisions, dim1=1, dim2=2).log().sum(1)
        likely = self.weights.log() + spread - away / 2
        strategies = likely.argmax(1)
        return Nearest(strategies, (away.gather(1, strategies[:, None])[:, 0] + beyond).sqrt())

    def to_bytes(self) -> bytes:
        """Returns all of it as a safetensors file."""
        stored: bytes = save({name: value.contiguous() for name, value in self._asdict().items()})
        return stored

    @classmethod
    def from_bytes(cls, stored: bytes) -> "Strategies":
        """Returns what ``to_bytes`` stored.

        Raises:
            InvalidInput: It did not store this.
        """
        tensors = loaded(stored)
        if set(cls._fields) - tensors.keys():
            raise InvalidInput(f"strategies hold {', '.join(cls._fields)}; given {', '.join(sorted(tensors))}")
        return cls(**{name: tensors[name] for name in cls._fields})


class Nearest(NamedTuple):
    """Of each decision: int64 ``(n,)`` which strategy, and float64 ``(n,)`` how far from it."""

    strategies: torch.Tensor
    distances: torch.Tensor


def map_vectors(maps: torch.Tensor, side: int = 8) -> torch.Tensor:
    """Maps as what they are compared by: where they are strong, coarsely, whatever their scale.

    Args:
        maps: float ``(n, channels, H, W)``, in any unit.
        side: Cells along each side, at least 2; a map with fewer pixels is stretched.

    Returns:
        float32 ``(n, side * side)``: the mean of the channels' summed absolute values in each cell, divided by the
        root of the sum of squares; zeros of a map that is zero.
    """
    require_count(side, "side", minimum=2)
    cells = torch.nn.functional.adaptive_avg_pool2d(maps.sum(1, keepdim=True).abs().double(), side).flatten(1)
    length = cells.norm(dim=1, keepdim=True)
    return torch.where(length > 0, cells / length.clamp_min(torch.finfo(cells.dtype).tiny), 0.0).float()


def clusters_of(vectors: torch.Tensor, *, n_neighbors: int | None = None, seed: int = 0) -> Clusters:
    """Returns the clusters of a class's maps by spectral clustering.

    Each map is joined to its nearest ones; with ``A`` the graph, joined both ways, and ``D`` its degrees, ``0 =
    lambda_1 <= lambda_2 <= ...`` are the eigenvalues of ``I - D^(-1/2) A D^(-1/2)``. There are ``k`` clusters where the
    eigengap ``lambda_(k+1) - lambda_k`` is the largest of those with ``lambda_k / lambda_(k+1) <= 1/5``, and one where
    no gap is as clear: maps that vary without a break, as with the place of what they show, are one strategy.

    Args:
        vectors: float ``(n, d)`` of ``map_vectors``, up to ``MOST_CLUSTERED``.
        n_neighbors: Of each map; a twentieth of the maps, 5 to 50, unless told. A strategy of no more images than that
            is not seen.
        seed: Of the clustering's starts.

    Raises:
        InvalidInput: There are too many vectors.

    Cost:
        All eigenvalues of an ``n x n`` matrix.

    Source:
        Lapuschkin et al. 2019, Unmasking Clever Hans Predictors (spectral relevance analysis); von Luxburg 2007, A
        Tutorial on Spectral Clustering, sections 2 and 8.3. That gaps must be clear, and how clear, is our own.
    """
    require_finite("vectors", vectors)
    n = len(vectors)
    if n > MOST_CLUSTERED:
        raise InvalidInput(f"{n:,} maps are clustered, at most {MOST_CLUSTERED:,}: take some of them")
    neighbors = n_neighbors or min(max(5, n // 20), 50)
    if n < max(FEWEST, 2 * neighbors + 2):
        return Clusters(torch.zeros(n, dtype=torch.int64), torch.zeros(min(n, 1), dtype=torch.float64), neighbors)
    eigenvalues, eigenvectors = _spectrum(kneighbors_graph(vectors.double().cpu().numpy(), neighbors))
    count = _count(eigenvalues)
    labels = torch.zeros(n, dtype=torch.int64)
    if count > 1:
        rows = eigenvectors[:, :count] / np.linalg.norm(eigenvectors[:, :count], axis=1, keepdims=True).clip(1e-12)
        found = KMeans(count, n_init=10, random_state=seed % 2**32).fit(rows)
        labels = _largest_first(torch.from_numpy(found.labels_.astype(np.int64)))
    return Clusters(labels, torch.from_numpy(eigenvalues[: MOST_STRATEGIES + 1]), neighbors)


def strategies_of(vectors: torch.Tensor, labels: torch.Tensor, *, seed: int = 0) -> Strategies:
    """Returns a mixture with a Gaussian a cluster, fitted on the principal axes of the vectors.

    The axes are those of the most variance, up to sixteen, that hold 95 % of it; the mixture starts from the clusters.

    Args:
        vectors: float ``(n, d)`` of ``map_vectors``, two at least.
        labels: int64 ``(n,)``, the cluster of each; a cluster of a single map is no strategy by itself.
        seed: Of the mixture.

    Raises:
        InvalidInput: There are fewer than two vectors.

    Source:
        Dreyer et al. 2024, Understanding the (Extra-)Ordinary: Validating Deep Model Decisions with Prototypical
        Concept-based Explanations (PCX), section 3; there the vectors are relevances of concepts, here of places.
    """
    require_finite("vectors", vectors)
    if len(vectors) < 2:
        raise InvalidInput(f"strategies are fitted on two maps at least, given {len(vectors)}")
    values = vectors.double().cpu()
    mean = values.mean(0)
    _, singular, axes = torch.linalg.svd(values - mean, full_matrices=False)
    share = (singular.square().cumsum(0) / singular.square().sum().clamp_min(_FLOOR**2)).tolist()
    kept = min(next((at + 1 for at, held in enumerate(share) if held >= _KEPT), len(share)), _MOST_AXES)
    axes = axes[:kept]
    z = (values - mean) @ axes.T
    rest = ((values - mean).square().sum(1) - z.square().sum(1)).clamp_min(0).mean() + _FLOOR
    chosen = [at for at in sorted(set(labels.tolist())) if int((labels == at).sum()) > 1] or [0]
    first = [z[labels == at] if len(chosen) > 1 else z for at in chosen]
    mixture = GaussianMixture(
        len(chosen),
        covariance_type="full",
        reg_covar=_FLOOR + float(z.var(0).mean()) / 100,
        means_init=np.stack([rows.mean(0).numpy() for rows in first]),
        weights_init=np.array([len(rows) for rows in first]) / sum(map(len, first)),
        random_state=seed % 2**32,
        max_iter=200,
        tol=1e-2,
    ).fit(z.numpy())
    weights, centres, precisions = (
        torch.from_numpy(one.copy()) for one in (mixture.weights_, mixture.means_, mixture.precisions_cholesky_)
    )
    return Strategies(mean, axes.contiguous(), weights, centres, precisions, rest.sqrt())


def _spectrum(graph: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Returns all eigenvalues of the normalised Laplacian, the smallest first, and their vectors."""
    joined = graph.maximum(graph.T).toarray()
    root = np.sqrt(joined.sum(1))
    values, vectors = np.linalg.eigh(np.eye(len(joined)) - joined / np.outer(root, root))
    return values.clip(0), vectors


def _count(eigenvalues: np.ndarray) -> int:
    """Returns where the largest of the clear gaps is.

    >>> _count(np.array([0, 1e-9, 1e-7, 0.05, 0.07])), _count(np.array([0, 0.01, 0.04, 0.09])), _count(np.array([0.0]))
    (3, 1, 1)
    """
    known = eigenvalues[: MOST_STRATEGIES + 1]
    clear = [k for k in range(2, len(known)) if known[k - 1] <= APART * known[k]]
    return max(clear, key=lambda k: known[k] - known[k - 1], default=1)


def _largest_first(labels: torch.Tensor) -> torch.Tensor:
    """Returns the same clusters, numbered by size; of equal ones that of the first map first."""
    given = labels.tolist()
    order = sorted(set(given), key=lambda at: (-given.count(at), given.index(at)))
    number = torch.empty(max(order) + 1, dtype=torch.int64)
    number[torch.tensor(order)] = torch.arange(len(order))
    return number[labels]
