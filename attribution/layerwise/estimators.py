"""The estimators of layer Shapley, by name."""

import math
from collections.abc import Callable

import torch

from attribution.layerwise.deeplift import rescale_totals
from attribution.layerwise.expected_gradients import random_draws, sample_errors, sample_totals
from attribution.layerwise.feature_maps import game_values
from attribution.layerwise.layer_path import own_path_totals
from attribution.layerwise.path import path_totals
from attribution.layerwise.path_to_tolerance import Allowance, split_totals
from attribution.layerwise.task import Estimate, Estimator, LayerTask
from attribution.networks.selection import known_layers
from attribution.passes.chunks import Chunks
from attribution.paths.quadrature import quadrature_rule
from attribution.paths.straight import end_values
from attribution.propagation.completeness import require_rescale


def _path(task: LayerTask) -> Estimate:
    paths, totals, options = task.paths, task.totals(), task.options
    if options.tolerance is not None:
        allowance = Allowance(options.tolerance, 1e-4, options.max_steps or 257)
        ends = len(paths.inputs) + paths.n_baselines
        chunks = task.chunks(paths.n_paths * allowance.max_steps + ends, 1 + _held(task, allowance))
        change, n_steps = split_totals(task.network, paths, task.layers, allowance, chunks, totals)
        return task.estimate(totals, task.cutting_delta(totals, change), n_steps, chunks.size)
    count = options.n_steps or 32
    chunks = task.chunks(paths.n_paths * count)
    change = path_totals(task.network, paths, task.layers, count, chunks, totals)
    return task.estimate(totals, task.cutting_delta(totals, change), count * paths.n_baselines, chunks.size)


def _held(task: LayerTask, allowance: Allowance) -> int:
    """Returns how many times the activations of a point a path in work holds: of its layers, at the points ahead."""
    sizes = {name: math.prod(layer.shape or (0,)) for name, layer in known_layers(task.network).items()}
    share = sum(sizes[name] for name in task.layers) / max(1, sum(sizes.values()))
    return math.ceil(share * (1 + task.paths.target.k) * allowance.most_ahead)


def _expected_gradients(task: LayerTask) -> Estimate:
    paths, totals = task.paths, task.totals()
    count = task.options.n_samples or 32
    draws = random_draws(paths.inputs, count, paths.n_baselines, task.options.generator)
    # A sample's point, image and background image.
    chunks = task.chunks(len(paths.inputs) * (count + 1) + paths.n_baselines, activations=3)
    sample_totals(task.network, paths, task.layers, draws, chunks, totals)
    delta = task.cutting_delta(totals, _change(task, chunks))
    return task.estimate(totals, delta, count, chunks.size, sample_errors(totals, count), count)


def _layer_path(task: LayerTask) -> Estimate:
    paths, totals = task.paths, task.totals()
    rule = quadrature_rule("gauss_legendre", task.options.n_steps or 32)
    count = len(rule.nodes) * len(task.layers)
    chunks = task.chunks(paths.n_paths * count)
    changes = own_path_totals(task.network, paths, task.layers, rule, chunks, totals)
    delta = {name: scores.sum(-1) - changes[name] for name, scores in totals.scores.items()}
    return task.estimate(totals, delta, count * paths.n_baselines, chunks.size)


def _deeplift(task: LayerTask) -> Estimate:
    require_rescale(task.network)
    paths, totals = task.paths, task.totals()
    # The point, its baseline and what the rules hold of both.
    chunks = task.chunks(paths.n_paths + len(paths.inputs) + paths.n_baselines, activations=3)
    rescale_totals(task.network, paths, task.layers, chunks, totals)
    return task.estimate(totals, task.cutting_delta(totals, _change(task, chunks)), paths.n_baselines, chunks.size)


def _change(task: LayerTask, chunks: Chunks) -> torch.Tensor:
    of_inputs, of_baselines = end_values(task.network, task.paths, chunks)
    return (of_inputs - of_baselines).double()


#: Each adds up its own sums, and says what they should be.
ESTIMATES: dict[Estimator, Callable[[LayerTask], Estimate]] = {
    "path": _path,
    "expected_gradients": _expected_gradients,
    "layer_path": _layer_path,
    "deeplift": _deeplift,
    "feature_maps": game_values,
}
