"""The pictures of a comparison: for each image a row a model, and in it the image and the map of each explanation."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from PIL import Image

from attribution_contracts.captions import captions
from attribution_contracts.jobs import JobRequest
from attribution_contracts.problems import ErrorCode
from attribution_contracts.results import ArtifactRef, CellResult, ClassScore, ImageResult
from workers.context import WorkerContext
from workers.drawing.explained import image_name
from workers.drawing.files import Subject, map_within
from workers.drawing.neurons_beside import aligned_neurons, difference_charts
from workers.drawing.page import Answer
from workers.drawing.rendering import RenderedFile
from workers.drawing.sheets import Tile, sheet
from workers.drawing.words import number, percent
from workers.jobs.tracking import watched
from workers.models.inputs import displayed

_TOGETHER = ("std", "silhouette", "importance")
"""Quantities of one method that a first sheet shows together, a row each."""
_ACROSS = 6
"""Maps in a row; more go on in another one, beside the image again."""


def side_by_side(
    context: WorkerContext,
    tenant: str,
    asked: Sequence[JobRequest],
    cells: Sequence[CellResult],
    progress: Callable[[int], None],
) -> Iterator[tuple[Subject, RenderedFile]]:
    """A sheet for each image and each quantity that all explanations share; where they share none, of their first.

    Quantities that tell more together come first, on one sheet, a row each. `progress` is called with the position of
    the image before each sheet and each picture that is fetched for it.
    """
    columns = 1 + max(cell.explanation for cell in cells)
    explanations = [request.explanation for request in asked[:columns] if request.explanation]
    labels = captions([explanation.model_dump() for explanation in explanations])
    methods = {explanation.method for explanation in explanations}
    of_all = f", {explanations[0].method}" if len(methods) == 1 else ""
    for position, given in enumerate(asked[0].inputs):
        told, title = partial(progress, position), f"{image_name(position, given)}{of_all}"
        warned = list(_warnings(cells, position, labels))
        seen = [displayed(context, tenant, cell.model, given) for cell in watched(cells[::columns], told)]
        for name, rows in _sheets([explanation.quantities for explanation in explanations]):
            told()
            drawn = []
            for quantities in rows:
                for row, picture in enumerate(seen):
                    mine = cells[row * columns : (row + 1) * columns]
                    tiles = [
                        tile
                        for column, cell in watched(enumerate(mine), told)
                        for tile in _tiles(
                            context, cell, cells[column::columns], position, quantities[column], labels[column]
                        )
                    ]
                    drawn += _rows(Tile(_seen(mine, position), picture), tiles)
            yield Subject(position), sheet(f"{name}-side-by-side", drawn, title=title, warnings=warned)
        charts = dict[Subject, RenderedFile]()
        for column in range(columns):
            told()
            beside = {_name(cell): image for cell in cells[column::columns] if (image := _image_of(cell, position))}
            charts |= difference_charts(position, image_name(position, given), beside)
        yield from charts.items()


def _rows(image: Tile, maps: Sequence[Tile]) -> list[list[Tile]]:
    return [[image, *maps[first : first + _ACROSS]] for first in range(0, len(maps), _ACROSS)]


def _sheets(quantities: Sequence[tuple[str, ...]]) -> list[tuple[str, list[list[str]]]]:
    """The sheets by name: for each row of models, the quantity of each column."""
    shared = [name for name in quantities[0] if all(name in names for names in quantities)]
    if not shared:
        return [("maps", [[names[0] for names in quantities]])]
    alone = [(name, [[name] * len(quantities)]) for name in shared]
    together = [[name] * len(quantities) for name in _TOGETHER if name in shared]
    return [("maps", together), *alone] if len(together) > 1 else alone


def _image_of(cell: CellResult, position: int) -> ImageResult | None:
    return next((image for image in cell.images if image.index == position and image.error is None), None)


def _seen(cells: Sequence[CellResult], position: int) -> str:
    """The model of a row, what it predicts, and the true class where that is another."""
    image = next(filter(None, (_image_of(cell, position) for cell in cells)), None)
    if image is None:
        return _name(cells[0])
    return "\n".join([_name(cells[0]), *_decision(image.prediction[0], image.label)])


def _decision(best: ClassScore, label: ClassScore | None) -> Iterator[str]:
    yield f"{best.name or best.index} ({percent(best.probability, 0)})"
    if label is not None and label.index != best.index:
        yield f"true class: {label.name or label.index} ({percent(label.probability, 0)})"


def _tiles(
    context: WorkerContext, cell: CellResult, column: Sequence[CellResult], position: int, quantity: str, label: str
) -> Iterator[Tile]:
    """The map of one cell, or of single neurons those that any model of its column shows, in the same order for all."""
    aligned = aligned_neurons([image for one in column if (image := _image_of(one, position)) is not None])
    image = _image_of(cell, position)
    if image is None or not aligned:
        yield _tile(context, cell, position, quantity, label)
        return
    drawn = [file for file in image.artifacts if (file.quantity, file.of) == ("heatmap", quantity)]
    files = {(file.layer, file.channel): file for file in drawn}
    for neuron in aligned:
        file = files.get((neuron.layer, neuron.channel))
        said = f"{label}\n{neuron.said_of(image)}".strip()
        if file is None:
            yield Tile(f"{said}: not among those shown", None)
        else:
            yield Tile(f"{said}{_ends(file)}", map_within(file, context.store.get(file.sha256)))


def _tile(context: WorkerContext, cell: CellResult, position: int, quantity: str, label: str) -> Tile:
    image, said = _image_of(cell, position), f"{label}\n{quantity}".strip()
    if image is None:
        return Tile(f"{said}: {_missing(cell)}", None)
    file = _heatmap(image, quantity)
    if file is None:
        return Tile(f"{said}: no map", None)
    explained = next((target for target in image.targets if target.index == file.target), None)
    of = "" if explained is None else f" of {explained.said}"
    where = "" if file.layer is None else f" at {file.layer}"
    return Tile(f"{said}{of}{where}{_ends(file)}", map_within(file, context.store.get(file.sha256)))


def _missing(cell: CellResult) -> str:
    """Why a cell has no map: a method that does not apply has not failed."""
    no_use = cell.error is not None and cell.error.code == ErrorCode.METHOD_NOT_APPLICABLE
    return "does not apply" if no_use else "failed"


def _heatmap(image: ImageResult, quantity: str) -> ArtifactRef | None:
    """The map of the first class; of several layers that of the last with places, where units stand for things."""
    found = [file for file in image.artifacts if (file.quantity, file.of) == ("heatmap", quantity)]
    flat = {file.layer for file in image.artifacts if file.of is None and file.shape and file.shape[-2:] == [1, 1]}
    own = [file for file in found if file.target == found[0].target]
    return next((file for file in reversed(own) if file.layer not in flat), own[-1] if own else None)


def _ends(file: ArtifactRef) -> str:
    """The colours of a map, in words: there is no room for a bar in each tile."""
    if file.colormap is None or file.range is None:
        return ""
    low, high = file.range
    if not low < 0 < high:
        return f"\n{file.colormap} from 0 to {low or high:.2g}"
    above, below = file.colormap.split("_")  # signed maps are called by the colours of both signs
    return f"\n{above} to {number(high)}, {below} to {number(low)}"


def _warnings(cells: Sequence[CellResult], position: int, labels: Sequence[str]) -> Iterator[str]:
    for cell in cells:
        for image in cell.images:
            if image.index == position:
                where = ", ".join(filter(None, (_name(cell), labels[cell.explanation])))
                for warning in image.warnings:
                    yield f"{where}: {warning.detail}"


def _name(cell: CellResult) -> str:
    return f"{cell.model.name}@{cell.model.version}"


def answers_of(
    context: WorkerContext, tenant: str, asked: Sequence[JobRequest], cells: Sequence[CellResult]
) -> list[Answer]:
    """The cells for the page of the comparison."""
    explanations = [request.explanation.model_dump() for request in asked if request.explanation]
    labels = captions(explanations[: 1 + max(cell.explanation for cell in cells)])

    def answer(cell: CellResult, label: str) -> Answer:
        said = label if label.startswith(cell.method) else ", ".join(filter(None, (cell.method, label)))
        images = {image.index: image for image in cell.images}
        error = None if cell.error is None else f"{cell.error.title}: {cell.error.detail}"

        def seen(position: int) -> Image.Image | None:
            return displayed(context, tenant, cell.model, asked[0].inputs[position])

        return Answer(f"{_name(cell)}, {said}", images, seen, cell.provenance, error)

    return [answer(cell, labels[cell.explanation]) for cell in cells]
