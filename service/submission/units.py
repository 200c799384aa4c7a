"""The layers and channels that a job makes pictures of or for, checked against the model."""

from collections.abc import Iterator

from attribution_contracts.hints import closest
from attribution_contracts.jobs import JobRequest
from attribution_contracts.parameters.feature_visualization import OUTPUT, FeatureVisualizationParams
from attribution_contracts.parameters.inversion import InversionParams
from attribution_contracts.problems import FieldError
from service.gateway.ready_models import ReadyModel
from service.submission.targets import class_index, unknown_class

_WORDS = (OUTPUT, "last")


def wrong_units(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """Layers and channels that the model does not have."""
    layers = {layer.name: layer for layer in model.report.layers}
    for pointer, explanation in request.asked_explanations().items():
        if not isinstance(explanation, FeatureVisualizationParams | InversionParams):
            continue
        layer = layers.get(explanation.layer)
        if layer is None and explanation.layer not in _WORDS:
            hint = closest(explanation.layer, [*_WORDS, *layers])
            detail = f"{explanation.layer!r} is no layer of the model; {hint}"
            yield FieldError(pointer=f"{pointer}/layer", detail=detail)
        for index, channel in enumerate(explanation.channels or []):
            where = f"{pointer}/channels/{index}"
            if explanation.layer == OUTPUT and not 0 <= class_index(channel, model) < model.report.classes:
                yield FieldError(pointer=where, detail=unknown_class(channel, model))
            # Where the channels of other layers lie is the worker's to say.
            elif layer is not None and layer.kind == "conv" and layer.shape and int(channel) >= layer.shape[0]:
                detail = f"{layer.name} has the channels 0 to {layer.shape[0] - 1}, given {channel}"
                yield FieldError(pointer=where, detail=detail)


def named_units(request: JobRequest, model: ReadyModel) -> Iterator[tuple[str, list[int]]]:
    """The channels of each explanation whose classes may be named, by index, with their pointer."""
    for pointer, explanation in request.asked_explanations().items():
        if not isinstance(explanation, FeatureVisualizationParams | InversionParams):
            continue
        if explanation.channels is not None:
            yield f"{pointer}/channels", [class_index(channel, model) for channel in explanation.channels]
