"""Which images a classifier gets wrong: of each part the surest ones, and in the end their names."""

from collections.abc import Iterable
from functools import reduce

import torch

from attribution.data_sets.mistakes import Mistakes
from attribution_contracts.tasks.evaluation import Misclassified, Mistake
from workers.datasets.reader import DatasetReader
from workers.tasks.work import Ended, Work


def told_mistakes(found: Mistakes) -> dict[str, list[float]]:
    """For the ledger: positions and not names, which may be long."""
    return {name: column.tolist() for name, column in found._asdict().items()}


def merged_mistakes(parts: Iterable[Ended]) -> Mistakes:
    """The surest of all parts, of which two are held at a time."""
    return reduce(Mistakes.merge, map(_mistakes, parts))


def misclassified(work: Work, wrong: int, found: Mistakes) -> Misclassified:
    """What is reported of them.

    Args:
        work: The task, whose data set has their names.
        wrong: How many there are in all.
        found: The surest.
    """
    names = DatasetReader(work.context, work.claimed.tenant, work.job.dataset.sha256).names
    labels = work.loaded.spec.labels
    rows = zip(*(column.tolist() for column in found), strict=True)
    surest = [
        Mistake(
            image=names[position],
            label=label,
            predicted=winner,
            probability=probability,
            names=(labels[label], labels[winner]) if labels else None,
        )
        for position, label, winner, probability in rows
    ]
    return Misclassified(images=wrong, surest=surest)


def _mistakes(part: Ended) -> Mistakes:
    told = part.result.details["mistakes"]
    whole = {name: torch.tensor(told[name], dtype=torch.int64) for name in ("positions", "labels", "winners")}
    return Mistakes(**whole, probabilities=torch.tensor(told["probabilities"], dtype=torch.float64))
