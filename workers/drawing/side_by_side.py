"""The pictures of a comparison: for each image a row a model, and in it the image and the map of each explanation."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from attribution_contracts.jobs import InputImage, JobRequest
from attribution_contracts.results import CellResult
from workers.context import WorkerContext
from workers.drawing.files import Subject, map_within
from workers.drawing.rendering import RenderedFile
from workers.drawing.sheets import Tile, sheet
from workers.jobs.tracking import watched
from workers.models.inputs import displayed


def side_by_side(
    context: WorkerContext,
    tenant: str,
    asked: Sequence[JobRequest],
    cells: Sequence[CellResult],
    progress: Callable[[int], None],
) -> Iterator[tuple[Subject, RenderedFile]]:
    """A sheet for each image and each quantity that all explanations share; where they share none, of their first.

    `progress` is called with the position of the image before each sheet and each picture that is fetched for it.
    """
    quantities = [request.explanation.quantities if request.explanation else () for request in asked]
    shared = [name for name in quantities[0] if all(name in names for names in quantities)]
    labels = _labels([request.explanation.model_dump() for request in asked if request.explanation])
    columns = 1 + max(cell.explanation for cell in cells)
    for position, given in enumerate(asked[0].inputs):
        told = partial(progress, position)
        warned = list(_warnings(cells, position, labels))
        originals = [_original(context, tenant, cell, given) for cell in watched(cells[::columns], told)]
        for name in shared or ["maps"]:
            chosen = [name if shared else names[0] for names in quantities]
            tiles = [
                _tile(context, cell, position, quantity, label)
                for cell, quantity, label in watched(zip(cells, chosen, labels, strict=True), told)
            ]
            rows = [[original, *tiles[row * columns : (row + 1) * columns]] for row, original in enumerate(originals)]
            yield Subject(position), sheet(f"{name}-side-by-side", rows, warnings=warned)


def _original(context: WorkerContext, tenant: str, cell: CellResult, given: InputImage) -> Tile:
    return Tile(f"as {_name(cell)} sees it", displayed(context, tenant, cell.model, given))


def _tile(context: WorkerContext, cell: CellResult, position: int, quantity: str, label: str) -> Tile:
    image = next((image for image in cell.images if image.index == position and image.error is None), None)
    if image is None:
        return Tile(f"{label}\n{_name(cell)}: failed", None)
    best = image.prediction[0]
    caption = f"{label}: {quantity}\n{_name(cell)}: {best.name or best.index} ({best.probability:.0%})"
    file = next((file for file in image.artifacts if (file.quantity, file.of) == ("heatmap", quantity)), None)
    return Tile(caption, None if file is None else map_within(file, context.store.get(file.sha256)))


def _warnings(cells: Sequence[CellResult], position: int, labels: Sequence[str]) -> Iterator[str]:
    for cell, label in zip(cells, labels, strict=True):
        for image in cell.images:
            if image.index == position:
                for warning in image.warnings:
                    yield f"{label}, {_name(cell)}: {warning.detail}"


def _name(cell: CellResult) -> str:
    return f"{cell.model.name}@{cell.model.version}"


def _labels(explanations: Sequence[dict[str, Any]]) -> list[str]:
    """What tells each explanation from the others: the parameters in which they differ, or else its method."""
    names = [
        name for name in explanations[0] if any(other.get(name) != explanations[0][name] for other in explanations)
    ]
    is_one_method = "method" not in names
    return [
        ", ".join(str(found[name]) for name in names if not isinstance(found[name], list | dict))
        if is_one_method and names
        else str(found["method"])
        for found in explanations
    ]
