r"""Trapezoid quadrature that splits the intervals whose own completeness gap is worst.

On an interval :math:`[a, b]` of a path the values at both ends give the integral of the derivative exactly, so the
trapezoid rule's gap there is known for free:

.. math:: \mathrm{gap} = \tfrac{b - a}{2} \big(\phi'(a) + \phi'(b)\big) - \big(\phi(b) - \phi(a)\big),
    \quad \phi(t) = f(x(t)).

One :class:`Splitting` belongs to one image: its paths (one a baseline) share the stop rule and the budget.
"""

from typing import NamedTuple

import torch

#: Intervals of a path to begin with. With 4, and 2 splits at a time, ResNet-20 and MobileNetV2 needed the fewest
#: points among 2, 4, 8 intervals and 1, 2, 4, 8 splits, but for single splits, which leave a batch empty.
FIRST_INTERVALS = 4
_SPLITS = 2
_SPLIT_SHARE = 8


class Place(NamedTuple):
    """A point to evaluate: the path's number within its image, and t on it."""

    path: int
    t: float


class StopRule(NamedTuple):
    """When an image is done: bounds on the net gap and on the sum of absolute gaps, and the cap on points a path."""

    tolerance: float
    atol: float
    gap_tolerance: float
    max_steps: int


class Interval(NamedTuple):
    """Two evaluated neighbours on a path by number, and the gap ``(k,)`` between them."""

    left: int
    right: int
    gap: torch.Tensor


class Splitting:
    """The evaluated points of one image and the intervals between them.

    Args:
        n_paths: Number of baselines; their gaps are averaged.
        rule: When to stop.

    >>> splitting = Splitting(1, StopRule(0.01, 0.0, 0.15, 9))
    >>> for place in splitting.wanted():  # f(x(t)) = t ** 2
    ...     t = torch.tensor([place.t], dtype=torch.float64)
    ...     splitting.add(place, t**2, 2 * t, t)
    >>> splitting.refresh()
    >>> splitting.is_done(), splitting.n_points, splitting.net_gap().tolist()
    (True, 5, [0.0])
    """

    def __init__(self, n_paths: int, rule: StopRule) -> None:
        """Starts without points; the first ``wanted()`` is an even grid."""
        self._n_paths = n_paths
        self._rule = rule
        self._budget = n_paths * rule.max_steps
        self._places: list[Place] = []
        self._values: list[torch.Tensor] = []
        self._slopes: list[torch.Tensor] = []
        self._gradients: list[torch.Tensor] = []
        self._intervals: list[Interval] = []
        self._open: list[Interval] = []

    @property
    def n_points(self) -> int:
        """Points evaluated so far, on all paths."""
        return len(self._places)

    def wanted(self) -> list[Place]:
        """Returns the places to evaluate next: an even grid, then the middles of the worst intervals."""
        if not self._places:
            steps = range(FIRST_INTERVALS + 1)
            return [Place(path, step / FIRST_INTERVALS) for path in range(self._n_paths) for step in steps]
        scale = self._allowed()
        count = max(_SPLITS * self._n_paths, len(self._intervals) // _SPLIT_SHARE)
        ranked = sorted(self._intervals, key=lambda interval: -float((interval.gap.abs() / scale).max()))
        self._open = ranked[: min(count, self._budget - self.n_points)]
        return [self._middle(interval) for interval in self._open]

    def add(self, place: Place, values: torch.Tensor, slopes: torch.Tensor, gradients: torch.Tensor) -> None:
        """Stores an evaluated place, in the order of ``wanted()``.

        Args:
            place: Where.
            values: Explained outputs ``(k,)``, float64 on the CPU.
            slopes: Derivatives along the path ``(k,)``, float64 on the CPU.
            gradients: Gradients ``(k, *features)``, kept as they are.
        """
        self._places.append(place)
        self._values.append(values)
        self._slopes.append(slopes)
        self._gradients.append(gradients)

    def refresh(self) -> None:
        """Replaces the split intervals by their halves, once everything wanted was added."""
        if not self._intervals:
            pairs = zip(range(self.n_points - 1), range(1, self.n_points), strict=True)
            self._intervals = [self._interval(a, b) for a, b in pairs if self._places[a].path == self._places[b].path]
            return
        first = self.n_points - len(self._open)
        split = {(interval.left, interval.right) for interval in self._open}
        kept = [interval for interval in self._intervals if (interval.left, interval.right) not in split]
        for middle, interval in enumerate(self._open, start=first):
            kept += [self._interval(interval.left, middle), self._interval(middle, interval.right)]
        self._intervals = kept

    def is_done(self) -> bool:
        """Returns whether both gaps are small enough, or the budget is spent."""
        if self.n_points >= self._budget:
            return True
        wide = self._allowed(max(self._rule.gap_tolerance, self._rule.tolerance))
        return bool((self.net_gap().abs() <= self._allowed()).all() and (self.absolute_gap() <= wide).all())

    def net_gap(self) -> torch.Tensor:
        """Returns the convergence delta ``(k,)``: the sum of the gaps, averaged over the paths."""
        return torch.stack([interval.gap for interval in self._intervals]).sum(0) / self._n_paths

    def absolute_gap(self) -> torch.Tensor:
        """Returns the sum ``(k,)`` of the absolute gaps, averaged over the paths."""
        return torch.stack([interval.gap for interval in self._intervals]).abs().sum(0) / self._n_paths

    def integral(self, path: int) -> torch.Tensor:
        """Returns the trapezoid sum ``(k, *features)`` of the gradients along one path."""
        weights = [0.0] * self.n_points
        for left, right, _ in self._intervals:
            half = (self._places[right].t - self._places[left].t) / 2
            weights[left] += half
            weights[right] += half
        wide = torch.promote_types(self._gradients[0].dtype, torch.float32)
        total = torch.zeros_like(self._gradients[0], dtype=wide)
        for place, weight, gradients in zip(self._places, weights, self._gradients, strict=True):
            if place.path == path:
                total += weight * gradients
        return total

    def _interval(self, left: int, right: int) -> Interval:
        half = (self._places[right].t - self._places[left].t) / 2
        estimate = half * (self._slopes[left] + self._slopes[right])
        return Interval(left, right, estimate - (self._values[right] - self._values[left]))

    def _middle(self, interval: Interval) -> Place:
        left, right = self._places[interval.left], self._places[interval.right]
        return Place(left.path, (left.t + right.t) / 2)

    def _allowed(self, tolerance: float | None = None) -> torch.Tensor:
        """Returns what the net gap ``(k,)`` may be; never 0, for gaps are divided by it."""
        share = self._rule.tolerance if tolerance is None else tolerance
        ends = [
            value * (1 if place.t == 1 else -1)
            for place, value in zip(self._places, self._values, strict=True)
            if place.t in (0.0, 1.0)
        ]
        total = torch.stack(ends).sum(0) / self._n_paths
        return (share * total.abs()).clamp(min=max(self._rule.atol, torch.finfo(torch.float64).tiny))
