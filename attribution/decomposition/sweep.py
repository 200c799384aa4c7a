"""Every pair of ``n_initial`` and ``n_features`` from one forward pass over the data."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from attribution.checks import require_count
from attribution.data_sets.batches import Batches, over_batches
from attribution.decomposition.classifiers import decomposed_head
from attribution.decomposition.histograms import FeatureHistogram
from attribution.decomposition.influential import chosen_features, feature_histogram
from attribution.errors import InvalidInput
from attribution.final_layer.layer import FinalLayer, Precision
from attribution.networks.network import Network
from attribution.passes.chunks import Progress


class Sweep(NamedTuple):
    """Images right with each setting, ``correct`` ``(sizes, n_features, K)``, int64; counts add up over shards.

    Attributes:
        correct: By ``n_initial``, ``n_features`` and class.
        full: ``(K,)``, right by the full network.
        images: ``(K,)``.
        n_initial: Settings of the first axis.
        n_features: Settings of the second.
    """

    correct: torch.Tensor
    full: torch.Tensor
    images: torch.Tensor
    n_initial: tuple[int, ...]
    n_features: tuple[int, ...]

    @property
    def accuracy(self) -> torch.Tensor:
        """``(sizes, n_features)``, float64."""
        return self.correct.sum(2).double() / self.images.sum()

    @property
    def ratio(self) -> torch.Tensor:
        """``(sizes, n_features)``, float64: the accuracy over that of the full network."""
        return self.correct.sum(2).double() / self.full.sum()

    def merge(self, other: "Sweep") -> "Sweep":
        """Returns the sweep over the images of both.

        Raises:
            InvalidInput: They tried other settings.
        """
        if self[3:] != other[3:]:
            raise InvalidInput(f"cannot merge a sweep over {self[3:]} with one over {other[3:]}; use the same settings")
        device = self.correct.device
        return self._replace(
            correct=self.correct + other.correct.to(device),
            full=self.full + other.full.to(device),
            images=self.images + other.images.to(device),
        )


def sweep(
    network: Network,
    batches: Batches,
    *,
    n_initial: Sequence[int] = (1, 3, 5, 10),
    n_features: Sequence[int] = (1, 3, 5, 10, 20),
    validation: Batches | None = None,
    precision: Precision = "full",
    n_images: int | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Tries every pair of ``n_initial`` and ``n_features`` with a single forward pass over each image.

    Args:
        network: The full classifier.
        batches: What the features are chosen by: pairs of images and their classes.
        n_initial: Sizes of the histogram.
        n_features: Features a class.
        validation: What accuracy is measured on; the same images unless told.
        precision: ``"full"``, or ``"bfloat16"`` for the passes up to the features, by torch's autocast; faster where
            the device computes in it.
        n_images: Images of both together, for the progress.
        chunk_size: Images at once; fitted to memory unless told.
        progress: Called between chunks with images done and ``n_images`` (or 0); may raise to cancel.

    Returns:
        Counts of correct images by setting.

    Cost:
        One forward pass over ``batches`` and one over ``validation``, and ``n_features`` multiplications a class,
        image and setting. Without ``validation`` the features of all images are kept in memory, ``d`` numbers each;
        (times the positions of a convolutional head); with it nothing is.
    """
    final = FinalLayer(network, precision)
    for width in n_features:
        require_count(width, "n_features", maximum=final.n_features)
    if validation is not None:
        histogram = feature_histogram(
            network,
            batches,
            n_initial=n_initial,
            precision=precision,
            n_images=n_images,
            chunk_size=chunk_size,
            progress=progress,
        )
        done = int(histogram.images.sum())
        onward = None if progress is None else _after(progress, done)
        return swept(
            network,
            histogram,
            validation,
            n_features=n_features,
            precision=precision,
            n_images=n_images,
            chunk_size=chunk_size,
            progress=onward,
        )
    histogram = FeatureHistogram(final.n_classes, final.n_features, n_initial, final.weight.device)
    kept: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def work(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        features, logits = final.run(inputs)
        histogram.update(final.pooled(features), labels)
        kept.append((features, logits.argmax(1), labels))

    over_batches(network, batches, work, n_images=n_images, chunk_size=chunk_size, progress=progress)
    trial = Trial(final, histogram, n_features)
    for features, predicted, labels in kept:
        trial.add(features, predicted, labels)
    return trial.result


def swept(
    network: Network,
    histogram: FeatureHistogram,
    batches: Batches,
    *,
    n_features: Sequence[int],
    precision: Precision = "full",
    n_images: int | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Tries every size of a histogram with every ``n_features`` on one shard of images.

    Returns:
        The sweep, which merges with those of other shards by addition.
    """
    final = FinalLayer(network, precision)
    trial = Trial(final, histogram, n_features)

    def work(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        features, logits = final.run(inputs)
        trial.add(features, logits.argmax(1), labels)

    over_batches(network, batches, work, n_images=n_images, chunk_size=chunk_size, progress=progress)
    return trial.result


class Trial:
    """The heads of all settings, and what they got right so far: ``result``."""

    def __init__(self, final: FinalLayer, histogram: FeatureHistogram, n_features: Sequence[int]) -> None:
        """Chooses the features of every setting."""
        self._final = final
        self._heads = [
            [
                decomposed_head(final, chosen_features(histogram, n_initial=size, n_features=width).indices)
                for width in n_features
            ]
            for size in histogram.n_initial
        ]
        shape = (len(histogram.n_initial), len(n_features), final.n_classes)
        correct = torch.zeros(shape, dtype=torch.int64, device=final.weight.device)
        full, images = torch.zeros(2, final.n_classes, dtype=torch.int64, device=correct.device)
        self.result = Sweep(correct, full, images, histogram.n_initial, tuple(n_features))

    def add(self, features: torch.Tensor, predicted: torch.Tensor, labels: torch.Tensor) -> None:
        """Takes images in, by their features, the full network's classes ``(n,)`` and their own ``(n,)``."""
        right = [[self._final.logits(features, head).argmax(1) == labels for head in heads] for heads in self._heads]
        for counts, row in zip(self.result.correct, right, strict=True):
            for own, found in zip(counts, row, strict=True):
                own.index_add_(0, labels, found.long())
        self.result.full.index_add_(0, labels, (predicted == labels).long())
        self.result.images.index_add_(0, labels, torch.ones_like(labels))


def _after(progress: Progress, before: int) -> Progress:
    return lambda done, total: progress(before + done, total)
