"""Which operations of a graph are local: a unit of theirs sees a window of units before it, at the same offset each.

Of such an operation a box of units can be computed from a box of what it takes. All others (attention, means over the
image, reshapes, what computes with sizes) are not here, and need whole tensors.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.nn import functional

from attribution.networks.graph import operation, tensor_nodes
from attribution.networks.operations import Kind, operation_kinds, sources
from attribution.perturbation.windows import Spans

#: Operations place by place, beside those of kind ``activation``; the first need not be of any kind.
_OF_TWO = frozenset({"maximum", "minimum"})
_PLACE_BY_PLACE = frozenset(
    {"add", "sub", "rsub", "mul", "div", "truediv", "neg", "clone", "contiguous", "identity", "to", "type", "float"}
    | {"double", "half", "bfloat16", "dropout", "dropout1d", "dropout2d", "dropout3d", "alphadropout"}
    | {"featurealphadropout", "stochasticdepth", "batchnorm", "batchnorm2d", *_OF_TWO}
)
#: Their tensors are one value a channel, whatever their shape.
_BY_CHANNEL = frozenset({"batchnorm", "batchnorm2d", "prelu"})
_CONCATENATIONS = frozenset({"cat", "concat", "concatenate"})
#: Code whose names mean what they say; a function of somebody else's may be called anything.
_KNOWN = frozenset({"torch", "torchvision", "attribution", "_operator"})
_WINDOW = ("input", "kernel_size", "stride", "padding")
_ARGUMENTS = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "maxpool2d": (*_WINDOW, "dilation", "ceil_mode"),
    "avgpool2d": (*_WINDOW, "ceil_mode", "count_include_pad", "divisor_override"),
    "pad": ("input", "pad", "mode", "value"),
}

Run = Callable[[Sequence[torch.Tensor]], torch.Tensor]
Values = Mapping[fx.Node, Any]


class Reach(NamedTuple):
    """Along one axis: unit ``i`` sees ``kernel`` units, ``dilation`` apart, from ``i * stride - before`` on."""

    kernel: int = 1
    stride: int = 1
    before: int = 0
    dilation: int = 1

    @property
    def width(self) -> int:
        """From the first unit that is seen to the last."""
        return self.dilation * (self.kernel - 1) + 1

    def changed(self, given: Spans, n_units: int) -> Spans:
        """Returns the units behind that see any of the given ones, of so many; one at least, which may see none.

        >>> Reach(kernel=3, stride=2, before=1).changed(Spans(torch.tensor([4]), torch.tensor([6])), 8)
        Spans(start=tensor([2]), stop=tensor([4]))
        """
        if self == _PLACE:
            return given
        first = -((self.width - 1 - self.before - given.start) // self.stride)
        start = first.clamp(0, n_units - 1)
        stop = ((given.stop - 1 + self.before) // self.stride + 1).clamp(max=n_units)
        return Spans(start, torch.maximum(stop, start + 1))

    def seen(self, start: torch.Tensor, count: int) -> tuple[torch.Tensor, int]:
        """Returns the first unit that ``count`` units from ``start`` on see, and how many they see."""
        return start * self.stride - self.before, (count - 1) * self.stride + self.width


_PLACE = Reach()
"""Of an operation place by place."""


class Local(NamedTuple):
    """A local operation.

    Attributes:
        sources: The nodes whose boxes it takes.
        reach: What its units see of them, down and across.
        run: Computes units from patches of the sources that hold all that they see, and no more.
        edge: What lies beyond the border of the sources.
        scale: What each unit is multiplied by afterwards, ``(1, 1, height, width)``, where that differs.
    """

    sources: tuple[fx.Node, ...]
    reach: tuple[Reach, Reach]
    run: Run
    edge: float = 0.0
    scale: torch.Tensor | None = None


class _Step(NamedTuple):
    node: fx.Node
    name: str
    kind: Kind | None
    module: nn.Module | None
    sources: tuple[fx.Node, ...]
    values: Values
    call: Callable[[fx.Node, Any, Any], Any]

    @property
    def shape(self) -> torch.Size:
        shape: torch.Size = self.values[self.node].shape
        return shape

    def says(self, argument: str, default: Any = None) -> Any:  # noqa: ANN401 - of any operation
        """Returns what a module or a call says of the operation; constants as tensors."""
        if self.module is not None:
            return getattr(self.module, argument, default)
        names = _ARGUMENTS[self.name]
        found = dict(zip(names, self.node.args, strict=False)) | dict(self.node.kwargs)
        value = found.get(argument, default)
        return fx.node.map_arg(value, lambda of: self.values[of])


def local_operations(
    graph_module: fx.GraphModule, values: Values, call: Callable[[fx.Node, Any, Any], Any]
) -> dict[fx.Node, Local]:
    """Returns the local operations of a graph by their nodes.

    Args:
        graph_module: The graph.
        values: What each of its nodes gives for one image.
        call: Computes a node from its positional and named arguments.
    """
    modules, kinds = dict(graph_module.named_modules()), operation_kinds(graph_module)
    found: dict[fx.Node, Local] = {}
    for node in tensor_nodes(graph_module):
        if node.op != "placeholder" and _is_known(node, modules):
            module = modules[str(node.target)] if node.op == "call_module" else None
            name = operation(node, modules).replace("_", "").lower()
            step = _Step(node, name, kinds[node], module, tuple(sources(node, kinds)), values, call)
            if (local := _local(step)) is not None:
                found[node] = local
    return found


def _is_known(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Returns whether a node is an operation of torch's own."""
    if node.op == "call_module":
        module = modules[str(node.target)]
        return type(module).__module__.startswith("torch.nn.") and "forward" not in vars(module)
    if node.op == "call_method" or isinstance(node.target, OpOverload):
        return True
    # torch's functions in C have no module, and no globals either.
    home = getattr(node.target, "__module__", None)
    return not hasattr(node.target, "__globals__") if home is None else home.partition(".")[0] in _KNOWN


def _local(step: _Step) -> Local | None:
    if not all(_is_map(step.values[node]) for node in (step.node, *step.sources)):
        return None
    if step.name in _RULES:
        return _RULES[step.name](step)
    if step.name in _CONCATENATIONS:
        return _concatenated(step)
    is_by_place = step.kind == "activation" or (
        step.name in _PLACE_BY_PLACE and (step.kind is not None or step.name in _OF_TWO)
    )
    return _by_place(step) if is_by_place and _keep_places(step) and _has_plain_constants(step) else None


def _is_map(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() == 4 and value.shape[0] == 1


def _keep_places(step: _Step) -> bool:
    return all(step.values[node].shape[2:] == step.shape[2:] for node in step.sources)


def _has_plain_constants(step: _Step) -> bool:
    """Returns whether what else an operation takes is the same at each place."""
    others = [step.values[node] for node in step.node.all_input_nodes if node not in step.sources]
    tensors = [value for value in others if isinstance(value, torch.Tensor)]
    return step.name in _BY_CHANNEL or all(side == 1 for tensor in tensors for side in tensor.shape[-2:])


def _by_place(step: _Step) -> Local:
    """Returns the operation itself, called with patches."""
    # What else the closure needs is not kept: values of an image are large.
    node, call, taken = step.node, step.call, step.sources
    constants = {other: step.values[other] for other in node.all_input_nodes if other not in taken}

    def run(patches: Sequence[torch.Tensor]) -> torch.Tensor:
        given = constants | dict(zip(taken, patches, strict=True))
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda of: given[of])
        found: torch.Tensor = call(node, args, kwargs)
        return found

    return Local(taken, (_PLACE, _PLACE), run)


def _concatenated(step: _Step) -> Local | None:
    axis = step.node.args[1] if len(step.node.args) > 1 else step.node.kwargs.get("dim", 0)
    tensors = step.node.args[0] if step.node.args else step.node.kwargs.get("tensors")
    is_plain = isinstance(tensors, list | tuple) and all(tensor in step.sources for tensor in tensors)
    return _by_place(step) if axis in (1, -3) and is_plain and _keep_places(step) else None


def _convolution(step: _Step) -> Local | None:
    weight, bias = step.says("weight"), step.says("bias")
    is_plain = len(step.sources) == 1 and isinstance(weight, torch.Tensor) and weight.dim() == 4
    if not is_plain or (step.module is not None and step.says("padding_mode") != "zeros"):
        return None
    kernel, dilation, stride = tuple(weight.shape[2:]), _pair(step.says("dilation"), 1), _pair(step.says("stride"), 1)
    groups, padding = step.says("groups", 1), step.says("padding", 0)
    if padding == "valid":
        padding = 0
    if padding == "same":
        padding = [dilation[axis] * (kernel[axis] - 1) // 2 for axis in (0, 1)]

    def run(patches: Sequence[torch.Tensor]) -> torch.Tensor:
        return functional.conv2d(patches[0], weight, bias, stride, 0, dilation, groups)

    return Local(step.sources, _reaches(kernel, stride, _pair(padding, 0), dilation), run)


def _largest(step: _Step) -> Local | None:
    if step.kind != "maximum":
        return None
    kernel = _pair(step.says("kernel_size"), 1)
    stride, dilation = _pair(step.says("stride"), kernel), _pair(step.says("dilation"), 1)

    def run(patches: Sequence[torch.Tensor]) -> torch.Tensor:
        found: torch.Tensor = functional.max_pool2d(patches[0], kernel, stride, 0, dilation)
        return found

    return Local(
        step.sources, _reaches(kernel, stride, _pair(step.says("padding"), 0), dilation), run, edge=float("-inf")
    )


def _mean(step: _Step) -> Local:
    kernel = _pair(step.says("kernel_size"), 1)
    stride, padding = _pair(step.says("stride"), kernel), _pair(step.says("padding"), 0)
    local = Local(step.sources, _reaches(kernel, stride, padding, (1, 1)), _sums(kernel, stride))
    # At the border fewer units count, as the operation itself says; beyond it there is nothing to add.
    ones = torch.ones_like(step.values[step.sources[0]][:, :1])
    args, kwargs = fx.node.map_arg(
        (step.node.args, step.node.kwargs), lambda of: ones if of is step.sources[0] else step.values[of]
    )
    means = step.call(step.node, args, kwargs)
    down, across = (
        (units - 1) * reach.stride + reach.width for units, reach in zip(means.shape[2:], local.reach, strict=True)
    )
    below, right = down - padding[0] - ones.shape[2], across - padding[1] - ones.shape[3]
    counts = local.run([functional.pad(ones, (padding[1], right, padding[0], below))])
    return local._replace(scale=means / counts)


def _sums(kernel: tuple[int, int], stride: tuple[int, int]) -> Run:
    return lambda patches: functional.avg_pool2d(patches[0], kernel, stride, divisor_override=1)


def _adaptive(step: _Step) -> Local | None:
    given, units = step.values[step.sources[0]].shape[2:], step.shape[2:]
    if (step.name == "adaptivemaxpool2d" and step.kind != "maximum") or any(
        side % count for side, count in zip(given, units, strict=True)
    ):
        return None
    kernel = (given[0] // units[0], given[1] // units[1])
    pool = functional.max_pool2d if step.name == "adaptivemaxpool2d" else functional.avg_pool2d
    return Local(step.sources, _reaches(kernel, kernel, (0, 0), (1, 1)), lambda patches: pool(patches[0], kernel))


def _padded(step: _Step) -> Local | None:
    if step.module is not None:
        around = step.says("padding")
        value = getattr(step.module, "value", 0.0)
    else:
        around, value = step.says("pad"), step.says("value") or 0.0
        if step.says("mode", "constant") != "constant":
            return None
    around = [*around, 0, 0] if len(around) == 2 else list(around)
    if len(around) != 4 or not all(isinstance(one, int) and one >= 0 for one in around):
        return None
    reach = (Reach(before=around[2]), Reach(before=around[0]))
    return Local(step.sources, reach, lambda patches: patches[0], edge=float(value))


def _reaches(
    kernel: Sequence[int], stride: Sequence[int], before: Sequence[int], dilation: Sequence[int]
) -> tuple[Reach, Reach]:
    down, across = (Reach(*of_axis) for of_axis in zip(kernel, stride, before, dilation, strict=True))
    return down, across


def _pair(value: Any, default: int | tuple[int, int]) -> tuple[int, int]:  # noqa: ANN401 - of any operation
    value = default if value is None or value in ([], ()) else value
    if isinstance(value, int):
        return value, value
    return int(value[0]), int(value[-1])


_RULES: dict[str, Callable[[_Step], Local | None]] = {
    "conv2d": _convolution,
    "maxpool2d": _largest,
    "avgpool2d": _mean,
    "adaptiveavgpool2d": _adaptive,
    "adaptivemaxpool2d": _adaptive,
    "pad": _padded,
    "zeropad2d": _padded,
    "constantpad2d": _padded,
}
