r"""Which classes a classifier takes for which, and whether it is right as often as it is sure.

Images are put into bins by the probability :math:`p` of the class that wins. A classifier is calibrated where of the
images with :math:`p = 0.8` four in five are right; the expected calibration error is how far the bins are off,

.. math:: \mathrm{ECE} = \sum_b \frac{n_b}{N} \left| \frac{\mathrm{right}_b}{n_b} - \bar p_b \right|.
"""

from typing import NamedTuple

import torch

#: Bins of equal width between 0 and 1, as Guo et al. take.
BINS = 15


class Judged(NamedTuple):
    """Counts that add up over images; see the module for what they give.

    Source:
        Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern Neural Networks", section 2.

    Attributes:
        confusion: int64 ``(classes, classes)``, images by their own class and by the one that won; sparse, for of
            many classes most pairs never meet.
        images: int64 ``(BINS,)``, images a bin.
        right: int64 ``(BINS,)``, those whose class won.
        confidence: float64 ``(BINS,)``, the winners' probabilities, summed.
    """

    confusion: torch.Tensor
    images: torch.Tensor
    right: torch.Tensor
    confidence: torch.Tensor

    def merge(self, other: "Judged") -> "Judged":
        """Returns the counts of the images of both."""
        confusion, *counts = (one + two for one, two in zip(self, other, strict=True))
        return Judged(confusion.coalesce(), *counts)

    @property
    def own(self) -> torch.Tensor:
        """Images of each class, int64 ``(classes,)``."""
        labels, _ = self.confusion.indices()
        return self._by_class(labels, self.confusion.values())

    @property
    def own_right(self) -> torch.Tensor:
        """Those of each class that are given it, int64 ``(classes,)``."""
        labels, winners = self.confusion.indices()
        return self._by_class(labels, self.confusion.values() * (labels == winners))

    def _by_class(self, classes: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(self.confusion), dtype=torch.int64).index_add_(0, classes, counts)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, from 0 (as right as sure) to 1; NaN without images."""
        total = int(self.images.sum())
        return float((self.right - self.confidence).abs().sum()) / total if total else float("nan")


def judged(outputs: torch.Tensor, probabilities: torch.Tensor, labels: torch.Tensor) -> Judged:
    """Returns the counts of images.

    Args:
        outputs: ``(n, classes)``, on the CPU; the largest one wins.
        probabilities: What they amount to, each between 0 and 1.
        labels: The images' own classes, int64 ``(n,)``.

    >>> sure = torch.tensor([[0.9, 0.1], [0.6, 0.4]])
    >>> found = judged(sure.log(), sure, torch.tensor([0, 1]))
    >>> found.confusion.to_dense().tolist(), round(found.calibration_error, 2)
    ([[1, 0], [1, 0]], 0.35)
    """
    # Not of the probabilities, several of which may round to 1.
    winner = outputs.argmax(1)
    highest = probabilities.double().gather(1, winner.unsqueeze(1))[:, 0]
    place = (highest * BINS).ceil().long().clamp(1, BINS) - 1  # a bin has its upper end
    is_right = winner == labels
    both, ones = torch.stack([labels, winner]), torch.ones_like(labels)
    pairs = torch.sparse_coo_tensor(both, ones, outputs.shape[1:] * 2, check_invariants=True)
    return Judged(
        confusion=pairs.coalesce(),
        images=torch.bincount(place, minlength=BINS),
        right=torch.bincount(place[is_right], minlength=BINS),
        confidence=torch.zeros(BINS, dtype=torch.float64).index_add_(0, place, highest),
    )
