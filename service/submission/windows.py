"""The windows, feature maps and patches that are hidden, checked against the model."""

from collections.abc import Iterator

from attribution_contracts.hints import closest
from attribution_contracts.jobs import JobRequest
from attribution_contracts.models import LayerInfo
from attribution_contracts.parameters.occlusion import MAX_WINDOWS, ChosenFeatureMap, MapPlace, OcclusionParams
from attribution_contracts.problems import FieldError
from service.gateway.ready_models import ReadyModel


def wrong_windows(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """Windows that do not fit the model's images, and feature maps that it does not have."""
    layers = {layer.name: layer for layer in model.report.layers}
    for pointer, explanation in request.asked_explanations().items():
        if isinstance(explanation, OcclusionParams):
            yield from _wrong(pointer, explanation, model)
            for index, one in enumerate(explanation.feature_maps):
                if (found := _wrong_feature_map(one, layers)) is not None:
                    field, detail = found
                    yield FieldError(pointer=f"{pointer}/feature_maps/{index}/{field}", detail=detail)


def wrong_patches(request: JobRequest, model: ReadyModel) -> Iterator[FieldError]:
    """Grids of single deletions and of the best order that are finer than the model's images."""
    _, height, width = model.report.input_shape
    deletions, occlusion = request.quality.deletions, request.quality.occlusion
    grids = {
        "deletions/grid": None if deletions is None else deletions.patches,
        "occlusion/best_order": None if occlusion is None else occlusion.best_patches,
    }
    for field, grid in grids.items():
        if grid is not None and (grid[0] > height or grid[1] > width):
            detail = (
                f"the grid is {_by(grid)}, finer than the model's images, {_by((height, width))}: give at most that"
            )
            yield FieldError(pointer=f"/quality/{field}", detail=detail)


def _wrong(pointer: str, asked: OcclusionParams, model: ReadyModel) -> Iterator[FieldError]:
    _, height, width = model.report.input_shape
    window, stride = asked.windows(height, width)
    rows, columns = asked.grid(height, width)
    if window[0] > height or window[1] > width:
        detail = (
            f"the window is {_by(window)}, larger than the model's images, {_by((height, width))}: give at most that"
        )
        yield FieldError(pointer=f"{pointer}/window", detail=detail)
    elif stride[0] > window[0] or stride[1] > window[1]:
        detail = (
            f"the stride is {_by(stride)} and the window {_by(window)}: pixels between windows would be left out, give "
            "a stride of at most the window"
        )
        yield FieldError(pointer=f"{pointer}/stride", detail=detail)
    elif rows * columns > MAX_WINDOWS:
        detail = (
            f"a window of {_by(window)} and a stride of {_by(stride)} make {rows * columns} windows of an image of "
            f"{_by((height, width))}, at most {MAX_WINDOWS} are accepted: give a larger stride"
        )
        yield FieldError(pointer=f"{pointer}/stride", detail=detail)


def _wrong_feature_map(one: ChosenFeatureMap, layers: dict[str, LayerInfo]) -> tuple[str, str] | None:
    """The field that is wrong, and why."""
    if one.layer not in layers:
        return "layer", f"{one.layer!r} is no layer of the model; {closest(one.layer, list(layers))}"
    shape = layers[one.layer].shape
    if not shape:
        return None
    if one.channel >= shape[0]:
        return "channel", f"layer {one.layer!r} has the channels 0 to {shape[0] - 1}, given {one.channel}"
    at = one.summary
    if isinstance(at, MapPlace) and (len(shape) != 3 or at.row >= shape[1] or at.column >= shape[2]):
        sides = " x ".join(map(str, shape[1:])) or "none"
        return "summary", f"layer {one.layer!r} has the places {sides}, given row {at.row} and column {at.column}"
    return None


def _by(pair: tuple[int, int]) -> str:
    return f"{pair[0]} x {pair[1]}"
