"""Which pixels a unit of a layer sees: exactly, from what each operation of the graph reads.

A unit's rows are led back through the graph, from each operation to the rows that it reads, and its columns by
themselves. Where branches meet, the unit sees what any of them sees. What reads everything, a mean over places or an
attention, and whatever is not known here, sees all of the image.
"""

from collections.abc import Callable, Iterable
from math import ceil, floor
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from attribution.errors import InvalidOption, NetworkError
from attribution.networks.graph import tensor_nodes
from attribution.networks.grids import Grid, Step, is_pointwise, step_of
from attribution.networks.lattices import Keeping, grids_of
from attribution.networks.layers import layer_kind
from attribution.networks.network import Network

Units = frozenset[int]
"""Places along one axis."""

_WINDOWED = frozenset({"conv2d", "maxpool2d", "avgpool2d", "lppool2d"})
_ADAPTIVE = frozenset({"adaptiveavgpool2d", "adaptivemaxpool2d"})
_RESIZING = frozenset({"interpolate", "upsample", "upsamplingnearest2d", "upsamplingbilinear2d"})
_MOVING = frozenset({"permute", "transpose", "movedim", "swapaxes"})
_RESHAPING = frozenset({"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "expand"})
_CONCATENATING = frozenset({"cat", "concat", "concatenate"})
#: Activations and normalisations whose values depend on others than the one in their place.
_SPREADING = ("softmax", "softmin", "glu", "instancenorm", "groupnorm", "localresponsenorm")


class Window(NamedTuple):
    """A part of the image, in pixels: ``bottom`` and ``right`` are the first ones behind it."""

    top: int
    left: int
    bottom: int
    right: int


class ReceptiveFields:
    """The windows that the units of a layer see, for images of the size that the network has met last.

    Args:
        network: One with a graph, which has run.
        layer: A layer's name.

    Raises:
        NetworkError: The network has no graph.
        InvalidOption: It has no such layer.

    Cost:
        One forward pass of one image. A row or column is led back once: some milliseconds each in a deep network.

    >>> layers = [nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 2)]
    >>> ReceptiveFields(Network(nn.Sequential(*layers), (1, 8, 8)), "1").of(0, 1)
    Window(top=0, left=3, bottom=4, right=8)
    """

    def __init__(self, network: Network, layer: str) -> None:
        """Runs one image through the network."""
        graph = _require_graph(network, layer)
        image = network.examples()[:1]
        self._node, self._sides = network.nodes[layer], (int(image.shape[2]), int(image.shape[3]))
        with torch.inference_mode(False), torch.no_grad():
            run = Keeping(graph)
            run.run(image)
            self._grids, _ = grids_of(graph, image, run)
        modules, shapes = dict(graph.named_modules()), {node: tuple(kept.shape) for node, kept in run.kept.items()}
        self._steps = {
            node: step_of(node, name, modules, shapes, run.numbers) for node, name in tensor_nodes(graph).items()
        }
        self._order = list(graph.graph.nodes)
        self._known: dict[tuple[int, int], tuple[int, int]] = {}

    def of(self, row: int, column: int) -> Window:
        """Returns what the unit in a row and column sees; the whole image where the layer has no known places.

        A unit that sees nothing but padding has an empty window.
        """
        (top, bottom), (left, right) = self._ends(0, row), self._ends(1, column)
        sees_any = top < bottom and left < right
        return Window(top, left, bottom, right) if sees_any else Window(0, 0, 0, 0)

    def _ends(self, axis: int, unit: int) -> tuple[int, int]:
        if (axis, unit) not in self._known:
            self._known[axis, unit] = self._found(axis, unit)
        return self._known[axis, unit]

    def _found(self, axis: int, unit: int) -> tuple[int, int]:
        whole = (0, self._sides[axis])
        if not self._is_placed(axis, unit):
            return whole
        wanted: dict[fx.Node, Units] = {self._node: frozenset({unit})}
        for node in reversed(self._order):
            units = wanted.pop(node, None)
            if not units or node not in self._steps:
                continue
            if node.op == "placeholder":
                return min(units), max(units) + 1
            for source in node.all_input_nodes:
                if source in self._steps:
                    read = self._read(node, source, axis, units)
                    if read is None:
                        return whole
                    wanted[source] = wanted.get(source, frozenset()) | read
        return 0, 0

    def _is_placed(self, axis: int, unit: int) -> bool:
        """Returns whether the layer has rows and columns.

        Raises:
            InvalidOption: It has not so many.
        """
        grid = self._grids.get(self._node)
        if grid is not None and not 0 <= unit < grid.sizes[axis]:
            raise InvalidOption(
                f"the layer has {grid.sizes[axis]} {('rows', 'columns')[axis]}, counted from 0; given {unit}"
            )
        return grid is not None

    def _read(self, node: fx.Node, source: fx.Node, axis: int, units: Units) -> Units | None:
        """Returns the units of a source that an operation reads for its own; nothing where it may be any."""
        before, after = self._grids.get(source), self._grids.get(node)
        if before is None or after is None:
            return None
        read = _read(self._steps[node], before, after, axis, units)
        return frozenset(range(before.sizes[axis])) if read is None else read


def _require_graph(network: Network, layer: str) -> fx.GraphModule:
    """Returns the network's graph.

    Raises:
        NetworkError: It has none, or has not run.
        InvalidOption: It has no such layer.
    """
    if network.graph is None or network.input_shape is None:
        raise NetworkError("receptive fields need the network's graph, of a network that has run")
    if layer not in network.nodes:
        raise InvalidOption(f"layer is {layer!r}, which is no layer's name here: see network.layers")
    return network.graph


def _read(step: Step, before: Grid, after: Grid, axis: int, units: Units) -> Units | None:
    """Returns the places of a tensor that an operation reads along an axis; nothing for all of them."""
    size = before.sizes[axis]
    if step.name in _WINDOWED:
        return _in_range(_taps(step, axis, units), size, step.says("padding_mode", "zeros"))
    if step.name in _ADAPTIVE:
        return _adaptive(units, size, after.sizes[axis])
    if step.name in _RESIZING:
        return _resized(step, axis, units, size, after.sizes[axis])
    if step.name == "convtranspose2d":
        return _transposed(step, axis, units, size)
    if step.name == "pad" or layer_kind(step.name) == "padding":
        return _padded(step, axis, units, size)
    if step.name == "getitem":
        return _sliced(step, before.axes[axis], units, size)
    return _same(units, size, after.sizes[axis]) if _stays(step, before) else None


def _stays(step: Step, before: Grid) -> bool:
    """Returns whether each value comes of those in the same place alone, or of one that all places share."""
    if any(name in step.name for name in _SPREADING):
        return False
    if step.name.startswith("layernorm") and step.module is not None:
        # Torchvision's for images has the channels last for a moment; of others only the last axes are taken.
        taken = len(step.says("normalized_shape"))
        rank = len(step.shape or ())
        return step.name == "layernorm2d" or all(axis < rank - taken for axis in before.axes)
    in_place = step.name in _MOVING | _RESHAPING | _CONCATENATING or is_pointwise(step)
    return in_place or layer_kind(step.name) == "linear"


def _same(units: Units, size: int, after: int) -> Units | None:
    if size == after:
        return units
    return frozenset({0}) if size == 1 else None


def _of_axis(value: Any, axis: int, default: int) -> int:  # noqa: ANN401 - of any operation
    if value is None or value == [] or value == ():
        return default
    return int(value) if isinstance(value, int | float) else int(value[min(axis, len(value) - 1)])


def _kernel(step: Step, axis: int) -> int:
    weight = step.says("weight")
    return step.shapes[weight][2 + axis] if isinstance(weight, fx.Node) else _of_axis(step.says("kernel_size"), axis, 1)


def _taps(step: Step, axis: int, units: Units) -> Iterable[int]:
    """Returns what windows read, padding included."""
    kernel, dilation = _kernel(step, axis), _of_axis(step.says("dilation"), axis, 1)
    is_conv = step.name == "conv2d" or isinstance(step.module, nn.Conv2d)
    stride = _of_axis(step.says("stride"), axis, 1 if is_conv else kernel)
    padding = step.says("padding")
    if padding == "same":
        padding = dilation * (kernel - 1) // 2
    before = 0 if padding == "valid" else _of_axis(padding, axis, 0)
    return (unit * stride - before + tap * dilation for unit in units for tap in range(kernel))


def _in_range(places: Iterable[int], size: int, mode: str) -> Units:
    """Returns the places inside, and those that a padding takes the values of others from."""
    if mode in ("zeros", "constant"):
        return frozenset(place for place in places if 0 <= place < size)
    return frozenset(_BEYOND[mode](place, size) for place in places)


def _reflected(place: int, size: int) -> int:
    place = abs(place)
    return place if place < size else 2 * (size - 1) - place


_BEYOND: dict[str, Callable[[int, int], int]] = {
    "reflect": _reflected,
    "replicate": lambda place, size: min(max(place, 0), size - 1),
    "circular": lambda place, size: place % size,
}


def _adaptive(units: Units, size: int, after: int) -> Units:
    return frozenset(place for unit in units for place in range(unit * size // after, -(-(unit + 1) * size // after)))


def _resized(step: Step, axis: int, units: Units, size: int, after: int) -> Units | None:
    mode = "bilinear" if step.name == "upsamplingbilinear2d" else step.says("mode", "nearest")
    factor = step.says("scale_factor")
    scale = size / after if factor is None else 1 / _number(factor, axis)
    if mode == "nearest":
        return frozenset(min(floor(unit * scale), size - 1) for unit in units)
    if mode == "nearest-exact":
        return frozenset(min(floor((unit + 0.5) * scale), size - 1) for unit in units)
    if mode != "bilinear":
        return None
    if step.says("align_corners"):
        middles = [unit * (size - 1) / max(after - 1, 1) for unit in units]
    else:
        middles = [max((unit + 0.5) * scale - 0.5, 0.0) for unit in units]
    return frozenset(min(place, size - 1) for at in middles for place in (floor(at), ceil(at)))


def _number(value: Any, axis: int) -> float:  # noqa: ANN401 - of any operation
    return float(value) if isinstance(value, int | float) else float(value[min(axis, len(value) - 1)])


def _transposed(step: Step, axis: int, units: Units, size: int) -> Units:
    kernel, stride = _kernel(step, axis), _of_axis(step.says("stride"), axis, 1)
    padding, dilation = _of_axis(step.says("padding"), axis, 0), _of_axis(step.says("dilation"), axis, 1)
    reached = (unit + padding - tap * dilation for unit in units for tap in range(kernel))
    return frozenset(place // stride for place in reached if place % stride == 0 and 0 <= place // stride < size)


def _padded(step: Step, axis: int, units: Units, size: int) -> Units | None:
    given = step.says("padding") if step.module is not None else step.says("pad")
    around = [given] * 4 if isinstance(given, int) else list(given)
    if not all(isinstance(one, int) for one in around):
        return None
    before = around[0] if axis == 1 else (around[2] if len(around) > 2 else 0)
    mode = step.says("mode", "constant") if step.module is None else _mode_of(step.name)
    return _in_range((unit - before for unit in units), size, mode)


def _mode_of(name: str) -> str:
    words = {"reflection": "reflect", "replication": "replicate", "circular": "circular"}
    return next((mode for word, mode in words.items() if name.startswith(word)), "constant")


def _sliced(step: Step, axis: int, units: Units, size: int) -> Units | None:
    index = step.says("index")
    if isinstance(index, int):
        return units
    one = index[axis] if isinstance(index, tuple) and axis < len(index) else slice(None)
    if not isinstance(one, slice):
        return None
    taken = range(*one.indices(size))
    return frozenset(taken[unit] for unit in units if unit < len(taken))
