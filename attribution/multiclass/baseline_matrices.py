"""Attribution matrices that compare an image with baselines, averaged over them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from attribution.multiclass.contrasts import Head
from attribution.multiclass.matrices import Totals, output_head, vector_jacobians
from attribution.networks.network import Network
from attribution.passes.gradients import laid_out
from attribution.passes.tangents import Function, tangents
from attribution.paths.quadrature import QuadratureRule

#: Directions whose sums over the steps are held at once.
_HELD = 16


class Step(NamedTuple):
    """A weighted gradient of ``function`` at ``points`` ``(n, *features)``."""

    weight: float
    function: Function
    points: torch.Tensor


#: The gradients, from baselines to inputs ``(n, *features)``, whose sum times the difference is the attribution.
Steps = Callable[[torch.Tensor, torch.Tensor], Iterator[Step]]


def path_steps(network: Network, rule: QuadratureRule) -> Steps:
    """Returns integrated gradients: the nodes of a rule on the straight path."""

    def steps(starts: torch.Tensor, ends: torch.Tensor) -> Iterator[Step]:
        for node, weight in zip(rule.nodes.tolist(), rule.weights.tolist(), strict=True):
            yield Step(weight, network, torch.lerp(starts, ends, node))

    return steps


class BaselineRows:
    """``(x - x')`` times a sum of gradients, averaged over the baselines ``(n_baselines, 1 | batch, *features)``."""

    def __init__(self, network: Network, inputs: torch.Tensor, baselines: torch.Tensor, steps: Steps) -> None:
        """Binds the matrices to a batch."""
        self.network, self.inputs = network, inputs
        self._baselines, self._steps = baselines, steps

    def totals(self, images: torch.Tensor) -> Totals:
        """Returns outputs and their change from the mean over the baselines, which complete rows sum to."""
        with torch.no_grad():
            outputs = self.network(laid_out(self.inputs[images]))
            starts = [self.network(laid_out(starts)) for starts in self._starts(images)]
        change = outputs - torch.stack(starts).mean(0)
        return Totals(outputs, change, change)

    def along(self, images: torch.Tensor, directions: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yields ``u^T A``: a backward pass a direction, and a forward pass every few, for each step and baseline."""
        for block in torch.split(directions, _HELD):
            yield from self._sums(images, block)

    def _sums(self, images: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        ends = self.inputs[images]
        wide = torch.promote_types(ends.dtype, torch.float32)
        total = ends.new_zeros(len(directions), *ends.shape, dtype=wide)
        for starts in self._starts(images):
            for step in self._steps(starts, ends):
                weighted = (ends - starts).to(wide) * (step.weight / len(self._baselines))
                for number, gradient in enumerate(vector_jacobians(step.function, step.points, directions)):
                    total[number] += gradient * weighted
        return total

    def times(self, images: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Returns ``A v``: a forward-mode product for each step of each baseline."""
        ends = self.inputs[images]
        products = [
            step.weight * tangents(step.function, laid_out(step.points), vectors * (ends - starts)).products
            for starts in self._starts(images)
            for step in self._steps(starts, ends)
        ]
        return torch.stack(products).sum(0) / len(self._baselines)

    def head(self, outputs: torch.Tensor) -> Head | None:
        """Returns the last weight; for probabilities merely an order, because their slopes change along a path."""
        head = output_head(self.network, outputs)
        squashed = self.network.output == "probability" or (self.network.head and self.network.head.squash)
        return head._replace(spans=False) if head is not None and squashed else head

    def _starts(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
        for baseline in self._baselines:
            yield baseline.expand(len(self.inputs), *baseline.shape[1:])[images]
