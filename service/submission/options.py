"""All that a request asks of explanations and of figures, held against what a model has."""

from collections.abc import Iterator
from itertools import chain

from attribution_contracts.jobs import JobRequest
from attribution_contracts.problems import FieldError
from service.gateway.ready_models import ReadyModel
from service.submission.backgrounds import wrong_sets
from service.submission.layers import wrong_layers
from service.submission.settled import twice_settled
from service.submission.targets import wrong_pixels
from service.submission.units import wrong_units
from service.submission.windows import wrong_patches, wrong_windows


def wrong_options(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """What does not fit, but for the classes."""
    return chain(
        wrong_pixels(request, model),
        wrong_layers(request, model),
        wrong_units(request, model),
        wrong_sets(request, model),
        twice_settled(request, model),
        wrong_windows(request, model),
        wrong_patches(request, model),
    )
