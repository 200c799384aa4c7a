"""What a job asks of a worker, computed before it is accepted."""

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

from attribution_contracts.baselines import BackgroundBaseline, Baseline, SetBaseline, UniformBaseline
from attribution_contracts.jobs import Cost, JobRequest
from attribution_contracts.methods import Explanation
from attribution_contracts.parameters.base import Scale
from attribution_contracts.quality import (
    DeletionOptions,
    LocalizationOptions,
    OcclusionOptions,
    QualityOptions,
    SensitivityOptions,
)
from attribution_contracts.targets import against_of
from service.gateway.ready_models import ReadyModel
from service.submission.backgrounds import images_named
from service.submission.layers import INPUT, chosen_layers
from service.submission.targets import count_targets

_TRIED = 25
"""Passes of one image that show that a copy of a network computes what it should."""


class Asked(NamedTuple):
    """What one explanation, or several, ask of models."""

    work: int = 0
    """Pixels that pass through the network, forward or backward, for all images, at most."""
    cost: Cost = Cost(passes=0, passes_at_most=0, seconds=0.0, seconds_at_most=0.0)

    def and_(self, other: "Asked") -> "Asked":
        """Both together; what is not known of one of them is not known of both."""
        ours, theirs = self.cost, other.cost
        return Asked(
            self.work + other.work,
            Cost(
                passes=ours.passes + theirs.passes,
                passes_at_most=ours.passes_at_most + theirs.passes_at_most,
                seconds=_sum(ours.seconds, theirs.seconds),
                seconds_at_most=_sum(ours.seconds_at_most, theirs.seconds_at_most),
            ),
        )


def asked_of(request: JobRequest, explanation: Explanation, model: ReadyModel) -> Asked:
    """What an explanation of all images asks of a model."""
    if not explanation.takes_model:
        return Asked()
    _, height, width = model.report.input_shape
    at_most = _passes(request, explanation, model, explanation.passes)
    usual = _passes(request, explanation, model, explanation.usual_passes)
    a_pass = None if model.report.speed is None else model.report.speed.a_pass
    cost = Cost(
        passes=usual,
        passes_at_most=at_most,
        seconds=None if a_pass is None else usual * a_pass,
        seconds_at_most=None if a_pass is None else at_most * a_pass,
    )
    return Asked(at_most * height * width, cost)


def all_asked(several: list[Asked]) -> Asked:
    """What all of them ask together."""
    return reduce(Asked.and_, several, Asked())


def too_much(request: JobRequest, explanation: Explanation, model: ReadyModel, work: int, most: float) -> str:
    """What is said of an explanation whose work is more than one job may ask for."""
    _, height, width = model.report.input_shape
    images, pixels = max(len(request.inputs), 1), height * width
    told = (
        f"{explanation.method} takes up to {work / pixels:.3g} passes of {pixels} pixels, {work:.3g} in all; at most "
        f"{most:.3g} are accepted in one job"
    )
    if explanation.takes == "none":
        return f"{told}: ask for fewer steps or channels, or send several jobs"
    fit = int(most / (work / images))
    what = f"{fit} of these {images} images would fit" if fit else "not even one of these images would fit"
    return f"{told}: {what}; ask for fewer steps, samples, baselines, classes or layers, or send several jobs"


def _passes(request: JobRequest, explanation: Explanation, model: ReadyModel, an_image: Callable[[Scale], int]) -> int:
    """Passes of one image through the network, forward or backward, for all images."""
    layers = _layers(explanation, model)
    n_layers = 1 if layers is None else len(layers)
    baselines = sum(_size(one, model) for _, one in images_named(explanation))
    _, height, width = model.report.input_shape
    if explanation.takes == "none":
        return an_image(Scale(1, model.report.classes, n_layers, max(baselines, 1), (height, width)))
    passes = 0
    for image, targets in zip(request.inputs, count_targets(request, explanation, model), strict=True):
        is_difference = against_of(image.target or getattr(explanation, "target", None)) is not None
        scale = Scale(targets, model.report.classes, n_layers, max(baselines, 1), (height, width), is_difference)
        own = an_image(scale)
        passes += 1 + own + explained_again(request.quality, own, max(targets, 1), model)
        if request.quality.occlusion is not None:
            passes += max(targets, 1) * followed(request.quality.occlusion, explanation, model)
        if request.quality.deletions is not None:
            passes += deleted(request.quality.deletions, max(targets, 1), model)
        if request.quality.localization is not None and image.evidence is not None:
            passes += localized(request.quality.localization, max(targets, 1), model)
    return passes


def _layers(explanation: Explanation, model: ReadyModel) -> set[str] | None:
    """Those that an explanation is of; nothing where its method knows none."""
    choice = getattr(explanation, "explained", None)
    return None if choice is None else chosen_layers(choice, model.report.layers, model.report.stages)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _size(baseline: Baseline, model: ReadyModel) -> int:
    if isinstance(baseline, UniformBaseline):
        return baseline.n_samples
    if isinstance(baseline, BackgroundBaseline):
        return len(baseline.images)
    return model.backgrounds.get(baseline.name, 1) if isinstance(baseline, SetBaseline) else 1


def followed(options: OcclusionOptions, explanation: Explanation, model: ReadyModel) -> int:
    """Passes of one image and class that occlusion curves take.

    Each map of the class is followed, and once the random orders and input x gradient, which is two passes more; in
    each direction a curve takes one at each step, one at the start, and one that chooses the classes compared. The best
    order of patches is searched for in each direction by trying every one that is left, but the last.
    """
    directions = 2 if options.insertion else 1
    orders = _mapped(explanation, model)
    reference = 0
    if options.references:
        has_gradients = _has_gradients(model)
        orders += options.random_orders + has_gradients
        reference = 2 * has_gradients
    if options.best_patches is not None:
        rows, columns = options.best_patches
        patches = rows * columns
        orders += 1
        reference += directions * (patches * (patches + 1) // 2 - 1)
    return orders * directions * (options.n_steps + 2) + reference


def explained_again(quality: QualityOptions, passes: int, classes: int, model: ReadyModel) -> int:
    """Passes of one image that noisy copies and random networks take.

    Each is explained as the image was, and beside it input x gradient takes two passes a class; a random network is
    tried on some passes before it is believed.
    """
    found = 0
    for options in (quality.sensitivity, quality.randomization):
        if options is None:
            continue
        times = options.n_samples if isinstance(options, SensitivityOptions) else options.explanations
        beside = 2 * classes * (options.references and _has_gradients(model))
        found += times * (passes + beside) + beside
        found += _TRIED * times if options is quality.randomization else 0
    return found


def deleted(options: DeletionOptions, classes: int, model: ReadyModel) -> int:
    """Passes of one image that single deletions take: one a patch and one of the whole image, whatever the maps.

    Input x gradient is two more a class; random maps are none.
    """
    rows, columns = options.patches
    return rows * columns + 1 + 2 * classes * (options.references and _has_gradients(model))


def localized(options: LocalizationOptions, classes: int, model: ReadyModel) -> int:
    """Passes of one image that localisation takes: those of input x gradient, two a class."""
    return 2 * classes * (options.references and _has_gradients(model))


def _has_gradients(model: ReadyModel) -> bool:
    gradients = model.report.methods.get("input_x_gradient")
    return gradients is None or gradients.applies  # reports of earlier versions do not say


def _mapped(explanation: Explanation, model: ReadyModel) -> int:
    """How many maps of a class there are, of one quantity: one, or one a layer that has places."""
    layers = _layers(explanation, model)
    if layers is None:
        return 1
    shapes = {INPUT: model.report.input_shape, **{layer.name: layer.shape for layer in model.report.layers}}
    return max(1, sum(explanation.has_map(shapes[name]) for name in layers))
