"""The few layers of a network that a person looks at first."""

from collections.abc import Sequence
from itertools import groupby

from attribution.networks.layers import Layer

#: How many there are at most.
MOST = 8
_FEW = 3
"""Fewer stages than these by size of the maps say little, as in a transformer, whose tokens stay as many."""
_WORKING = frozenset(
    {"conv", "activation", "addition", "concatenation", "multiplication", "attention", "linear", "other"}
)
_JOINING = frozenset({"addition", "concatenation"})


def stages(layers: Sequence[Layer]) -> list[str]:
    """Returns the names of the stem, of the last layer of each stage and of the last convolution, in forward order.

    A stage is a run of layers that cut the network and whose maps have one height and width. Where there are few, the
    sums and concatenations that every path runs through stand for them (the blocks of a transformer), or else runs of
    layers of one shape, channels included (plain networks that stay as large). At most `MOST` layers come back, evenly
    spread.

    >>> def layer(name, kind, *shape): return Layer(name, kind, shape, True)
    >>> stages([
    ...     layer("conv1", "conv", 8, 32, 32), layer("relu", "activation", 8, 32, 32),
    ...     layer("conv2", "conv", 8, 32, 32), layer("pool", "pooling", 8, 16, 16),
    ...     layer("conv3", "conv", 16, 16, 16), layer("conv4", "conv", 16, 8, 8),
    ...     layer("mean", "pooling", 16, 1, 1), layer("fc", "linear", 10),
    ... ])
    ['relu', 'conv2', 'conv3', 'conv4']
    """
    mapped = [layer for layer in layers if _has_places(layer)]
    working = [layer for layer in mapped if layer.cuts and layer.kind in _WORKING]
    ends = _ends(working, channels=False)
    if len(ends) < _FEW:
        joined = [layer.name for layer in working if layer.kind in _JOINING]
        ends = joined if len(joined) >= _FEW else _ends(working, channels=True)
    convolutions = [layer.name for layer in mapped if layer.kind == "conv"]
    outer = {*_stem(layers, working), *convolutions[-1:]}
    chosen = outer | set(_spread([name for name in ends if name not in outer], MOST - len(outer)))
    found = [layer.name for layer in layers if layer.name in chosen]
    return found or _spread([layer.name for layer in layers], MOST)


def _has_places(layer: Layer) -> bool:
    """Returns whether a layer tells several places or tokens apart."""
    shape = layer.shape
    return shape is not None and len(shape) > 1 and (len(shape) == 2 or max(shape[1:]) > 1)


def _ends(working: Sequence[Layer], *, channels: bool) -> list[str]:
    """Returns the last layer of each run of layers of one size."""

    def size(layer: Layer) -> tuple[int, ...] | None:
        return layer.shape if channels or layer.shape is None or len(layer.shape) == 2 else layer.shape[1:]

    return [list(run)[-1].name for _, run in groupby(working, size)]


def _stem(layers: Sequence[Layer], working: Sequence[Layer]) -> list[str]:
    """Returns the first layer that works, or the activation that follows it with nothing but a norm between."""
    if not working:
        return []
    first = [layer.name for layer in layers].index(working[0].name)
    after = next((layer for layer in layers[first + 1 :] if layer.kind != "normalisation"), None)
    is_activated = after is not None and after.cuts and after.kind == "activation"
    return [after.name if is_activated and after is not None else working[0].name]


def _spread(names: Sequence[str], most: int) -> list[str]:
    """Returns at most so many of them, evenly spread, the last one among them."""
    count = min(len(names), most)
    return [names[(number + 1) * len(names) // count - 1] for number in range(count)]
