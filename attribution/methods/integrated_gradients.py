"""Integrated gradients, by a fixed rule or to a tolerance."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from attribution.checks import (
    require_choice,
    require_count,
    require_finite,
    require_number,
)
from attribution.confidence import student_interval
from attribution.errors import InvalidOption
from attribution.networks.network import Network, require_network
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk
from attribution.passes.means import RunningMean
from attribution.passes.smoothing import Smooth, require_smooth, smoothed
from attribution.paths.by_rule import fixed_sums, has_both_ends
from attribution.paths.quadrature import QUADRATURES, Quadrature, QuadratureRule, quadrature_rule
from attribution.paths.splitting import FIRST_INTERVALS, StopRule
from attribution.paths.straight import Paths, PathSums, stacked_baselines
from attribution.paths.to_tolerance import tolerant_sums
from attribution.targets import require_classes, targets_of


class IntegratedGradients(NamedTuple):
    """``attributions`` of each input value in units of the output, and their error figures.

    For a target ``(batch,)`` the axis ``k`` is missing everywhere.

    Attributes:
        attributions: ``(batch, k, channels, height, width)``, the inputs' dtype.
        convergence_delta: ``(batch, k)``, float64: the sum of the attributions minus ``f(x) - f(x')``; over noisy
            copies the mean of theirs, which is that of what squares and variances are made of.
        n_steps: ``(batch,)``, int64: points of the paths evaluated, over all baselines and noisy copies.
        absolute_gap: ``(batch, k)``, float64: sum of the absolute gaps of the intervals; NaN without ``tolerance``.
        standard_error: like ``attributions``: that of the values over noisy copies; nothing below two.
        n_draws: noisy copies that it rests on; 1 without noise.
        chunk_size: Points evaluated at once, after any halving.
    """

    attributions: torch.Tensor
    convergence_delta: torch.Tensor
    n_steps: torch.Tensor
    absolute_gap: torch.Tensor
    standard_error: torch.Tensor | None
    n_draws: int
    chunk_size: int

    @property
    def interval(self) -> torch.Tensor | None:
        """Both ends of a 95 % interval of each attribution, along a last axis of 2; nothing below two copies."""
        if self.standard_error is None:
            return None
        draws = torch.full((len(self.attributions),), self.n_draws)
        return student_interval(self.attributions, self.standard_error, draws)


def integrated_gradients(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    against: torch.Tensor | None = None,
    baseline: torch.Tensor | Sequence[torch.Tensor] | None = None,
    background: torch.Tensor | None = None,
    n_steps: int | None = None,
    quadrature: Quadrature | None = None,
    tolerance: float | None = None,
    atol: float = 1e-4,
    gap_tolerance: float = 0.15,
    max_steps: int = 256,
    smooth: Smooth | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> IntegratedGradients:
    r"""Attributes the change of an output from a baseline to the image to the image's values.

    .. math:: \phi_i = (x_i - x'_i) \int_0^1 \partial_i f\big(x' + t (x - x')\big) \, dt, \qquad
        \sum_i \phi_i = f(x) - f(x').

    With ``tolerance``, the trapezoid intervals whose own gap is worst are halved, every point is reused, and an image
    is done when :math:`|\delta| \le \max(\mathrm{tolerance} \, |f(x) - f(x')|, \mathrm{atol})` and the sum of the
    intervals' absolute gaps is below ``gap_tolerance`` times the same change; otherwise ``n_steps`` nodes of the
    ``quadrature`` are used.

    Args:
        network: What to explain; its ``output`` says in which unit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)`` to explain k classes from the same forward passes.
        against: What each class is held against, so that a difference of outputs is explained: a class, int64 like
            ``target``, or weights over the classes, float ``(batch, classes)`` or ``(batch, k, classes)``.
        baseline: ``(1 | batch, channels, height, width)``, one an image, or a sequence of such, averaged.
        background: ``(n, channels, height, width)``, all averaged for every image; instead of ``baseline``.
        n_steps: Nodes of the rule, 1 to 100,000; 50 unless told.
        quadrature: ``"gauss_legendre"`` (default), ``"trapezoid"``, ``"midpoint"`` or ``"right"``.
        tolerance: Relative, above 0; excludes ``n_steps`` and ``quadrature``.
        atol: Absolute tolerance in units of the output, for images that change it little.
        gap_tolerance: Bound on the sum of absolute gaps, relative to the change; at least ``tolerance`` is used.
        max_steps: With ``tolerance``, the most points a path and copy, 5 to 100,000.
        smooth: Mean, mean of squares or variance of the attributions over noisy copies of each image.
        chunk_size: Points at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with points done and in all; may raise to cancel.

    Returns:
        Attributions, their convergence delta and what it took to get there.

    Raises:
        InvalidInput: Inputs, baselines or generators do not fit the network or each other.
        InvalidTarget: Not one row of existing classes an image.
        InvalidOption: An option out of range, or options that exclude each other.
        NetworkError: Maps or their sums are not finite.
        OutOfMemory: A single point does not fit into memory.

    Cost:
        One forward and k backward passes a point; with a rule that leaves out the ends also one forward pass an image
        and a baseline. With ``tolerance`` the gradients of the images in work are kept: ``n_steps`` images of memory
        a class.

    Guarantee:
        Exact up to the quadrature; complete up to ``convergence_delta``, which is measured, not bounded. Absolute gaps
        rule out cancellation between intervals, not between pixels or inside one interval. With noise: unbiased for
        the smoothed attribution, with a standard error.

    Source:
        Sundararajan, Taly & Yan 2017, "Axiomatic Attribution for Deep Networks", section 3 and 5; Smilkov et al. 2017,
        "SmoothGrad", section 2, for the noise; Erion et al. 2021, "Improving performance of deep learning models with
        axiomatic attribution priors and expected gradients", for the average over a background.

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(linear[1].weight)
    >>> inputs, target = torch.tensor([[[[3.0, 5.0]]]]), torch.tensor([1])
    >>> result = integrated_gradients(Network(linear), inputs, target, baseline=torch.ones(1, 1, 1, 2), n_steps=2)
    >>> result.attributions.tolist(), result.convergence_delta.tolist()
    ([[[[0.0, 4.0]]]], [0.0])
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    baselines = stacked_baselines(network, inputs, baseline, background)
    copies = require_smooth(smooth)
    if tolerance is None:
        plan: QuadratureRule | StopRule = _rule(n_steps, quadrature)
    elif n_steps is not None or quadrature is not None:
        raise InvalidOption("tolerance chooses its own points: give either it, or n_steps and quadrature")
    else:
        plan = _stop_rule(tolerance, atol, gap_tolerance, max_steps)
    # Gradients need ordinary tensors, also where the caller is in inference mode.
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.require_gradients(inputs))
        size = default_chunk(network, inputs) if chunk_size is None else chunk_size
        chunks = Chunks(size, copies * _points(plan, len(inputs), baselines), progress)
        deltas, gaps, steps = RunningMean(), RunningMean(), []

        def maps_of(images: torch.Tensor) -> torch.Tensor:
            sums = _path_sums(network, Paths(images, baselines, targets), plan, chunks)
            deltas.add(sums.convergence_delta)
            gaps.add(sums.absolute_gap)
            steps.append(sums.n_steps)
            return sums.attributions

        found = smoothed(maps_of, inputs, smooth)
    result = IntegratedGradients(
        attributions=found.maps.to(inputs.dtype),
        convergence_delta=deltas.mean,
        n_steps=torch.stack(steps).sum(0),
        absolute_gap=gaps.mean,
        standard_error=found.standard_error,
        n_draws=found.n_draws,
        chunk_size=chunks.size,
    )
    require_finite("attributions", result.attributions, result.convergence_delta)
    return result if target.dim() == 2 else _without_classes(result)


def _rule(n_steps: int | None, quadrature: Quadrature | None) -> QuadratureRule:
    name = "gauss_legendre" if quadrature is None else quadrature
    require_choice(name, "quadrature", QUADRATURES)
    return quadrature_rule(name, require_count(50 if n_steps is None else n_steps, "n_steps"))


def _stop_rule(tolerance: float, atol: float, gap_tolerance: float, max_steps: int) -> StopRule:
    return StopRule(
        require_number(tolerance, "tolerance", 1e-9),
        require_number(atol, "atol", 0.0),
        require_number(gap_tolerance, "gap_tolerance", 1e-9),
        require_count(max_steps, "max_steps", minimum=FIRST_INTERVALS + 1),
    )


def _points(plan: QuadratureRule | StopRule, batch: int, baselines: torch.Tensor) -> int:
    """Returns the points evaluated for one noisy copy of the batch; with a stop rule, at most."""
    n_paths = batch * len(baselines)
    if isinstance(plan, StopRule):
        return n_paths * plan.max_steps
    ends = 0 if has_both_ends(plan) else batch + len(baselines) * baselines.shape[1]
    return n_paths * len(plan.nodes) + ends


def _path_sums(network: Network, paths: Paths, plan: QuadratureRule | StopRule, chunks: Chunks) -> PathSums:
    if isinstance(plan, StopRule):
        return tolerant_sums(network, paths, plan, chunks)
    return fixed_sums(network, paths, plan, chunks)


def _without_classes(result: IntegratedGradients) -> IntegratedGradients:
    return result._replace(
        attributions=result.attributions[:, 0],
        convergence_delta=result.convergence_delta[:, 0],
        absolute_gap=result.absolute_gap[:, 0],
        standard_error=None if result.standard_error is None else result.standard_error[:, 0],
    )
