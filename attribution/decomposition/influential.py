"""The few features that a class is decided by."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from safetensors.torch import save

from attribution.checks import require_choice, require_count, require_number
from attribution.data_sets.batches import Batches, over_batches
from attribution.decomposition.histograms import FeatureHistogram
from attribution.errors import InvalidInput, InvalidOption
from attribution.final_layer.layer import FinalLayer, Precision
from attribution.networks.network import Network
from attribution.passes.chunks import Progress
from attribution.stored import loaded

Aggregation = Literal["frequency", "coverage"]


class Influential(NamedTuple):
    """The ``indices`` of each class's influential features, the most influential first.

    Attributes:
        indices: ``(K, n)``, int64; -1 where a class has fewer, as one without images has none at all.
        histogram: ``(K, d)``, int64: among the ``n_initial`` largest in how many of the class's images.
        images: ``(K,)``, int64, images of each class.
        coverage: ``(K,)``, float64: share of the class's mean absolute features that its indices hold; NaN without
            images.
        state: The whole mergeable histogram that they were chosen from.
        n_initial: The size counted for.
    """

    indices: torch.Tensor
    histogram: torch.Tensor
    images: torch.Tensor
    coverage: torch.Tensor
    state: FeatureHistogram
    n_initial: int

    def to_bytes(self) -> bytes:
        """Returns all of it as a safetensors file."""
        own = {"indices": self.indices.cpu().contiguous(), "chosen_n_initial": torch.tensor(self.n_initial)}
        stored: bytes = save(self.state.tensors() | own)
        return stored

    @classmethod
    def from_bytes(cls, stored: bytes) -> "Influential":
        """Returns what ``to_bytes`` stored.

        Raises:
            InvalidInput: It did not store this.
        """
        tensors = loaded(stored)
        if not {"indices", "chosen_n_initial"} <= tensors.keys():
            raise InvalidInput(f"a fitted decomposition holds indices, given only {', '.join(sorted(tensors))}")
        state = FeatureHistogram.from_tensors(tensors)
        indices = tensors["indices"]
        require_indices(indices, *state.sums.shape)
        return _described(state, indices, int(tensors["chosen_n_initial"]))


def influential_features(
    network: Network,
    batches: Batches,
    *,
    n_initial: int = 5,
    n_features: int | None = None,
    aggregation: Aggregation = "frequency",
    share: float | None = None,
    precision: Precision = "full",
    n_images: int | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Influential:
    r"""Finds the features of the final layer that each class is decided by.

    With features :math:`z`, the input of the last linear layer, :math:`H_{ci}` is the number of images of class c in
    which :math:`|z_i|` is among the ``n_initial`` largest, and :math:`I_c` are the ``n_features`` indices of largest
    :math:`H_{ci}`. By coverage, :math:`I_c` are the fewest indices with
    :math:`\sum_{i \in I_c} s_{ci} \ge \mathrm{share} \sum_i s_{ci}`, :math:`s_{ci}` the mean of :math:`|z_i|` over
    the class. Of equal counts, values or sums the lower index comes first.

    Args:
        network: A classifier with a last linear layer or pointwise convolution.
        batches: Pairs of normalised images ``(n, channels, height, width)`` and their classes, int64 ``(n,)``.
        n_initial: Features counted of each image, 1 to d.
        n_features: Features kept a class, 1 to d; 5 unless told, for coverage at most so many, or all.
        aggregation: ``"frequency"`` (the histogram) or ``"coverage"``.
        share: For coverage, above 0, at most 1; 0.5 unless told.
        precision: ``"full"``, or ``"bfloat16"`` for the passes up to the features, by torch's autocast; faster where
            the device computes in it.
        n_images: Images in all, for the progress.
        chunk_size: Images at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with images done and ``n_images`` (or 0); may raise to cancel.

    Returns:
        Indices a class and the histogram they come from.

    Raises:
        NetworkError: There is no final layer to decompose.
        InvalidInput: No batches, or images that do not fit the network.
        InvalidTarget: A label that is no class.
        InvalidOption: An option out of range, or options that exclude each other.
        OutOfMemory: A single image does not fit into memory.

    Cost:
        One forward pass over the images and a sort of d values an image; memory for ``2 K d`` numbers of 64 bits.

    Guarantee:
        Exact, and the same for any order and any split of the images into batches and shards as far as the network's
        features are; a heuristic as to what decides a class.

    Source:
        "Decomposing the Deep: Finding Class Specific Filters in Deep CNNs", Algorithm 1.

    >>> head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 2))
    >>> images, labels = torch.tensor([[[[0.0, -3.0, 1.0]]], [[[5.0, 1.0, 1.0]]]]), torch.tensor([0, 1])
    >>> found = influential_features(Network(head), [(images, labels)], n_initial=2, n_features=2)
    >>> found.indices.tolist(), found.histogram.tolist()
    ([[1, 2], [0, 1]], [[0, 1, 1], [1, 1, 0]])
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    final = FinalLayer(network, precision)
    # Before the pass over the data, which may take hours.
    _require_choice(final.n_features, n_features, aggregation, share)
    histogram = feature_histogram(
        network,
        batches,
        n_initial=(n_initial,),
        precision=precision,
        n_images=n_images,
        chunk_size=chunk_size,
        progress=progress,
    )
    return chosen_features(histogram, n_initial=n_initial, n_features=n_features, aggregation=aggregation, share=share)


def feature_histogram(
    network: Network,
    batches: Batches,
    *,
    n_initial: Sequence[int] = (5,),
    precision: Precision = "full",
    n_images: int | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> FeatureHistogram:
    """Returns the histogram of one shard of a data set; those of all shards merge by addition."""
    final = FinalLayer(network, precision)
    histogram = FeatureHistogram(final.n_classes, final.n_features, n_initial, final.weight.device)

    def work(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        histogram.update(final.pooled(final.run(inputs)[0]), labels)

    over_batches(network, batches, work, n_images=n_images, chunk_size=chunk_size, progress=progress)
    return histogram


def chosen_features(
    histogram: FeatureHistogram,
    *,
    n_initial: int = 5,
    n_features: int | None = None,
    aggregation: Aggregation = "frequency",
    share: float | None = None,
) -> Influential:
    """Chooses each class's features from a histogram, in the way of :func:`influential_features`.

    All d features are chosen of every class where ``n_features`` is d; otherwise none of a class without images.

    Returns:
        The indices, with what can be said of them.
    """
    width = histogram.sums.shape[1]
    _require_choice(width, n_features, aggregation, share)
    if aggregation == "frequency":
        kept = 5 if n_features is None else n_features
        indices = _ordered(histogram.frequencies(n_initial))[:, :kept]
    else:
        indices = _covering(histogram.sums, 0.5 if share is None else share)[:, :n_features]
    if indices.shape[1] < width:
        indices = indices.masked_fill((histogram.images == 0).unsqueeze(1), -1)
    return _described(histogram, indices, n_initial)


def require_indices(indices: torch.Tensor, n_classes: int, n_features: int) -> None:
    """Accepts a table of a class's features, ``(n_classes, n)``, each once and -1 for none.

    Raises:
        InvalidInput: It is something else.
    """
    if indices.dtype != torch.int64 or indices.dim() != 2 or len(indices) != n_classes or not indices.numel():
        raise InvalidInput(
            f"indices is {indices.dtype} {tuple(indices.shape)}, expected torch.int64 ({n_classes}, n): fit it on this"
            " network"
        )
    if int(indices.min()) < -1 or int(indices.max()) >= n_features:
        raise InvalidInput(
            f"indices go from {int(indices.min())} to {int(indices.max())}, the layer has features 0 to"
            f" {n_features - 1}, and -1 for none"
        )
    ordered = indices.sort(dim=1).values
    if bool(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any()):
        raise InvalidInput("indices name a feature of a class twice, expected each once")


def membership(indices: torch.Tensor, n_features: int) -> torch.Tensor:
    """Returns which features belong to each class, bool ``(K, n_features)``.

    >>> membership(torch.tensor([[2, 0], [1, -1]]), 3).int().tolist()
    [[1, 0, 1], [0, 1, 0]]
    """
    table = torch.zeros(len(indices), n_features + 1, dtype=torch.bool, device=indices.device)
    # The last column takes the places without a feature.
    return table.scatter_(1, indices.remainder(n_features + 1), True)[:, :n_features]


def _require_choice(width: int, n_features: int | None, aggregation: Aggregation, share: float | None) -> None:
    require_choice(aggregation, "aggregation", get_args(Aggregation))
    if n_features is not None:
        require_count(n_features, "n_features", maximum=width)
    if share is not None:
        if aggregation != "coverage":
            raise InvalidOption('share is of use only with aggregation="coverage"')
        require_number(share, "share", 1e-9, 1.0)


def _ordered(values: torch.Tensor) -> torch.Tensor:
    return values.sort(dim=1, descending=True, stable=True).indices


def _covering(sums: torch.Tensor, share: float) -> torch.Tensor:
    """Returns the fewest features that hold the share of each row, the largest first, -1 behind them."""
    indices = _ordered(sums)
    held = sums.gather(1, indices).cumsum(1)
    # What comes before a feature: it is needed as long as that is not enough. Rounding must not ask for one more.
    before = held - sums.gather(1, indices)
    needed = before < share * held[:, -1:] * (1 - 1e-12)
    return indices.masked_fill(~needed, -1)[:, : max(1, int(needed.sum(1).max()))]


def _described(state: FeatureHistogram, indices: torch.Tensor, n_initial: int) -> Influential:
    held = (state.sums * membership(indices, state.sums.shape[1])).sum(1)
    return Influential(
        indices=indices,
        histogram=state.frequencies(n_initial),
        images=state.images,
        coverage=held / torch.where(state.images > 0, state.sums.sum(1), torch.nan),
        state=state,
        n_initial=n_initial,
    )
