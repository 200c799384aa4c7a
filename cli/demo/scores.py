"""How good a map is, where the truth is known."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class EvidenceScore(NamedTuple):
    """Where the positive values of a map lie."""

    share: float
    """Of the sum of positive values, the part inside the evidence."""
    area: float
    """Of the pixels, the part that the evidence covers: what a map of noise would score."""


def evidence_score(values: NDArray[np.float32], evidence: NDArray[np.bool_]) -> EvidenceScore | None:
    """The score of a map `(channels, height, width)`; None where it has no positive value."""
    positive = np.maximum(values.sum(axis=0, dtype=np.float64), 0)
    total = positive.sum()
    if total == 0:
        return None
    return EvidenceScore(share=float(positive[evidence].sum() / total), area=float(evidence.mean()))
