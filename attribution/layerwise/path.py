r"""The path form for every layer at once, by the trapezoid rule on even nodes.

.. math:: \phi_l = \sum_k \tfrac12 (g_k + g_{k+1}) \, (a_l(t_{k+1}) - a_l(t_k))

with the layer's values :math:`a_l` and gradients :math:`g` at the nodes of the straight path to the image.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch

from attribution.layerwise.passes import layer_gradients
from attribution.layerwise.totals import LayerTotals, Piece
from attribution.networks.layers import Layer
from attribution.networks.network import Network
from attribution.passes.chunks import Chunks
from attribution.paths.straight import Paths


class End(NamedTuple):
    """A layer's ``values`` at a point, and the gradient there of each class by number."""

    values: torch.Tensor
    gradients: dict[int, torch.Tensor]


class _Segment(NamedTuple):
    """Rows ``start`` to ``stop`` of a chunk, on one path; it goes on where the last chunk ended, and on in the next."""

    path: int
    start: int
    stop: int
    continues: bool
    is_open: bool


def interval_sum(
    first: torch.Tensor, second: torch.Tensor, first_gradient: torch.Tensor, second_gradient: torch.Tensor
) -> torch.Tensor:
    """Returns the trapezoid rule's integral of a gradient between two values of a layer, float32 at least.

    >>> interval_sum(*(torch.tensor([value]) for value in (1.0, 3.0, 2.0, 6.0))).tolist()  # of 2 x from 1 to 3
    [8.0]
    """
    wide = torch.promote_types(first.dtype, torch.float32)
    step = second.to(wide) - first.to(wide)
    return step.mul_(torch.lerp(first_gradient.to(wide), second_gradient.to(wide), 0.5))


def path_totals(
    network: Network,
    paths: Paths,
    layers: Mapping[str, Layer],
    n_steps: int,
    chunks: Chunks,
    totals: LayerTotals,
) -> torch.Tensor:
    """Adds the path form of every layer to ``totals``, averaged over the baselines.

    Returns:
        ``f(x) - mean f(x')``, ``(batch, k)`` float64.

    Cost:
        One forward and k backward passes a node and path; the memory of a chunk's backward pass, and where a path is
        longer than a chunk four times the activations of one point.
    """
    passes = _PathPasses(network, paths, layers, n_steps, totals)
    chunks.run(paths.n_paths * n_steps, passes.work)
    change = passes.values[:, 1] - passes.values[:, 0]
    return change.view(-1, paths.n_baselines, paths.target.k).mean(1)


class _PathPasses:
    """Sums up chunks of the items ``path * n_steps + node``."""

    def __init__(
        self, network: Network, paths: Paths, layers: Mapping[str, Layer], n_steps: int, totals: LayerTotals
    ) -> None:
        self._network, self._paths, self._layers, self._totals = network, paths, layers, totals
        device = paths.inputs.device
        self._nodes = torch.linspace(0, 1, n_steps, dtype=torch.float64, device=device)
        self._open: dict[str, End] = {}
        self.values = torch.zeros(paths.n_paths, 2, paths.target.k, dtype=torch.float64, device=device)

    def work(self, start: int, stop: int) -> None:
        """Evaluates the items from ``start`` to ``stop``; changes the sums only once everything else has worked."""
        count = len(self._nodes)
        items = torch.arange(start, stop, device=self._nodes.device)
        paths, nodes = items // count, items % count
        segments = _segments(start, stop, count)
        pieces: list[Piece] = []
        opened: dict[str, End] = {}

        def receive(layer: str, number: int, values: torch.Tensor, gradients: torch.Tensor) -> None:
            for segment in segments:
                found = self._sum(segment, layer, number, values, gradients)
                if found is not None:
                    image = segment.path // self._paths.n_baselines
                    pieces.append(self._totals.piece(layer, image, number, found, self._paths.n_baselines))
            if segments[-1].is_open:
                end = opened.setdefault(layer, End(_row(values, -1), {}))
                end.gradients[number] = _row(gradients, -1)

        points = self._paths.points(paths, self._nodes[nodes])
        values, shapes = layer_gradients(self._network, points, self._paths.targets(paths), self._layers, receive)
        self._totals.add(pieces)
        self._totals.expect(shapes, points)
        self._open = opened
        for node, end in ((0, 0), (count - 1, 1)):
            self.values[paths[nodes == node], end] = values[nodes == node].double()

    def _sum(
        self, segment: _Segment, layer: str, number: int, values: torch.Tensor, gradients: torch.Tensor
    ) -> torch.Tensor | None:
        """Returns the sum ``(channels, ...)`` over the intervals of a segment, or nothing where it has none yet."""
        own, slopes = values[segment.start : segment.stop], gradients[segment.start : segment.stop]
        found = interval_sum(own[:-1], own[1:], slopes[:-1], slopes[1:]).sum(0) if len(own) > 1 else None
        if segment.continues:
            before = self._open[layer]
            joint = interval_sum(before.values, own[0], before.gradients[number], slopes[0])
            found = joint if found is None else found.add_(joint)
        return found


def _segments(start: int, stop: int, count: int) -> list[_Segment]:
    """Returns the paths of ``count`` nodes each that the items from ``start`` to ``stop`` belong to."""
    found = []
    for path in range(start // count, (stop - 1) // count + 1):
        first, last = max(start, path * count), min(stop, (path + 1) * count)
        found.append(
            _Segment(path, first - start, last - start, first > path * count, is_open=last < (path + 1) * count)
        )
    return found


def _row(values: torch.Tensor, number: int) -> torch.Tensor:
    # A slice of the chunk would keep all of it alive.
    return values[0] if len(values) == 1 else values[number].clone()
