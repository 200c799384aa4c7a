"""The files of an explanation by layers: a contact sheet, a chart by depth, and all scores."""

import json
from collections.abc import Sequence

from attribution_contracts.figures.layer_shapley import LayerResult
from workers.drawing.charts import depth_chart
from workers.drawing.explained import ExplainedImage
from workers.drawing.files import Drawn, Subject, map_within
from workers.drawing.rendering import RenderedFile
from workers.drawing.sheets import Tile, sheet
from workers.methods.calls import LayerScores

_COLUMNS = 7
_SIDE = 160


def keep_layers(drawn: Drawn, image: ExplainedImage) -> None:
    """Stores them for each class of an image whose layers have scores."""
    if not image.figures.scores:
        return
    explained: Sequence[LayerResult] = image.figures.wire["layers"]
    for target in dict.fromkeys(layer.target for layer in explained):
        subject, title = Subject(image.position, target), image.titled(target)
        layers = [layer for layer in explained if layer.target == target]
        maps = _tiles(drawn, subject, layers)
        if maps:
            tiles = [Tile("the image", image.picture), *maps]
            rows = [tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)]
            told = [warning.detail for warning in image.figures.warnings if warning.target in (target, None)]
            drawn.keep(subject, sheet("layers", rows, side=_SIDE, title=title, warnings=told))
        drawn.keep(subject, depth_chart(layers, title))
        drawn.keep(subject, _scores([item for item in image.figures.scores if item.target == target]))


def _tiles(drawn: Drawn, subject: Subject, layers: list[LayerResult]) -> list[Tile]:
    """The map of each layer that has one, in forward order, and a blank where nobody reads what it would show."""
    heatmaps = {
        reference.layer: reference
        for reference in drawn.of_image(subject.image)
        if reference.target == subject.target and reference.quantity == "heatmap"
    }
    return [
        Tile(
            _caption(layer),
            map_within(heatmaps[layer.layer], drawn.content(heatmaps[layer.layer]))
            if layer.layer in heatmaps
            else None,
        )
        for layer in layers
        if layer.layer in heatmaps or layer.is_unread
    ]


def _caption(layer: LayerResult) -> str:
    shape = "" if layer.shape is None else " x ".join(map(str, layer.shape))
    said = f"sum {layer.sum:+.3g}, no map: nobody reads its patches" if layer.is_unread else layer.said
    return f"{layer.layer}\n{layer.kind} {shape}\n{said}"


def _scores(scores: list[LayerScores]) -> RenderedFile:
    document = {
        item.layer: {"scores": item.scores}
        | ({"standard_error": None} if item.uncertainty is None else item.uncertainty._asdict())
        for item in scores
    }
    content = json.dumps(document, allow_nan=False).encode()
    return RenderedFile("scores.json", "scores", "application/json", content, [len(scores)])
