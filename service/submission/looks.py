"""What tasks that look into a network or at images ask of them, checked against the model."""

from collections.abc import Iterator
from math import prod

from attribution_contracts.hints import closest
from attribution_contracts.models import LayerInfo
from attribution_contracts.problems import FieldError
from attribution_contracts.tasks.jobs import Task
from attribution_contracts.tasks.maximal_patches import MaximalPatchesTask
from attribution_contracts.tasks.part_shape_texture import PartShapeTextureTask
from attribution_contracts.tasks.representation_pca import MOST_NUMBERS, WIDEST, RepresentationPcaTask
from attribution_contracts.tasks.strategies import MAP_METHODS, StrategiesTask
from service.gateway.ready_models import ReadyModel

LAST = "last"
"""The last layer with places, which is no layer's name."""


def wrong_looks(task: Task, model: ReadyModel) -> Iterator[FieldError]:
    """A layer that is not there, channels that it lacks, rules that do not apply, and patches below a pixel."""
    if isinstance(task, PartShapeTextureTask):
        yield from _wrong_grid(task, model)
    if isinstance(task, StrategiesTask):
        yield from _wrong_maps(task, model)
    name: str | None = getattr(task, "layer", None)
    if name is None:
        return
    layers = {layer.name: layer for layer in model.report.layers}
    if name not in layers and name != LAST:
        detail = f"{name!r} is no layer of the model; {closest(name, [LAST, *layers])}"
        yield FieldError(pointer="/task/layer", detail=detail)
    elif name == LAST and model.report.mapped == []:
        detail = "no layer of the model has height and width: name one of its layers"
        yield FieldError(pointer="/task/layer", detail=detail)
    if isinstance(task, MaximalPatchesTask):
        yield from _wrong_patches(task, layers.get(name), model)
    if isinstance(task, RepresentationPcaTask):
        yield from _wrong_width(task, layers.get(name))


def settled(task: Task, model: ReadyModel) -> Task:
    """The same with the rule by which maps are made, where it was left to the service: the first that applies."""
    if not isinstance(task, StrategiesTask) or task.maps is not None:
        return task
    methods = model.report.methods
    applying = [name for name in MAP_METHODS if name in methods and methods[name].applies]
    return task.model_copy(update={"maps": applying[0]}) if applying else task


def _wrong_patches(task: MaximalPatchesTask, layer: LayerInfo | None, model: ReadyModel) -> Iterator[FieldError]:
    # Where the channels of other layers lie is the worker's to say.
    is_known = layer is not None and layer.kind in ("conv", "linear") and layer.shape
    if task.channels is not None and layer is not None and layer.shape and is_known:
        count = layer.shape[0] if layer.kind == "conv" else layer.shape[-1]
        if max(task.channels) >= count:
            detail = f"{layer.name} has the channels 0 to {count - 1}, given {max(task.channels)}"
            yield FieldError(pointer="/task/channels", detail=detail)
    found = model.report.methods.get(task.beside or "")
    if found is not None and not found.applies:
        detail = f'{task.beside} does not apply to the model: {found.reason}; "none" leaves it out'
        yield FieldError(pointer="/task/beside", detail=detail)


def _wrong_maps(task: StrategiesTask, model: ReadyModel) -> Iterator[FieldError]:
    asked = [task.maps] if task.maps else MAP_METHODS
    found = {name: model.report.methods.get(name) for name in asked}
    reasons = [f"{name}: {one.reason}" for name, one in found.items() if one is not None and not one.applies]
    if len(reasons) == len(asked):
        detail = f"maps of the model are made by {' or '.join(MAP_METHODS)}; {'; '.join(reasons)}"
        yield FieldError(pointer="/task/maps", detail=detail)
    for place, index in enumerate(task.classes or []):
        if index >= model.report.classes:
            detail = f"the model has the classes 0 to {model.report.classes - 1}, given {index}"
            yield FieldError(pointer=f"/task/classes/{place}", detail=detail)
    height, width = model.report.input_shape[-2:]
    if task.side > min(height, width):
        detail = f"images of {height} x {width} pixels have no {task.side} x {task.side} cells"
        yield FieldError(pointer="/task/side", detail=detail)


def _wrong_grid(task: PartShapeTextureTask, model: ReadyModel) -> Iterator[FieldError]:
    height, width = model.report.input_shape[-2:]
    if task.grid > min(height, width):
        detail = f"images of {height} x {width} pixels have no {task.grid} x {task.grid} patches"
        yield FieldError(pointer="/task/grid", detail=detail)


def _wrong_width(task: RepresentationPcaTask, layer: LayerInfo | None) -> Iterator[FieldError]:
    if layer is None or not layer.shape:
        return
    is_flat = task.representation == "flat"
    if not is_flat and layer.kind != "conv":
        return  # where the channels of other layers lie is the worker's to say
    width = prod(layer.shape) if is_flat else layer.shape[0]
    if width > WIDEST:
        hint = "take the mean of each feature map, or another layer" if is_flat else "take another layer"
        detail = f"{layer.name} represents an image by {width:,} numbers, at most {WIDEST:,} are accepted: {hint}"
        yield FieldError(pointer="/task/representation", detail=detail)
    elif width * task.shard_images > MOST_NUMBERS:
        detail = f"{task.shard_images:,} images of {width:,} numbers do not fit into memory: ask for smaller parts"
        yield FieldError(pointer="/task/shard_images", detail=detail)
