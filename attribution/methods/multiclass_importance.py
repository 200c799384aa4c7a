"""Multi-class importance: which pixels tell the classes apart."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, get_args

import torch

from attribution.checks import require_choice, require_count, require_finite, require_number
from attribution.class_sets import Classes, largest_set, require_class_sets
from attribution.errors import InvalidOption
from attribution.multiclass.attributions import Attribution, AttributionOptions, attribution_rows
from attribution.multiclass.contrasts import head_weight
from attribution.multiclass.directions import kept_directions, random_signs
from attribution.multiclass.maps import ClassMaps, Mode, Plan, TakenMode, class_maps, joined
from attribution.multiclass.matrices import Rows
from attribution.multiclass.silhouettes import silhouette
from attribution.networks.network import Network, require_network
from attribution.noise import Generators
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk
from attribution.paths.quadrature import Quadrature

_SKETCH, _SKETCH_WITHOUT_ORDER = (56, 8), (0, 128)
"""Leading directions and random ones of a sketch, with a last linear layer to take the first from, and without."""


class MulticlassImportance(NamedTuple):
    """Maps of the inputs' shape and dtype, in squared units of the output but for ``std`` and ``silhouette``.

    What the mode does not find is nothing; what a sketch without signs cannot know of an image is NaN.

    Attributes:
        importance: How much each value tells the classes apart; signed, adds up over values.
        std: Root of the individual effects; from a sketch, the estimate of least error.
        individual: What each value tells on its own, at least 0; from a sketch with signs without bias, so that it
            may be noisy; from one without signs a lower bound.
        covariation: What each value tells together with all others: importance minus individual effects.
        silhouette: ``std`` where it stands out of its surroundings.
        classes: ``(batch, k)`` int64, the classes compared, padded with -1.
        class_variation: ``(batch,)`` float64, the squared deviation of the outputs of these classes from their mean.
        attributed_variation: ``(batch,)`` float64, the same of the sums of their attributions: what ``importance``
            adds up to.
        completeness_delta: ``(batch,)`` float64, the sum of the importance minus what it is for a complete
            attribution: ``class_variation``, or with baselines the variation of the outputs' change from them.
        standard_error: That of ``individual``; only from a sketch, as are the next two.
        individual_low: What ``individual`` is at least in 95 % of all runs.
        individual_high: What it is at most in as many.
        relative_error: ``(batch,)`` float64, estimated Euclidean distance of ``std`` from the exact one, over its norm.
        relative_error_at_most: ``(batch,)`` float64, what it is at most in 95 % of all runs; only from a sketch.
        correlation: ``(batch,)`` float64, estimated Pearson correlation of ``std`` with the exact one.
        correlation_at_least: ``(batch,)`` float64, what it is at least in 95 % of all runs; only from a sketch.
        n_draws: ``(batch,)`` int64, the random signs that all these errors rest on; only from a sketch.
        n_rows: ``(batch,)`` int64, backward passes a point that the effects took.
        mode: What ``"auto"`` chose, or what was asked for.
        chunk_size: Points evaluated at once, after any halving.
    """

    importance: torch.Tensor
    std: torch.Tensor | None
    individual: torch.Tensor | None
    covariation: torch.Tensor | None
    silhouette: torch.Tensor | None
    classes: torch.Tensor
    class_variation: torch.Tensor
    attributed_variation: torch.Tensor
    completeness_delta: torch.Tensor
    standard_error: torch.Tensor | None
    individual_low: torch.Tensor | None
    individual_high: torch.Tensor | None
    relative_error: torch.Tensor | None
    relative_error_at_most: torch.Tensor | None
    correlation: torch.Tensor | None
    correlation_at_least: torch.Tensor | None
    n_draws: torch.Tensor | None
    n_rows: torch.Tensor
    mode: TakenMode
    chunk_size: int


def multiclass_importance(
    network: Network,
    inputs: torch.Tensor,
    *,
    attribution: Attribution = "input_x_gradient",
    classes: Classes = "all",
    mode: Mode = "auto",
    n_directions: int | None = None,
    n_signs: int | None = None,
    radius: int = 3,
    threshold: float = 3.0,
    baseline: torch.Tensor | Sequence[torch.Tensor] | None = None,
    background: torch.Tensor | None = None,
    n_steps: int | None = None,
    quadrature: Quadrature | None = None,
    epsilon: float | None = None,
    generator: Generators | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> MulticlassImportance:
    r"""Attributes the variation of all classes' outputs to the image's values.

    With the attributions :math:`A_{ji}` of value i to class j and :math:`\tilde A = P A` centred over the classes,

    .. math:: \phi_i = \sum_s \sum_j \tilde A_{ji} \tilde A_{js} = \sum_j c_j A_{ji}, \quad c = P A 1, \qquad
        \sum_i \phi_i = |c|^2,

    which is one attribution, of the scalar :math:`c \cdot f`, whatever the number of classes. The individual effects
    :math:`V_i = \sum_j \tilde A_{ji}^2` are the same for any orthonormal directions in place of the classes that span
    what tells them apart: the left singular vectors of the last layer's centred weight, of which there are at most
    as many as features, and of which the first already give the map.

    Args:
        network: What to explain; its ``output`` says what the classes' variation is of.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        attribution: ``"input_x_gradient"``; ``"gradient"`` (signed) or ``"saliency"`` (absolute, not linear in the
            output: one pass a class, ``mode="exact"`` only); ``"integrated_gradients"``; ``"deeplift"`` (rescale
            rule); ``"lrp_epsilon"``. The last two explain logits and need a graph of layers they have rules for.
        classes: ``"all"``, indices, ``TopK(n)`` or ``MinProbability(p)``: the classes compared.
        mode: ``"exact"``, ``"sketch"``, ``"importance"``, which finds nothing but the importance, or ``"auto"``:
            exact where that takes no more backward passes a point than the sketch, which is 64, or 128 for a network
            without a last linear layer; the sketch with its error otherwise.
        n_directions: For a sketch, leading directions, from 0; 56 where the network has a last layer to take them
            from, otherwise 0.
        n_signs: For a sketch, random directions in the rest, 0 or from 2; 8 beside leading directions, 128 alone.
        radius: Of the silhouette's surroundings, in pixels, from 1.
        threshold: Above 1; how many times a neighbour's value stands out.
        baseline: For integrated gradients and DeepLIFT, ``(1 | batch, channels, height, width)`` or a sequence of
            such, over which attributions are averaged.
        background: ``(n, channels, height, width)``, all averaged for every image; instead of ``baseline``.
        n_steps: Of integrated gradients, 1 to 100,000; 50 unless told.
        quadrature: Of integrated gradients; ``"gauss_legendre"`` unless told.
        epsilon: Of epsilon-LRP, above 0, in units of a layer's output; 1e-4 unless told.
        generator: Source of the random signs, one, or one an image; seed 0 for every image unless told.
        chunk_size: Points at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with rows done and, at most, to do; may raise to cancel.

    Returns:
        The maps, both sides of the paper's second proposition, and the errors of a sketch.

    Raises:
        InvalidInput: Inputs, baselines or generators do not fit the network or each other.
        InvalidTarget: Classes that the network does not have, or fewer than two.
        InvalidOption: An option out of range, or one that the attribution or mode does not take.
        NetworkError: The attribution has no rule for a layer, or maps are not finite.
        OutOfMemory: A single point does not fit into memory.

    Cost:
        Importance: one forward-mode product, one forward and one backward pass an image. Effects: a backward pass for
        each direction, exact at most ``min(classes - 1, features of the last layer)``, in a sketch
        ``n_directions + n_signs``; the memory of a backward pass of the chunk and a few maps. Integrated gradients:
        times ``n_steps``, and 16 maps a point.

    Guarantee:
        Importance and exact effects are exact; with integrated gradients up to the quadrature. In a sketch,
        ``individual`` and ``covariation`` are unbiased with a standard error, and ``std`` has the estimated
        ``relative_error``; without signs the pattern is heuristic and nothing is estimated.

    Source:
        Zhang & Gao 2020, "Measuring Feature Importance of Convolutional Neural Networks", IEEE Access 8, definitions 1
        to 5 and Algorithm 1; the one-pass identity, the directions and the sketch are ours.

    >>> paper = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = paper[1].weight.data.copy_(torch.tensor([[3.0, 2.0], [3.0, 1.0]]))
    >>> result = multiclass_importance(Network(paper), torch.ones(1, 1, 1, 2))
    >>> result.importance.flatten().tolist(), result.class_variation.tolist()
    ([0.0, 0.5], [0.5])
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    require_count(radius, "radius")
    if require_number(threshold, "threshold", 1.0) == 1.0:
        raise InvalidOption("threshold is 1, expected more: a value is always once itself")
    options = AttributionOptions(baseline, background, n_steps, quadrature, epsilon)
    # Gradients need ordinary tensors, also where the caller is in inference mode.
    with torch.inference_mode(False), torch.no_grad():
        n_classes = network.require_gradients(inputs)
        require_class_sets(classes, n_classes)
        rows = attribution_rows(network, inputs, attribution, options)
        taken = _taken(network, attribution, classes, mode, n_classes)
        plan = _plan(network, attribution, classes, taken, n_directions, n_signs)
        signs = random_signs(inputs.new_empty(len(inputs), n_classes), plan.n_signs, generator)
        size = default_chunk(network, inputs) if chunk_size is None else chunk_size
        chunks = Chunks(size, len(inputs) * _most_rows(plan, n_classes), progress)
        maps = joined(list(_groups(rows, plan, signs, chunks)))
        chunks.advance(chunks.total - chunks.done)
        require_finite("maps", maps.importance)
        return _result(maps, plan.mode, inputs.dtype, radius, threshold, chunks.size)


def _taken(network: Network, attribution: Attribution, classes: Classes, mode: Mode, n_classes: int) -> TakenMode:
    require_choice(mode, "mode", get_args(Mode))
    if mode != "auto":
        return mode
    head, exact_rows = head_weight(network), largest_set(classes, n_classes) - 1
    if head is not None and head.spans:
        exact_rows = min(exact_rows, head.weight.shape[1])
    is_cheap = exact_rows <= sum(_SKETCH_WITHOUT_ORDER if head is None else _SKETCH)
    return "exact" if is_cheap or attribution == "saliency" else "sketch"


def _plan(
    network: Network,
    attribution: Attribution,
    classes: Classes,
    mode: TakenMode,
    n_directions: int | None,
    n_signs: int | None,
) -> Plan:
    if attribution == "saliency" and mode != "exact":
        raise InvalidOption(f'saliency is not linear in the output: mode is {mode!r}, use "exact" or gradient')
    if mode != "sketch" and (n_directions is not None or n_signs is not None):
        raise InvalidOption(f'n_directions and n_signs belong to mode="sketch", mode is {mode!r}')
    transform = torch.abs if attribution == "saliency" else None
    if mode != "sketch":
        return Plan(classes, mode, 0, 0, transform, kept_directions(network))
    usual = _SKETCH if head_weight(network) is not None else _SKETCH_WITHOUT_ORDER
    leading = usual[0] if n_directions is None else require_count(n_directions, "n_directions", 0)
    usual = _SKETCH if leading else _SKETCH_WITHOUT_ORDER
    random = usual[1] if n_signs is None else require_count(n_signs, "n_signs", 0)
    if random == 1 or leading + random == 0:
        raise InvalidOption(
            f"n_directions is {leading} and n_signs {random}: a sketch takes a direction or two signs at least, and"
            " from a single sign no error can be told"
        )
    return Plan(classes, mode, leading, random, transform, kept_directions(network))


def _most_rows(plan: Plan, n_classes: int) -> int:
    """Returns rows of an image, with the two passes of the importance, at most."""
    k = largest_set(plan.classes, n_classes)
    if plan.transform is not None:
        return 1 + k
    return 2 + {"importance": 0, "exact": k - 1, "sketch": min(k - 1, plan.n_directions + plan.n_signs)}[plan.mode]


def _groups(rows: Rows, plan: Plan, signs: torch.Tensor, chunks: Chunks) -> Iterator[ClassMaps]:
    images = torch.arange(len(signs), device=signs.device)
    start = 0
    while start < len(images):

        def work(size: int, start: int = start) -> ClassMaps:
            chosen = slice(start, start + size)
            return class_maps(rows, images[chosen], plan, signs[chosen], size, chunks.advance)

        found = chunks.fitted(work)
        start += len(found.importance)
        yield found


def _result(
    maps: ClassMaps, mode: TakenMode, dtype: torch.dtype, radius: int, threshold: float, chunk_size: int
) -> MulticlassImportance:
    effects = maps.effects
    std = _cast(effects.std, dtype)
    covariation = None
    if effects.individual is not None and effects.relative_error is not None:
        # What a truncated sum leaves out would show up as co-variation: its error is not known.
        is_whole = ~effects.relative_error.isnan().view(-1, 1, 1, 1)
        covariation = torch.where(is_whole, maps.importance - effects.individual, torch.nan)
    return MulticlassImportance(
        importance=maps.importance.to(dtype),
        std=std,
        individual=_cast(effects.individual, dtype),
        covariation=_cast(covariation, dtype),
        silhouette=None if std is None else silhouette(std, radius, threshold),
        classes=maps.table,
        class_variation=maps.class_variation,
        attributed_variation=maps.attributed_variation,
        completeness_delta=maps.completeness_delta,
        standard_error=_cast(effects.standard_error, dtype),
        individual_low=_cast(effects.low, dtype),
        individual_high=_cast(effects.high, dtype),
        relative_error=effects.relative_error,
        relative_error_at_most=effects.relative_error_at_most,
        correlation=effects.correlation,
        correlation_at_least=effects.correlation_at_least,
        n_draws=effects.n_draws,
        n_rows=maps.n_rows,
        mode=mode,
        chunk_size=chunk_size,
    )


def _cast(maps: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    return None if maps is None else maps.to(dtype)
