"""Path integrals of gradients by a rule with fixed nodes."""

import math

import torch

from attribution.networks.network import Network
from attribution.passes.chunks import Chunks
from attribution.passes.gradients import target_gradients
from attribution.paths.quadrature import QuadratureRule
from attribution.paths.straight import Paths, PathSums, end_values


def fixed_sums(network: Network, paths: Paths, rule: QuadratureRule, chunks: Chunks) -> PathSums:
    """Returns ``(x - x')`` times the rule's sum of gradients, averaged over the baselines.

    Cost:
        One forward and k backward passes a node and path; one forward pass an image and baseline for the ends, where
        the rule does not evaluate both.
    """
    k = paths.target.k
    passes = _FixedPasses(network, paths, rule)
    chunks.run(paths.n_paths * len(rule.nodes), passes.work)
    if has_both_ends(rule):
        # The path's own ends, so that the images are not run again.
        change = (passes.values[:, -1] - passes.values[:, 0]).view(-1, paths.n_baselines, k).mean(1)
    else:
        of_inputs, of_baselines = end_values(network, paths, chunks)
        change = of_inputs - of_baselines
    delta = passes.total.flatten(2).sum(2, dtype=torch.float64) - change.double()
    batch = len(paths.inputs)
    return PathSums(
        attributions=passes.total,
        convergence_delta=delta,
        absolute_gap=torch.full_like(delta, math.nan),
        n_steps=torch.full((batch,), len(rule.nodes) * paths.n_baselines, device=delta.device),
    )


def has_both_ends(rule: QuadratureRule) -> bool:
    """Returns whether the rule evaluates the baseline and the input themselves."""
    return float(rule.nodes[0]) == 0.0 and float(rule.nodes[-1]) == 1.0


class _FixedPasses:
    """Sums up chunks of the items ``path * n_nodes + node``."""

    def __init__(self, network: Network, paths: Paths, rule: QuadratureRule) -> None:
        inputs = paths.inputs
        self._network, self._paths = network, paths
        self._rule = QuadratureRule(rule.nodes.to(inputs.device), rule.weights.to(inputs.device))
        self._wide = torch.promote_types(inputs.dtype, torch.float32)
        k = paths.target.k
        self.total = torch.zeros(len(inputs), k, *inputs.shape[1:], dtype=self._wide, device=inputs.device)
        self.values = torch.zeros(paths.n_paths, len(rule.nodes), k, dtype=self._wide, device=inputs.device)

    def work(self, start: int, stop: int) -> None:
        """Evaluates the items from ``start`` to ``stop``; changes the sums only once everything else has worked."""
        items = torch.arange(start, stop, device=self.total.device)
        paths, nodes = items // len(self._rule.nodes), items % len(self._rule.nodes)
        points = self._paths.points(paths, self._rule.nodes[nodes])
        values, gradients = target_gradients(self._network, points, self._paths.targets(paths))
        numbers, counts = torch.unique_consecutive(paths, return_counts=True)
        lengths = counts.tolist()
        weights = (self._rule.weights / self._paths.n_baselines).to(self._wide)[nodes]
        differences = self._paths.differences(numbers).to(self._wide)
        # Path by path, so that no image's sum depends on what else is in the chunk.
        sums = [
            torch.tensordot(weight, gradient.to(self._wide), dims=1) * difference
            for weight, gradient, difference in zip(
                torch.split(weights, lengths), torch.split(gradients, lengths), differences, strict=True
            )
        ]
        for number, part in zip(numbers.tolist(), sums, strict=True):
            self.total[number // self._paths.n_baselines] += part
        self.values[paths, nodes] = values.to(self._wide)
