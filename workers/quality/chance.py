r"""Whether a map orders pixels better than chance, by its occlusion curves and those of random orders.

A map that says where is slow to lose the prediction as its first pixels come back, and quick as they go: the figure is

.. math:: D = \mathrm{area}_{\mathrm{insertion}} - \mathrm{area}_{\mathrm{deletion}}

(without insertion, less the area of deletion). Both directions make one figure, for either alone is also moved by how
coarse an order is: patches that go leave more to see than scattered pixels do, and patches that come show more. `n`
random orders in each direction give the mean and the spread of :math:`D` by chance. One more of them exceeds

.. math:: \bar D + t_{0.95}\, s \sqrt{1 + 1/n}

in 1 of 20 cases (Student 1908, with the degrees of freedom of Welch 1947 where two directions are added up).
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from scipy import stats

from attribution_contracts.figures.occlusion import OcclusionCurve

_SIGNS = {"deletion": -1, "insertion": 1}
_SURE = 0.95
_MOVED = 0.1
"""A probability that moves by less, whichever pixels go, tells no order from another."""
_KEPT = 0.75
"""Of the image's probability: a picture of nothing but replacements that has more is of the class already."""
_ROUNDING = 1e-6
"""Of an area under a curve of probabilities."""


class Verdict(NamedTuple):
    """How a map's order stands against random ones."""

    target: int
    layer: str | None
    quantity: str
    directions: tuple[str, ...]
    figure: float
    by_chance: float
    """The mean of random orders."""
    needed: float
    """What 1 random order of 20 exceeds."""
    least: float
    """The lowest probability of the class on all curves."""
    most: float
    whole: float
    """The probability with no pixel replaced."""
    replaced: float
    """The probability with all of them replaced."""

    @property
    def is_of_class(self) -> bool:
        """Whether what pixels are replaced by is evidence of the class itself."""
        return self.replaced > _KEPT * self.whole

    @property
    def is_better(self) -> bool:
        """Whether the order is better than chance."""
        return self.figure > self.needed + _ROUNDING

    @property
    def is_telling(self) -> bool:
        """Whether the prediction moves at all."""
        return self.most - self.least >= _MOVED


def verdicts(curves: Sequence[OcclusionCurve]) -> Iterator[Verdict]:
    """Of each map that was followed, where random orders were as well."""
    for target, layer in dict.fromkeys((curve.target, curve.layer) for curve in curves if curve.order == "map"):
        own = [curve for curve in curves if (curve.order, curve.target, curve.layer) == ("map", target, layer)]
        chance = [curve for curve in curves if (curve.order, curve.target) == ("random", target)]
        if chance:
            yield _verdict(own, chance)


def _verdict(own: Sequence[OcclusionCurve], chance: Sequence[OcclusionCurve]) -> Verdict:
    seen = [probability for curve in [*own, *chance] for probability in curve.prediction]
    first, last = own[0].prediction[0], own[0].prediction[-1]
    whole, replaced = (first, last) if own[0].direction == "deletion" else (last, first)
    by_chance = _figure(chance)
    return Verdict(
        own[0].target,
        own[0].layer,
        own[0].quantity,
        tuple(curve.direction for curve in own),
        _figure(own),
        by_chance,
        by_chance + _accident(chance),
        min(seen),
        max(seen),
        whole,
        replaced,
    )


def _figure(curves: Sequence[OcclusionCurve]) -> float:
    return sum(_SIGNS[curve.direction] * curve.prediction_area for curve in curves)


def _accident(chance: Sequence[OcclusionCurve]) -> float:
    """How far above the mean 1 random order of 20 is."""
    variances = [(curve.prediction_area_spread or 0.0) ** 2 for curve in chance]
    if not any(variances):
        return 0.0
    orders = [curve.orders for curve in chance]
    freedom = sum(variances) ** 2 / sum(own**2 / (n - 1) for own, n in zip(variances, orders, strict=True) if own)
    spread = math.sqrt(sum(own * (1 + 1 / n) for own, n in zip(variances, orders, strict=True)))
    return float(stats.t.ppf(_SURE, freedom)) * spread
