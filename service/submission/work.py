"""What a job asks of a worker, computed before it is accepted."""

from attribution_contracts.baselines import BackgroundBaseline, Baseline, SetBaseline, UniformBaseline
from attribution_contracts.jobs import JobRequest
from attribution_contracts.methods import Explanation
from attribution_contracts.parameters.base import Scale
from attribution_contracts.quality import OcclusionOptions
from service.gateway.ready_models import ReadyModel
from service.submission.layers import chosen_layers
from service.submission.targets import count_targets

ORDERS = 3
"""That are followed by occlusion: the map's, random, and input x gradient."""


def work_of(request: JobRequest, explanation: Explanation, model: ReadyModel) -> int:
    """Pixels that pass through the network, forward or backward, for all images of an explanation, at most."""
    if not explanation.takes_model:
        return 0
    _, height, width = model.report.input_shape
    layers = getattr(explanation, "layers", None)
    n_layers = 1 if layers is None else len(chosen_layers(layers, model.report.layers))
    baselines = sum(_size(one, model) for one in getattr(explanation, "baselines", None) or [])
    passes = 0
    for targets in count_targets(request, explanation, model):
        passes += 1 + explanation.passes(Scale(targets, model.report.classes, n_layers, max(baselines, 1)))
        if request.quality.occlusion is not None:
            passes += max(targets, 1) * _followed(request.quality.occlusion)
    return passes * height * width


def too_much(request: JobRequest, explanation: Explanation, model: ReadyModel, work: int, most: float) -> str:
    """What is said of an explanation whose work is more than one job may ask for."""
    _, height, width = model.report.input_shape
    images, pixels = max(len(request.inputs), 1), height * width
    fit = int(most / (work / images))
    what = f"{fit} of these {images} images would fit" if fit else "not even one of these images would fit"
    return (
        f"{explanation.method} takes up to {work / pixels:.3g} passes of {pixels} pixels, {work:.3g} in all; at most "
        f"{most:.3g} are accepted in one job: {what}; ask for fewer steps, samples, baselines, classes or layers, or "
        "send several jobs"
    )


def _size(baseline: Baseline, model: ReadyModel) -> int:
    if isinstance(baseline, UniformBaseline):
        return baseline.n_samples
    if isinstance(baseline, BackgroundBaseline):
        return len(baseline.images)
    return model.backgrounds.get(baseline.name, 1) if isinstance(baseline, SetBaseline) else 1


def _followed(options: OcclusionOptions) -> int:
    orders = ORDERS if options.references else 1
    return orders * (2 if options.insertion else 1) * (options.n_steps + 2)
