"""What a result says of the layers whose maps it has: where their units lie, and what no map shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from attribution import Network
from attribution.networks.lattices import Lattice, Placement
from attribution.networks.layers import Layer
from attribution.networks.selection import known_layers
from attribution_contracts.figures.layer_shapley import LayerResult, UnitPlaces, WithoutPlace
from workers.methods.calls import Call, Explained, Figures, MethodOutput, OutputKind

_OF_LAYERS = frozenset[OutputKind]({"per_layer", "layer_magnitude"})


def units_of(lattice: Lattice | None) -> UnitPlaces | None:
    """Where the units of a layer lie, as results have it; nothing where that is not known."""
    return None if lattice is None else UnitPlaces(**lattice._asdict())


def placing(network: Network, layer: Layer, scores: Tensor, values: Tensor | None) -> dict[str, Any]:
    """The fields of a layer's figures that say where its units lie and what of its sum its map shows.

    Args:
        network: What is explained.
        layer: One of its layers.
        scores: All of them, float64 `(n,)`; of tokens, one for each.
        values: Its map, where it has one.
    """
    shown = None if values is None else float(values.double().sum())
    placement = network.placements().get(layer.name)
    if placement is None:
        return {"placed": shown}
    others = _others(network, layer)
    return {
        "units": units_of(placement.lattice),
        "placed": shown,
        "without_place": None
        if shown is None or others is None
        else WithoutPlace(what=others, sum=_sum_beside(placement, scores, shown)),
        "is_unread": not placement.is_read,
    }


def _sum_beside(placement: Placement, scores: Tensor, shown: float) -> float:
    """What the tokens that are no patches have of the scores."""
    if placement.axes != (1,):  # scores are of channels, each of them over all tokens
        return float(scores.sum()) - shown
    stop = placement.first + placement.sizes[0] * placement.sizes[1]
    return float(scores[: placement.first].sum() + scores[stop:].sum())


def _others(network: Network, layer: Layer) -> str | None:
    """What a layer's tokens are that are no patches, in words; nothing where there are none."""
    count = _beside(network, layer)
    if not count:
        return None
    if count > 1:
        return f"{count} tokens beside the patches"
    unread = (one for one in network.layers if one.cuts and not _is_read(network, one))
    # Where all goes through the one token beside patches that nobody reads, that is what the class is read from.
    return "class token" if any(_beside(network, one) == 1 for one in unread) else "a token beside the patches"


def _beside(network: Network, layer: Layer) -> int:
    """How many tokens a layer has that are no patches."""
    placement = network.placements().get(layer.name)
    if placement is None or len(placement.axes) == 2 or layer.shape is None:
        return 0
    return layer.shape[placement.axes[0] - 1] - placement.sizes[0] * placement.sizes[1]


def _is_read(network: Network, layer: Layer) -> bool:
    placement = network.placements().get(layer.name)
    return placement is None or placement.is_read


def with_layers(call: Call, explained: Explained, kinds: Mapping[str, OutputKind]) -> Explained:
    """What a method returns, with figures of each layer that it has a map and no figures of."""
    maps = dict[tuple[int, int, str], MethodOutput]()
    for given in explained.outputs:
        name = given.layer or given.units_of
        if kinds[given.field] in _OF_LAYERS and name is not None:
            for row, target in enumerate(given.targets or []):
                maps.setdefault((row, target, name), given)
    if not maps:
        return explained
    known = known_layers(call.network)
    return explained._replace(
        figures=[
            _filled(figures, [_entry(known, key, given) for key, given in maps.items() if key[0] == row])
            for row, figures in enumerate(explained.figures)
        ]
    )


def _filled(figures: Figures, found: Sequence[LayerResult]) -> Figures:
    own: Sequence[LayerResult] = figures.wire.get("layers", [])
    told = {(one.target, one.layer) for one in own}
    more = [one for one in found if (one.target, one.layer) not in told]
    return figures._replace(wire={**figures.wire, "layers": [*own, *more]}) if more else figures


def _entry(known: Mapping[str, Layer], key: tuple[int, int, str], given: MethodOutput) -> LayerResult:
    row, target, name = key
    values = given.values[row].double()
    values = values[values.isfinite()]
    total = float(values.sum())
    layer = known.get(name)
    return LayerResult(
        layer=name,
        kind="mean of layers" if layer is None else layer.kind,
        shape=list(given.values.shape[2:]) if layer is None or layer.shape is None else list(layer.shape),
        cuts=layer is not None and layer.cuts,
        target=target,
        sum=total,
        positive=float(values.clamp(min=0).sum()),
        negative=float(values.clamp(max=0).sum()),
        absolute=float(values.abs().sum()),
        units=units_of(given.lattice),
        placed=total,
    )
