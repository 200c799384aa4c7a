"""Where the units of a tensor look in the image, operation by operation.

A unit that sees a window of pixels stands for the window's middle. Through a window of ``k`` units, ``s`` apart, padded
by ``p`` and dilated by ``d``, with ``start`` and ``stride`` in pixels:
``start += stride (d (k - 1) / 2 - p)``, ``field += stride d (k - 1)``, ``stride *= s``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import fx, nn

from attribution.networks.layers import layer_kind

_POINTWISE_KINDS = frozenset({"activation", "normalisation", "dropout", "identity"})
_POINTWISE = frozenset(
    {"add", "radd", "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "div", "truediv", "itruediv", "addcmul"}
    | {"neg", "pow", "square", "sqrt", "rsqrt", "exp", "log", "abs", "maximum", "minimum", "clone", "detach", "to"}
    | {"float", "double", "half", "type", "typeas", "contiguous", "chunk", "split", "maybeaddmask"}
)
_RESHAPED = frozenset({"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "expand"})
_WINDOW = ("kernel_size", "stride", "padding", "dilation")
#: Arguments of functions in order; what comes behind them says nothing of places.
_ARGUMENTS = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation"),
    "maxpool2d": ("input", *_WINDOW),
    "avgpool2d": ("input", "kernel_size", "stride", "padding"),
    "adaptiveavgpool2d": ("input", "output_size"),
    "adaptivemaxpool2d": ("input", "output_size"),
    "interpolate": ("input", "size", "scale_factor", "mode", "align_corners"),
    "pad": ("input", "pad", "mode"),
    "mean": ("input", "dim", "keepdim"),
    "cat": ("tensors", "dim"),
    "permute": ("input", "dims"),
    "transpose": ("input", "dim0", "dim1"),
    "movedim": ("input", "source", "destination"),
    "getitem": ("input", "index"),
    "swapaxes": ("input", "dim0", "dim1"),
    "chunk": ("input", "chunks", "dim"),
    "split": ("tensor", "split_size", "dim"),
    "unbind": ("input", "dim"),
    "softmax": ("input", "dim"),
    "shiftedwindowattention": ("input", "qkv", "projection", "bias", "window_size"),
}

Pair = tuple[float, float]


class Grid(NamedTuple):
    """Where the units of a tensor look.

    ``axes`` of the tensor, with its batch, are its rows and columns, ``sizes`` how many there are; ``start`` is the
    first unit's middle, ``stride`` the distance to the next and ``field`` the window's size, in pixels of the image.
    """

    axes: tuple[int, int]
    sizes: tuple[int, int]
    start: Pair
    stride: Pair
    field: Pair


class Step(NamedTuple):
    """One operation: its ``name`` in small letters, its module or arguments by name, and the shape that it gives."""

    name: str
    module: nn.Module | None
    arguments: Mapping[str, Any]
    shapes: Mapping[fx.Node, tuple[int, ...]]
    shape: tuple[int, ...] | None

    def says(self, argument: str, default: Any = None) -> Any:  # noqa: ANN401 - of any operation
        """Returns what is said of the operation, by its module or its call."""
        if self.module is not None:
            return getattr(self.module, argument, default)
        return self.arguments.get(argument, default)


def image_grid(shape: Sequence[int]) -> Grid:
    """Returns the grid of images ``(batch, channels, height, width)``: a unit a pixel."""
    return Grid((2, 3), (shape[2], shape[3]), (0.5, 0.5), (1.0, 1.0), (1.0, 1.0))


def step_of(
    node: fx.Node,
    name: str,
    modules: Mapping[str, nn.Module],
    shapes: Mapping[fx.Node, tuple[int, ...]],
    numbers: Mapping[fx.Node, Any],
) -> Step:
    """Returns what a node of a graph does; ``numbers`` are what other nodes computed of sizes, as for a padding."""
    plain = name.replace("_", "").lower()
    if node.op == "call_module":
        return Step(plain, modules[str(node.target)], {}, shapes, shapes.get(node))
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda of: numbers.get(of, of))
    given = dict(zip(_ARGUMENTS.get(plain, ()), args, strict=False)) | dict(kwargs)
    if plain in ("permute", "view", "reshape") and len(args) > 2:
        given["dims"] = args[1:]
    return Step(plain, None, given, shapes, shapes.get(node))


def grid_behind(step: Step, grids: Sequence[Grid], unplaced: Sequence[tuple[int, ...]]) -> Grid | None:
    """Returns the grid of what a step gives from those of the tensors that it takes; nothing where it has none.

    It has none where it also takes a tensor of the image, one of the shapes ``unplaced``, that has a value a unit and
    no grid: what the units see through it is unknown. One that is the same for all units, a gate, moves none.
    """
    if any(_has_units(shape, grid) for shape in unplaced for grid in grids):
        return None
    if step.name in _RULES:
        return _RULES[step.name](step, grids[0])
    kind = layer_kind(step.name)
    if is_pointwise(step):
        return _merged(step, grids)
    if step.name in _RESHAPED:
        return _kept(step, grids[0])
    if kind == "padding" and step.module is not None:
        return _padded(grids[0], step.says("padding"), step)
    if kind == "linear" and step.module is not None and step.shape is not None:
        # It works along the last axis, at each place by itself.
        return None if len(step.shape) - 1 in grids[0].axes else grids[0]
    if step.name in ("cat", "concat", "concatenate"):
        return _concatenated(step, grids)
    return None


def is_pointwise(step: Step) -> bool:
    """Returns whether a step leaves every value where it is."""
    return step.name in _POINTWISE or layer_kind(step.name) in _POINTWISE_KINDS


def _has_units(shape: tuple[int, ...], grid: Grid) -> bool:
    """Returns whether a tensor has a value for each unit of a grid."""
    return len(shape) > max(grid.axes) and (shape[grid.axes[0]], shape[grid.axes[1]]) == grid.sizes


def _sized(grid: Grid, step: Step) -> Grid | None:
    """Returns the grid with the sizes that its axes have behind the step."""
    if step.shape is None:
        return grid
    if max(grid.axes) >= len(step.shape):
        return None
    return grid._replace(sizes=(step.shape[grid.axes[0]], step.shape[grid.axes[1]]))


def _merged(step: Step, grids: Sequence[Grid]) -> Grid | None:
    """Returns the grid of values taken together: the widest that has as many units as they."""
    fitting = [grid for grid in grids if (sized := _sized(grid, step)) is not None and sized.sizes == grid.sizes]
    return max(fitting, key=lambda grid: grid.field, default=None)


def _concatenated(step: Step, grids: Sequence[Grid]) -> Grid | None:
    axis = step.says("dim", 0)
    if not isinstance(axis, int) or step.shape is None or axis % len(step.shape) in grids[0].axes:
        return None
    return _merged(step, grids)


def _is_last(grid: Grid, step: Step) -> bool:
    """Returns whether the last two axes are the grid's, which is where windows run."""
    return step.shape is not None and grid.axes == (len(step.shape) - 2, len(step.shape) - 1)


def _pair(value: Any, default: float) -> Pair | None:  # noqa: ANN401 - of any operation
    value = default if value is None or value == [] else value
    if isinstance(value, int | float):
        return float(value), float(value)
    if isinstance(value, list | tuple) and len(value) in (1, 2) and all(isinstance(one, int | float) for one in value):
        return float(value[0]), float(value[-1])
    return None


def _windows(step: Step, grid: Grid) -> Grid | None:
    """Returns the grid behind a convolution or pooling."""
    weight = step.says("weight")
    given = step.shapes[weight][2:] if isinstance(weight, fx.Node) else step.says("kernel_size")
    kernel, dilation = _pair(given, 1.0), _pair(step.says("dilation"), 1.0)
    if kernel is None or dilation is None or not _is_last(grid, step):
        return None
    reach = (dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1))
    of_convolution = step.name == "conv2d" or isinstance(step.module, nn.Conv2d)
    strides = [_pair(step.says("stride"), 1.0 if of_convolution else kernel[axis]) for axis in (0, 1)]
    padding: Any = step.says("padding")
    if padding == "same":
        padding = [reach[0] // 2, reach[1] // 2]
    before = _pair(0 if padding == "valid" else padding, 0.0)
    if before is None or strides[0] is None or strides[1] is None:
        return None
    stride = (strides[0][0], strides[1][1])
    return _sized(_through(grid, (reach[0] / 2 - before[0], reach[1] / 2 - before[1]), stride, reach), step)


def _through(grid: Grid, shift: Pair, stride: Pair, reach: Pair) -> Grid:
    """Returns the grid of windows: shifted, apart and reaching by so many units."""
    (row, column), (down, across), (high, wide) = grid.start, grid.stride, grid.field
    return grid._replace(
        start=(row + down * shift[0], column + across * shift[1]),
        stride=(down * stride[0], across * stride[1]),
        field=(high + down * reach[0], wide + across * reach[1]),
    )


def _transposed(step: Step, grid: Grid) -> Grid | None:
    kernel, stride = _pair(step.says("kernel_size"), 1.0), _pair(step.says("stride"), 1.0)
    padding, dilation = _pair(step.says("padding"), 0.0), _pair(step.says("dilation"), 1.0)
    if kernel is None or stride is None or padding is None or dilation is None or not _is_last(grid, step):
        return None
    shift = [(padding[axis] - dilation[axis] * (kernel[axis] - 1) / 2) / stride[axis] for axis in (0, 1)]
    reach = [-(-kernel[axis] * dilation[axis] // stride[axis]) - 1 for axis in (0, 1)]
    return _sized(_through(grid, (shift[0], shift[1]), (1 / stride[0], 1 / stride[1]), (reach[0], reach[1])), step)


def _resized(step: Step, grid: Grid) -> Grid | None:
    """Returns the grid behind an adaptive pooling or a resize: as many units as it has, evenly over those before."""
    after = _sized(grid, step)
    if after is None or not _is_last(grid, step):
        return None
    stride = (grid.sizes[0] / after.sizes[0], grid.sizes[1] / after.sizes[1])
    shift, reach = ((stride[0] - 1) / 2, (stride[1] - 1) / 2), (_reach(stride[0]), _reach(stride[1]))
    if step.says("align_corners") is True:
        stride = (_between(grid.sizes[0], after.sizes[0]), _between(grid.sizes[1], after.sizes[1]))
        shift = (0.0, 0.0)
    return _through(grid, shift, stride, reach)._replace(sizes=after.sizes)


def _reach(ratio: float) -> float:
    """Returns how far a window reaches beyond its first unit; one that is no whole number of them, one unit more."""
    return max(1.0, ratio) if ratio % 1 else ratio - 1


def _between(before: int, after: int) -> float:
    """Returns the distance of units when the first and the last stay where they are."""
    return (before - 1) / max(after - 1, 1)


def _averaged(step: Step, grid: Grid) -> Grid | None:
    axes, keeps = step.says("dim"), step.says("keepdim", False)
    if step.shape is None or not keeps or not isinstance(axes, list | tuple):
        return None
    return _resized(step, grid) if {axis % len(step.shape) for axis in axes} == set(grid.axes) else None


def _padded(grid: Grid, padding: Any, step: Step) -> Grid | None:  # noqa: ANN401 - of any operation
    around = [padding] * 4 if isinstance(padding, int) else list(padding)
    if not _is_last(grid, step) or not all(isinstance(one, int) for one in around):
        return None
    left, top = around[0], around[2] if len(around) > 2 else 0
    return _sized(_through(grid, (-top, -left), (1.0, 1.0), (0.0, 0.0)), step)


def _kept(step: Step, grid: Grid) -> Grid | None:
    """Returns the grid behind a reshape that leaves rows and columns last."""
    shape = step.shape
    if shape is None or len(shape) < 3 or tuple(shape[-2:]) != grid.sizes:
        return None
    return grid._replace(axes=(len(shape) - 2, len(shape) - 1))


def _moved(order: Sequence[int], grid: Grid) -> Grid:
    """Returns the grid where axis ``i`` now is what was axis ``order[i]``."""
    order = [axis % len(order) for axis in order]
    return grid._replace(axes=(order.index(grid.axes[0]), order.index(grid.axes[1])))


def _permuted(step: Step, grid: Grid) -> Grid | None:
    order = step.says("dims")
    if not isinstance(order, list | tuple) or not all(isinstance(one, int) for one in order):
        return None
    return _moved(order, grid)


def _swapped(step: Step, grid: Grid) -> Grid | None:
    one, other = step.says("dim0"), step.says("dim1")
    if step.shape is None or not isinstance(one, int) or not isinstance(other, int):
        return None
    order = list(range(len(step.shape)))
    order[one], order[other] = order[other], order[one]
    return _moved(order, grid)


def _axis_moved(step: Step, grid: Grid) -> Grid | None:
    source, destination = step.says("source"), step.says("destination")
    if step.shape is None or not isinstance(source, int) or not isinstance(destination, int):
        return None
    order = list(range(len(step.shape)))
    order.insert(destination % len(order), order.pop(source % len(order)))
    return _moved(order, grid)


def _sliced(step: Step, grid: Grid) -> Grid | None:
    """Returns the grid of a part of a tensor, as ``x[:, :, ::2, ::2]``, or of one of several tensors."""
    index = step.says("index")
    if isinstance(index, int):
        return _merged(step, [grid])
    axes, start, stride, now = list(grid.axes), list(grid.start), list(grid.stride), 0
    for before, one in enumerate(index if isinstance(index, tuple) else (index,)):
        if isinstance(one, int) and before not in grid.axes:
            continue
        if not isinstance(one, slice) or not all(
            isinstance(end, int | None) for end in (one.start, one.stop, one.step)
        ):
            return None
        if before in grid.axes:
            place = grid.axes.index(before)
            first, _, pace = one.indices(grid.sizes[place])
            axes[place], start[place], stride[place] = now, start[place] + stride[place] * first, stride[place] * pace
        now += 1
    dropped = len(index) - now if isinstance(index, tuple) else 0
    places = [axis if axis != grid.axes[place] else axis - dropped for place, axis in enumerate(axes)]
    return _sized(
        grid._replace(axes=(places[0], places[1]), start=(start[0], start[1]), stride=(stride[0], stride[1])), step
    )


def _attended(step: Step, grid: Grid) -> Grid | None:
    """Returns the grid behind attention in windows, of which a unit sees its own, wherever in it it lies."""
    size = _pair(step.says("window_size"), 1.0)
    reach = (0.0, 0.0) if size is None else (2 * (size[0] - 1), 2 * (size[1] - 1))
    return None if size is None else _merged(step, [_through(grid, (0.0, 0.0), (1.0, 1.0), reach)])


def _neighbours(step: Step, grid: Grid) -> Grid | None:
    """Returns the grid of two by two units put into one."""
    return _sized(_through(grid, (0.5, 0.5), (2.0, 2.0), (1.0, 1.0)), step)


def _constant(step: Step, grid: Grid) -> Grid | None:
    return _padded(grid, step.says("pad"), step)


_RULES: dict[str, Callable[[Step, Grid], Grid | None]] = {
    "conv2d": _windows,
    "maxpool2d": _windows,
    "avgpool2d": _windows,
    "lppool2d": _windows,
    "convtranspose2d": _transposed,
    "adaptiveavgpool2d": _resized,
    "adaptivemaxpool2d": _resized,
    "interpolate": _resized,
    "upsample": _resized,
    "mean": _averaged,
    "pad": _constant,
    "permute": _permuted,
    "transpose": _swapped,
    "movedim": _axis_moved,
    "getitem": _sliced,
    "swapaxes": _swapped,
    "shiftedwindowattention": _attended,
    "patchmergingpad": _neighbours,
}
