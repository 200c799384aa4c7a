"""Layer Shapley: what every layer contributes."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import torch

from attribution.confidence import student_interval
from attribution.errors import InvalidInput, InvalidOption, NetworkError
from attribution.layerwise.estimators import ESTIMATES
from attribution.layerwise.task import Estimate, Estimator, LayerOptions, LayerTask, require_options
from attribution.memory import peak_bytes, restart_peak
from attribution.networks.network import Network, require_network
from attribution.networks.selection import WORDS, selected_layers
from attribution.noise import Generators
from attribution.passes.chunks import Progress
from attribution.paths.straight import Paths, stacked_baselines
from attribution.shapley.game import Excluded
from attribution.shapley.players import Players
from attribution.shapley.samplers import Sampler
from attribution.targets import require_classes, targets_of


class LayerShapley(NamedTuple):
    """Maps and scores by the layer's name, in forward order, in units of the output; each with its error figures.

    For a target ``(batch,)`` the axis ``k`` is missing everywhere. The image itself is the layer ``"input"``.

    Attributes:
        maps: ``(batch, k, height, width)`` with the feature maps summed, for layers ``(channels, height, width)``;
            with cells as players one value a cell.
        scores: ``(batch, k, channels)``, one for each entry of the layer's first axis: feature maps of a convolution,
            features of a linear layer; with other players one for each of them.
        convergence_delta: ``(batch, k)``, float64: the sum of the layer minus what it is for a complete attribution.
            That is ``f(x) - mean f(x')`` at layers that cut the network; inside a branch the sum is the share that
            flows through it, which nothing else tells, and the delta is NaN. Every layer has its own with
            ``layer_path`` and ``feature_maps``, whose games are the layer's own.
        standard_error: Like ``scores``: that of random estimates, 0 where exact and NaN from a single draw; nothing
            where all are exact.
        n_draws: ``(batch,)``, int64: independent draws that a layer's standard errors rest on, samples or pairs of
            permutations or coalitions; 0 where they are exact.
        raw: ``(batch, k, channels, height, width)`` for the layers asked for.
        left_out: Of all layers, those whose scores are not finite for any image, as behind a padding with -inf.
        n_steps: ``(batch,)``, int64: points evaluated, in the network or behind the layers, for all of them.
        chunk_size: Points evaluated at once, after any halving.
        peak_bytes: The tensors' peak during the call on an accelerator; on a CPU the process's since its start.
    """

    maps: dict[str, torch.Tensor]
    scores: dict[str, torch.Tensor]
    convergence_delta: dict[str, torch.Tensor]
    standard_error: dict[str, torch.Tensor] | None
    n_draws: dict[str, torch.Tensor] | None
    raw: dict[str, torch.Tensor]
    left_out: tuple[str, ...]
    n_steps: torch.Tensor
    chunk_size: int
    peak_bytes: int

    def interval(self, layer: str) -> torch.Tensor:
        """Returns both ends of a 95 % interval of each score of a layer, along a last axis of 2.

        They are the score where it is exact, and NaN where a single draw shows no spread.
        """
        scores = self.scores[layer]
        if self.standard_error is None or self.n_draws is None:
            return torch.stack([scores, scores], dim=-1)
        return student_interval(scores, self.standard_error[layer], self.n_draws[layer])


def layer_shapley(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    against: torch.Tensor | None = None,
    background: torch.Tensor,
    layers: str | Sequence[str] = "all",
    estimator: Estimator = "path",
    n_steps: int | None = None,
    tolerance: float | None = None,
    max_steps: int | None = None,
    n_samples: int | None = None,
    players: Players | None = None,
    sampler: Sampler | None = None,
    excluded: Excluded | None = None,
    raw: str | Sequence[str] = (),
    generator: Generators | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> LayerShapley:
    r"""Attributes the change of an output from a background to the image to the values of every layer.

    With the values :math:`a_l` of layer l, its gradients :math:`g_l = \partial f / \partial a_l` and the straight path
    :math:`x(t) = x' + t (x - x')` from each background image,

    .. math:: \phi_l = \int_0^1 g_l\big(x(t)\big) \, \frac{d a_l(x(t))}{dt} \, dt
        \approx \sum_k \tfrac12 (g_k + g_{k+1}) \, (a_{k+1} - a_k), \qquad \sum \phi_l = f(x) - f(x')

    for every layer that all paths through the network run through (``path``). Other estimators: ``layer_path``, the
    path in the layer's own space, with what skips the layer left at the image; ``expected_gradients``, differences
    of the layer's values times gradients at random points; ``deeplift``, differences times the multipliers of the
    rescale rule; ``feature_maps``, the Shapley values of the game in which the layer's feature maps take part or not.

    Args:
        network: What to explain; its ``output`` says in which unit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)`` to explain k classes from the same forward passes.
        against: What each class is held against, so that a difference of outputs is explained: a class, int64 like
            ``target``, or weights over the classes, float ``(batch, classes)`` or ``(batch, k, classes)``.
        background: ``(n, channels, height, width)``, all averaged for every image.
        layers: ``"all"``; ``"stages"``, which are stem, ends of stages and last convolution; or one or several names,
            kinds (``"conv"``) or patterns (``"features.*"``).
        estimator: As above.
        n_steps: Even nodes on each path, from 2 (``path``), or Gauss-Legendre nodes (``layer_path``); up to 100,000,
            32 unless told.
        tolerance: For ``path`` instead of ``n_steps``, relative and above 0: intervals are halved while the gap at
            the worst layer that cuts the network is too large a part of the output's change. For ``feature_maps``
            the standard error at which to stop.
        max_steps: With ``tolerance``, the most points a path, 17 to 100,000; 257 unless told.
        n_samples: Samples of ``expected_gradients``, 32 unless told; evaluations for ``feature_maps``.
        players: Of ``feature_maps``: ``"feature_maps"`` (default), ``Groups`` of them, or ``Cells`` of space.
        sampler: Of ``feature_maps``: ``"linear"`` where all behind the layer is affine, ``"exact"``,
            ``"permutations"`` or ``"regression"``; unless told, the first possible of linear, exact and regression.
        excluded: Of ``feature_maps``: players that take no part hold the ``"mean"`` (default) of the layer's values
            over the background, or the output is the ``"average"`` over each background image's own values.
        raw: Chosen layers, as for ``layers``, whose values are also returned whole.
        generator: Source of random draws, one, or one an image; seed 0 for every image unless told.
        chunk_size: Points at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with points done and in all; may raise to cancel.

    Returns:
        Maps, scores and error figures. Layers chosen by ``"all"`` whose values have no row for each image (windows
        of a transformer) are missing.

    Raises:
        InvalidInput: Inputs, background or generators do not fit the network or each other.
        InvalidTarget: Not one row of existing classes an image.
        InvalidOption: An option out of range, one that the estimator does not take, or a layer that is not there.
        NetworkError: The network has no graph, ``deeplift`` no rule for one of its layers, or a layer that was asked
            for has no row for each image.
        OutOfMemory: A single point does not fit into memory.

    Cost:
        ``path``: one forward and k backward passes a node and background image, for all layers together; the memory
        of a chunk's backward pass and four times the activations of one point. With ``tolerance``, up to twelve times
        these a path. ``expected_gradients``: the same a sample, and two forward passes. ``deeplift``: three forward
        and k backward passes a background image. ``layer_path``: those of ``path`` behind each layer, times the number
        of layers.

    Guarantee:
        ``path`` and ``layer_path`` are exact up to the quadrature, of order 2 on smooth networks in the case of
        ``path``; ``convergence_delta`` is measured, not bounded. ``deeplift`` is complete up to rounding.
        ``expected_gradients`` is biased at all layers but the input, where the path is straight: it is there to
        compare with others. At inner layers ``path`` is not the Shapley value of the layer's own game;
        ``feature_maps`` is: exact, or with permutations unbiased with a standard error; the default regression has a
        small bias at small budgets, which its standard error contains on average over the players.

    Source:
        Banerjee & Chu 2022, "Contributions by Feature Layers in Two-Class Deep Learning Image Classification
        Decisions"; Dhamdhere, Sundararajan & Yan 2019, "How Important Is a Neuron?" for ``path``; Erion et al. 2021 for
        the background; Shrikumar et al. 2017 for ``deeplift``.

    >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2), torch.nn.ReLU())
    >>> _ = module[1].weight.data.copy_(torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
    >>> _ = module[1].bias.data.fill_(1.0)
    >>> inputs, background = torch.tensor([[[[3.0, 5.0]]]]), torch.zeros(1, 1, 1, 2)
    >>> found = layer_shapley(Network(module), inputs, torch.tensor([1]), background=background, n_steps=3)
    >>> {layer: scores.tolist() for layer, scores in found.scores.items()}
    {'input': [[13.0]], '0': [[3.0, 10.0]], '1': [[0.0, 13.0]], '2': [[0.0, 13.0]]}
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    if not isinstance(background, torch.Tensor):
        raise InvalidInput(f"background is a {type(background).__name__}, expected a tensor of images")
    baselines = stacked_baselines(network, inputs, None, background)
    options = LayerOptions(n_steps, tolerance, max_steps, n_samples, generator, players, sampler, excluded)
    require_options(estimator, options)
    # Gradients need ordinary tensors, also where the caller is in inference mode.
    with torch.inference_mode(False), torch.no_grad():
        needs_gradients = estimator != "feature_maps"
        count = network.require_gradients if needs_gradients else network.class_count
        require_classes(targets, count(inputs))
        chosen = selected_layers(network, layers)
        whole = _require_raw(network, raw, estimator, chosen.keys())
        restart_peak(inputs.device)
        paths = Paths(inputs, baselines, targets)
        found = ESTIMATES[estimator](LayerTask(network, paths, chosen, whole, options, chunk_size, progress))
    _require_found(found, layers, chosen)
    left_out = _not_finite(found, layers)
    return _result(found, left_out, inputs, has_classes=target.dim() == 2)


def _require_raw(
    network: Network, raw: str | Sequence[str], estimator: Estimator, chosen: Collection[str]
) -> frozenset[str]:
    if not raw:
        return frozenset()
    if estimator == "feature_maps":
        raise InvalidOption("raw is given, but feature_maps has a value a player and none inside it: leave it out")
    found = set[str]()
    for choice in [raw] if isinstance(raw, str) else raw:
        meant = selected_layers(network, choice).keys() & set(chosen)
        if not meant:
            raise InvalidOption(f"raw names {choice!r}, but layers leaves that out: name it in both")
        found |= meant
    return frozenset(found)


def _require_found(found: Estimate, layers: str | Sequence[str], chosen: Iterable[str]) -> None:
    missing = [name for name in chosen if name not in found.scores]
    if missing and (layers not in WORDS or not found.scores):
        raise NetworkError(
            f"layers {missing} give no floats with the images along the first axis and cannot be told apart by image;"
            " choose other layers, or all"
        )


def _not_finite(found: Estimate, layers: str | Sequence[str]) -> tuple[str, ...]:
    """Returns the layers that no image has finite scores at, where others remain.

    Raises:
        NetworkError: One of them was chosen, or none remains.
    """
    names = tuple(
        name for name, scores in found.scores.items() if len(scores) and not scores.isfinite().flatten(1).all(1).any()
    )
    if names and (layers not in WORDS or len(names) == len(found.scores)):
        raise NetworkError(
            f"the scores of layers {', '.join(names)} are not finite: values or gradients there are infinite, as behind"
            " a padding with -inf; choose other layers, or pad with a large number"
        )
    return names


def _result(found: Estimate, left_out: tuple[str, ...], inputs: torch.Tensor, *, has_classes: bool) -> LayerShapley:
    def cast(values: dict[str, torch.Tensor], dtype: torch.dtype = inputs.dtype) -> dict[str, torch.Tensor]:
        kept = ((name, one) for name, one in values.items() if name not in left_out)
        return {name: (one if has_classes else one[:, 0]).to(dtype) for name, one in kept}

    return LayerShapley(
        maps=cast(found.maps),
        scores=cast(found.scores),
        convergence_delta=cast(found.convergence_delta, torch.float64),
        standard_error=None if found.standard_error is None else cast(found.standard_error),
        n_draws=found.n_draws and {name: one for name, one in found.n_draws.items() if name not in left_out},
        raw=cast(found.raw),
        left_out=left_out,
        n_steps=found.n_steps,
        chunk_size=found.chunk_size,
        peak_bytes=peak_bytes(inputs.device),
    )
