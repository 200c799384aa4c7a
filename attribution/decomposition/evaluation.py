"""How well a classifier does with the influential features alone."""

from typing import NamedTuple

import torch
from torch import nn

from attribution.confidence import share_interval
from attribution.data_sets.batches import Batches, over_batches
from attribution.decomposition.classifiers import decomposed_head
from attribution.decomposition.influential import Influential
from attribution.final_layer.layer import FinalLayer, Precision
from attribution.networks.network import Network
from attribution.passes.chunks import Progress


class Evaluation(NamedTuple):
    """Counts ``(K,)``, int64, a class of images right by the ``full`` network and right by ``other``; they add up.

    Attributes:
        other: Images that the other network, or the changed features, get right.
        full: Images that the full network gets right.
        agreed: Images that both give the same class.
        images: Images.
    """

    other: torch.Tensor
    full: torch.Tensor
    agreed: torch.Tensor
    images: torch.Tensor

    def merge(self, other: "Evaluation") -> "Evaluation":
        """Returns the evaluation on the images of both."""
        return Evaluation(*(one + two.to(one.device) for one, two in zip(self, other, strict=True)))

    @property
    def accuracy(self) -> float:
        """Share of images that the other one gets right."""
        return _share(self.other, self.images)

    @property
    def full_accuracy(self) -> float:
        """Share of images that the full network gets right."""
        return _share(self.full, self.images)

    @property
    def ratio(self) -> float:
        """Accuracy of the other one over that of the full network; NaN where that is 0."""
        return _share(self.other, self.full)

    @property
    def standard_error(self) -> float:
        """Of ``accuracy``, as a share of so many independent images."""
        share = self.accuracy
        return float((share * (1 - share) / int(self.images.sum())) ** 0.5)

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of a 95 % interval of ``accuracy``."""
        return share_interval(int(self.other.sum()), int(self.images.sum()))


def _share(part: torch.Tensor, whole: torch.Tensor) -> float:
    total = int(whole.sum())
    return int(part.sum()) / total if total else float("nan")


def evaluate(
    network: Network,
    decomposed: Influential | nn.Module,
    batches: Batches,
    *,
    precision: Precision = "full",
    n_images: int | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compares the accuracy of a network with that of its decomposition, class by class.

    Args:
        network: The full classifier.
        decomposed: Influential features, which cost no second forward pass, or a module such as a retrained one,
            which runs in full precision.
        batches: Pairs of images and their classes.
        precision: ``"full"``, or ``"bfloat16"`` for the passes up to the features, by torch's autocast; faster where
            the device computes in it.
        n_images: Images in all, for the progress.
        chunk_size: Images at once; fitted to memory unless told.
        progress: Called between chunks with images done and ``n_images`` (or 0); may raise to cancel.

    Returns:
        Counts, which add up over shards, and what they amount to.

    Cost:
        One forward pass over the images, and one of the module.
    """
    final = FinalLayer(network, precision)
    other = None if isinstance(decomposed, Influential) else Network(decomposed)
    head = decomposed_head(final, decomposed.indices) if isinstance(decomposed, Influential) else None
    counts = empty_evaluation(final)

    def work(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        features, logits = final.run(inputs)
        changed = final.logits(features, head) if other is None else _logits(other, inputs)
        count(counts, logits, changed, labels)

    over_batches(network, batches, work, n_images=n_images, chunk_size=chunk_size, progress=progress)
    return counts


def empty_evaluation(final: FinalLayer) -> Evaluation:
    """Returns an evaluation of no images."""
    return Evaluation(*torch.zeros(4, final.n_classes, dtype=torch.int64, device=final.weight.device))


def count(counts: Evaluation, full: torch.Tensor, other: torch.Tensor, labels: torch.Tensor) -> None:
    """Adds images, by the logits of both, to an evaluation in place."""
    first, second = full.argmax(1), other.argmax(1)
    rows = (second == labels, first == labels, first == second, torch.ones_like(labels, dtype=torch.bool))
    for own, row in zip(counts, rows, strict=True):
        own.index_add_(0, labels, row.to(own.dtype))


def _logits(network: Network, inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network.logits(inputs)
