r"""The path form for every layer at once, its intervals halved where the worst layer's gap is too large.

On an interval every layer that cuts the network should hand on the change of the output, so the trapezoid rule's gap
there is known at each of them. A path is walked from the baseline to the image: an interval is kept where, at every
such layer, its own gap is within its length's share of the allowance, or the net gap so far is within the share of the
path behind it; else its middle is evaluated and the left half comes first. Every point is evaluated once, and only the
right ends still ahead are remembered. Where no layer cuts the network, the image's own gap decides.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch

from attribution.layerwise.passes import layer_gradients
from attribution.layerwise.path import End, interval_sum
from attribution.layerwise.totals import LayerTotals, Piece
from attribution.networks.layers import Layer
from attribution.networks.network import Network
from attribution.networks.selection import known_layers
from attribution.passes.chunks import Chunks
from attribution.paths.straight import Paths, end_values

#: Intervals of a path to begin with.
FIRST_INTERVALS = 16


class Allowance(NamedTuple):
    """The gap allowed at each cutting layer, relative to the output's change and at least ``atol``.

    ``max_steps`` caps the points of a path, at least ``FIRST_INTERVALS + 1``.
    """

    tolerance: float
    atol: float
    max_steps: int

    @property
    def most_ahead(self) -> int:
        """The most points of a path that are held at once."""
        return 2 + round(math.log2(1 / (FIRST_INTERVALS * self.shortest)))

    @property
    def shortest(self) -> float:
        """The shortest interval, such that a path of such intervals alone keeps to the cap."""
        halvings = ((self.max_steps - 1) // FIRST_INTERVALS).bit_length() - 1
        return 1 / (FIRST_INTERVALS << halvings)


class _Point(NamedTuple):
    t: float
    values: torch.Tensor
    ends: dict[str, End]


class _Walk:
    """One path: the point that everything before is summed up to, and the right ends ahead, the nearest last."""

    def __init__(self, allowed: torch.Tensor, shortest: float, cutting: frozenset[str]) -> None:
        self._allowed, self._shortest, self._cutting = allowed, shortest, cutting
        self._left: _Point | None = None
        self._ahead: list[_Point] = []
        self._net: dict[str, torch.Tensor] = {}
        self.n_points = 0

    @property
    def is_done(self) -> bool:
        return self._left is not None and self._left.t == 1.0

    def wanted(self) -> float:
        """Returns the place of the next point."""
        if self._left is None:
            return 0.0
        if self._ahead:
            return (self._left.t + self._ahead[-1].t) / 2
        return self._left.t + 1 / FIRST_INTERVALS

    def step(self, point: _Point) -> list[dict[str, list[torch.Tensor]]]:
        """Takes the point wanted.

        Returns:
            What each interval that is now final contributes: by layer and class.
        """
        self.n_points += 1
        if self._left is None:
            self._left = point
            return []
        self._ahead.append(point)
        final = []
        while self._ahead:
            right = self._ahead[-1]
            gaps = {layer: self._gap(layer, self._left, right) for layer in right.ends if layer in self._cutting}
            if not self._is_final(gaps, self._left.t, right.t):
                break
            for layer, gap in gaps.items():
                self._net[layer] = self._net.get(layer, 0) + gap
            final.append({layer: _contributions(layer, self._left, right) for layer in right.ends})
            self._left = self._ahead.pop()
        return final

    def _gap(self, layer: str, left: _Point, right: _Point) -> torch.Tensor:
        sums = [part.sum(dtype=torch.float64) for part in _contributions(layer, left, right)]
        return torch.stack(sums) - (right.values - left.values)

    def _is_final(self, gaps: dict[str, torch.Tensor], start: float, stop: float) -> bool:
        if stop - start <= self._shortest:
            return True
        return all(
            bool(((gap.abs() <= self._allowed * (stop - start)) | (net.abs() <= self._allowed * stop)).all())
            for layer, gap in gaps.items()
            for net in [gap + self._net.get(layer, 0)]
        )


def _contributions(layer: str, left: _Point, right: _Point) -> list[torch.Tensor]:
    """Returns the integral between two points at one layer, for each class."""
    first, second = left.ends[layer], right.ends[layer]
    return [
        interval_sum(first.values, second.values, first.gradients[number], second.gradients[number])
        for number in sorted(second.gradients)
    ]


def split_totals(
    network: Network,
    paths: Paths,
    layers: Mapping[str, Layer],
    allowance: Allowance,
    chunks: Chunks,
    totals: LayerTotals,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Adds the path form of every layer to ``totals``, averaged over the baselines.

    Returns:
        ``f(x) - mean f(x')``, ``(batch, k)`` float64, and the points evaluated ``(batch,)`` without the ends.

    Cost:
        One forward and k backward passes a point; for every path in work the activations and gradients of the points
        ahead, ``2 + log2((max_steps - 1) / 16)`` at most. As many paths are in work as a chunk has points.
    """
    of_inputs, of_baselines = end_values(network, paths, chunks)
    change = (of_inputs - of_baselines).double()
    walks = _Walks(network, paths, layers, allowance, totals, change)
    while walks.waiting or walks.active:
        walks.fill(chunks.size)
        chunks.run(len(walks.active), walks.work)
        walks.step()
        walks.retire(chunks)
    return change, walks.n_points


def _watched(network: Network, layers: Mapping[str, Layer]) -> dict[str, Layer]:
    """Returns the layers with the image, where none of them cuts the network: inside branches no gap is known."""
    if any(layer.cuts for layer in layers.values()):
        return dict(layers)
    return {"input": known_layers(network)["input"], **layers}


class _Walks:
    """The paths in work, a point each at a time."""

    def __init__(
        self,
        network: Network,
        paths: Paths,
        layers: Mapping[str, Layer],
        allowance: Allowance,
        totals: LayerTotals,
        change: torch.Tensor,
    ) -> None:
        self._network, self._paths, self._layers, self._totals = network, paths, layers, totals
        self._allowance = allowance
        self._allowed = (allowance.tolerance * change.abs()).clamp(min=allowance.atol)
        self._watched = _watched(network, layers)
        self._cutting = frozenset(name for name, layer in self._watched.items() if layer.cuts)
        self.waiting = list(range(paths.n_paths))
        self.active: dict[int, _Walk] = {}
        self._evaluated: dict[int, _Point] = {}
        self.n_points = torch.zeros(len(paths.inputs), dtype=torch.int64, device=change.device)

    def fill(self, size: int) -> None:
        """Takes up paths until there is one for each point of a chunk."""
        while self.waiting and len(self.active) < size:
            path = self.waiting.pop(0)
            allowed = self._allowed[path // self._paths.n_baselines]
            self.active[path] = _Walk(allowed, self._allowance.shortest, self._cutting)

    def retire(self, chunks: Chunks) -> None:
        """Lets go of paths that have arrived."""
        for path in [path for path, walk in self.active.items() if walk.is_done]:
            n_points = self.active.pop(path).n_points
            self.n_points[path // self._paths.n_baselines] += n_points
            chunks.advance(self._allowance.max_steps - n_points)

    def work(self, start: int, stop: int) -> None:
        """Evaluates the points wanted by the paths from ``start`` to ``stop`` of those in work."""
        numbers = list(self.active)[start:stop]
        places = [self.active[number].wanted() for number in numbers]
        ends: list[dict[str, End]] = [{} for _ in numbers]

        def receive(layer: str, number: int, values: torch.Tensor, gradients: torch.Tensor) -> None:
            for row, own in enumerate(ends):
                end = own.setdefault(layer, End(values[row].clone(), {}))
                end.gradients[number] = gradients[row].clone()

        paths = torch.tensor(numbers, device=self._allowed.device)
        t = torch.tensor(places, dtype=torch.float64, device=paths.device)
        points = self._paths.points(paths, t)
        values, shapes = layer_gradients(self._network, points, self._paths.targets(paths), self._watched, receive)
        self._totals.expect({name: shape for name, shape in shapes.items() if name in self._layers}, points)
        for path, *point in zip(numbers, places, values.double(), ends, strict=True):
            self._evaluated[path] = _Point(*point)

    def step(self) -> None:
        """Hands every path its point, which no attempt that ran out of memory may do twice."""
        for path, point in self._evaluated.items():
            for final in self.active[path].step(point):
                self._totals.add(self._pieces(path, final))
        self._evaluated = {}

    def _pieces(self, path: int, final: dict[str, list[torch.Tensor]]) -> list[Piece]:
        n_baselines = self._paths.n_baselines
        return [
            self._totals.piece(layer, path // n_baselines, number, contribution, n_baselines)
            for layer, parts in final.items()
            if layer in self._layers
            for number, contribution in enumerate(parts)
        ]
