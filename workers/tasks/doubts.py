"""What an evaluation should make its reader wonder about."""

from collections.abc import Iterator, Sequence

from attribution.data_sets.judged import Judged
from attribution.data_sets.orders import other_order
from workers.drawing.words import percent

_NAMED = 5
"""Classes that a sentence names."""


def doubts(
    found: Judged, interval: tuple[float, float], labels: Sequence[str], taken: Sequence[tuple[str, int]]
) -> Iterator[str]:
    """Sentences on a network that guesses, whose classes seem to be in another order, or that have no names.

    Args:
        found: Of all images.
        interval: Of the accuracy.
        labels: Names of the model's classes; empty where they have none.
        taken: The data set's classes, each with the class of the model that it was taken for.
    """
    count = len(found.confusion)
    names = labels or [str(index) for index in range(count)]
    if count > 1 and interval[1] < 1 / count:
        yield (
            f"it is right less often than guessing one of {count} classes would be ({percent(1 / count)}): something "
            "is mistaken for something else, such as the order of the classes, mean and std, or the order of colours"
        )
    if (other := other_order(found)) is not None:
        moved = [(index, new) for index, new in enumerate(other.classes.tolist()) if index != new and found.own[index]]
        shown = _listed([f"{names[index]} from output {new}" for index, new in moved])
        yield (
            f"in another order of the classes {percent(other.accuracy)} of the {found.own.sum():,} images would be "
            f"right ({shown}): either the model's labels are not in the order of its outputs, then register a "
            "version with labels in that order; or the data set's numbers mean other classes, then give it "
            'the names that the model has, or say its order (`order`: "text" or "value")'
        )
    if not labels:
        shown = _listed([f"{name!r} was taken as class {index}" for name, index in taken])
        yield f"the model's classes have no names; of the data set {shown}"


def _listed(said: Sequence[str]) -> str:
    more = f" and {len(said) - _NAMED} more" if len(said) > _NAMED else ""
    return f"{', '.join(said[:_NAMED])}{more}"
