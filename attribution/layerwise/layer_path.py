r"""Integrated gradients in each layer's own space, from its values at a background image to those at the image.

.. math:: \phi_l = (a_l(x) - a_l(x')) \int_0^1 g_l\big(a_l(x') + t (a_l(x) - a_l(x'))\big) \, dt

where what skips the layer stays as it is for the image: the sum is :math:`f(x)` minus :math:`f(x)` with :math:`a_l`
put back to :math:`a_l(x')`, for every layer.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch

from attribution.errors import NetworkError
from attribution.layerwise.totals import LayerTotals
from attribution.networks.layers import Layer, has_rows
from attribution.networks.network import Network
from attribution.passes.chunks import Chunks
from attribution.passes.tails import Cached, Tail
from attribution.paths.quadrature import QuadratureRule
from attribution.paths.straight import Paths


def own_path_totals(
    network: Network,
    paths: Paths,
    layers: Mapping[str, Layer],
    rule: QuadratureRule,
    chunks: Chunks,
    totals: LayerTotals,
) -> dict[str, torch.Tensor]:
    """Adds the own-space path form of every layer to ``totals``, averaged over the baselines.

    Returns:
        For each layer the change ``(batch, k)`` float64 that its sum should be.

    Cost:
        For each layer, image and baseline: one forward and k backward passes a node, and two forward passes, of the
        network behind the layer alone.
    """
    changes = {}
    for name, layer in layers.items():
        passes = _OwnPasses(network, paths, name, layer, rule, totals)
        chunks.run(paths.n_paths * len(rule.nodes), passes.work)
        changes[name] = passes.change.view(-1, paths.n_baselines, paths.target.k).mean(1)
    return changes


class _Ends(NamedTuple):
    """Both ends of some paths: the ``own`` values at their images, which are ``rows`` of them, and the ``starts``."""

    paths: torch.Tensor
    own: Cached
    rows: torch.Tensor
    starts: torch.Tensor
    change: torch.Tensor


class _OwnPasses:
    """Sums up chunks of the items ``path * n_nodes + node`` at one layer."""

    def __init__(
        self, network: Network, paths: Paths, name: str, layer: Layer, rule: QuadratureRule, totals: LayerTotals
    ) -> None:
        self._tail, self._paths, self._totals = Tail(network, name), paths, totals
        self._layer = layer._replace(name=name)
        device = paths.inputs.device
        self._rule = QuadratureRule(rule.nodes.to(device), rule.weights.to(device))
        self._ends: _Ends | None = None
        self.change = torch.zeros(paths.n_paths, paths.target.k, dtype=torch.float64, device=device)

    def work(self, start: int, stop: int) -> None:
        """Evaluates the items from ``start`` to ``stop``; changes the sums only once everything else has worked."""
        items = torch.arange(start, stop, device=self.change.device)
        numbers, nodes = items // len(self._rule.nodes), items % len(self._rule.nodes)
        paths, at, counts = torch.unique_consecutive(numbers, return_inverse=True, return_counts=True)
        ends = self._found_ends(paths)
        own = ends.own.activation[ends.rows]
        pieces = []
        for number, gradients in enumerate(self._gradients(ends, own, at, self._rule.nodes[nodes])):
            wide = torch.promote_types(gradients.dtype, torch.float32)
            weights = self._rule.weights[nodes].to(wide)
            lengths = counts.tolist()
            sums = zip(paths.tolist(), torch.split(weights, lengths), torch.split(gradients, lengths), strict=True)
            for row, (path, weight, slopes) in enumerate(sums):
                # Path by path, so that no image's sum depends on what else is in the chunk.
                step = own[row].to(wide) - ends.starts[row].to(wide)
                found = torch.tensordot(weight, slopes.to(wide), dims=1) * step
                image, share = path // self._paths.n_baselines, self._paths.n_baselines
                pieces.append(self._totals.piece(self._layer.name, image, number, found, share))
        self._totals.add(pieces)
        self.change[paths] = ends.change

    def _gradients(self, ends: _Ends, own: torch.Tensor, at: torch.Tensor, t: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yields the gradients of each class at points of the layer's paths."""
        with torch.enable_grad():
            points = torch.lerp(ends.starts[at], own[at], t.to(own).view(-1, *[1] * (own.dim() - 1)))
            points = points.detach().requires_grad_()
            outputs = self._paths.targets(ends.paths[at]).of(self._tail.run(points, ends.own, ends.rows[at]))
            # Rows do not meet in evaluation mode, so the gradient of the sum holds each row's own.
            sums = outputs.sum(0).unbind()
        for number, one in enumerate(sums, 1):
            if not one.requires_grad:
                # Nothing reads the layer.
                yield torch.zeros_like(points)
            else:
                yield torch.autograd.grad(one, points, retain_graph=number < len(sums))[0]

    def _found_ends(self, paths: torch.Tensor) -> _Ends:
        """Returns the ends of paths, those of the last chunk where they are the same."""
        if self._ends is None or not torch.equal(self._ends.paths, paths):
            self._ends = None
            self._ends = self._computed_ends(paths)
        return self._ends

    def _computed_ends(self, paths: torch.Tensor) -> _Ends:
        images, rows = torch.unique(paths // self._paths.n_baselines, return_inverse=True)
        backgrounds, at = torch.unique(paths % self._paths.n_baselines, return_inverse=True)
        own = self._tail.cached(self._paths.inputs[images])
        self._require_rows(own.activation, len(images))
        starts = self._tail.cached(self._paths.baselines[backgrounds, 0]).activation[at]
        with torch.no_grad():
            values = self._tail.run(own.activation, own, torch.arange(len(images), device=paths.device))[rows]
            values = values - self._tail.run(starts, own, rows)
        return _Ends(paths, own, rows, starts, self._paths.targets(paths).of(values).double())

    def _require_rows(self, values: torch.Tensor, n_images: int) -> None:
        if not has_rows(values, n_images, self._layer.shape):
            raise NetworkError(
                f"layer {self._layer.name!r} gives {values.dtype} {tuple(values.shape)} for {n_images} images, expected"
                " floats with the images along the first axis; choose other layers"
            )
