"""What methods by rules say of layers: their maps, their sums and their largest channels."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from attribution.networks.layers import Layer
from attribution.networks.selection import known_layers
from attribution_contracts.figures.layer_shapley import FeatureMapScore, LayerResult
from workers.methods.adapters import one_output_a_class
from workers.methods.calls import Call, LayerScores, MethodOutput
from workers.methods.layer_figures import placing


class LayerShares(NamedTuple):
    """By layer: `maps` `(batch, k, height, width)` and `scores` `(batch, k, channels)`."""

    maps: Mapping[str, Tensor]
    scores: Mapping[str, Tensor]


def layer_maps(call: Call, shares: LayerShares) -> list[MethodOutput]:
    """The map of each layer that has one, for each class."""
    lattices = call.network.lattices() if shares.maps else {}
    return [
        output._replace(lattice=lattices.get(name))
        for name, maps in shares.maps.items()
        for output in one_output_a_class("layer_map", maps.unsqueeze(2), call.target, layer=name)
    ]


def layer_scores(call: Call, shares: LayerShares, row: int) -> list[LayerScores]:
    """All scores of one image, in full."""
    return [
        LayerScores(target, name, scores[row, column].tolist(), None)
        for column, target in enumerate(call.target[row].tolist())
        for name, scores in shares.scores.items()
    ]


def layer_results(
    call: Call, shares: LayerShares, row: int, top: int, complete: Sequence[float] | None = None
) -> list[LayerResult]:
    """The figures of one image's layers.

    Args:
        call: What was explained.
        shares: What was found.
        row: Of the image.
        top: How many channels are listed.
        complete: What a layer that cuts the network must add up to, for each class; nothing where nothing says so.
    """
    if not shares.scores:
        return []
    known = known_layers(call.network)

    def told(name: str, scores: Tensor, column: int, target: int) -> LayerResult:
        own, maps = scores[row, column].double(), shares.maps.get(name)
        found = _result(known[name], own, target, top, None if complete is None else complete[column])
        shown = None if maps is None else maps[row, column]
        return found.model_copy(update=placing(call.network, known[name], own, shown))

    return [
        told(name, scores, column, target)
        for column, target in enumerate(call.target[row].tolist())
        for name, scores in shares.scores.items()
    ]


def _result(layer: Layer, scores: Tensor, target: int, top: int, complete: float | None) -> LayerResult:
    total = float(scores.sum())
    delta = None if complete is None or not layer.cuts else total - complete
    order = scores.abs().argsort(descending=True, stable=True)[:top].tolist()
    return LayerResult(
        layer=layer.name,
        kind=layer.kind,
        shape=None if layer.shape is None else list(layer.shape),
        cuts=layer.cuts,
        target=target,
        sum=total,
        positive=float(scores.clamp(min=0).sum()),
        negative=float(scores.clamp(max=0).sum()),
        absolute=float(scores.abs().sum()),
        convergence_delta=delta,
        relative=abs(delta / complete) if delta is not None and complete else None,
        top=[FeatureMapScore(index=index, score=float(scores[index])) for index in order],
    )
