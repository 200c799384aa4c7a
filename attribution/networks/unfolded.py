"""The graph inside a function that a graph takes as one operation, such as the windowed attention of Swin.

A function of Python, not of torch's, is run once with values at hand: each tensor that depends on the image is
followed, sizes are the numbers that they are, and every call of torch becomes a node. The graph is that of these sizes
alone.
"""

import operator
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import torch
from torch import fx, nn
from torch.fx.proxy import GraphAppendingTracer

from attribution.errors import NetworkError
from attribution.networks.graph import tensor_nodes


def is_unfoldable(node: fx.Node) -> bool:
    """Returns whether a node calls a function with an inside to look into: one of Python, and not of torch itself."""
    target = node.target
    return (
        node.op == "call_function"
        and isinstance(target, FunctionType)
        and target.__module__.partition(".")[0] not in ("torch", "_operator")
    )


def unfolded(node: fx.Node, followed: Mapping[fx.Node, torch.Tensor], others: Mapping[fx.Node, Any]) -> fx.GraphModule:
    """Returns what the function of a node does to tensors, as a graph that takes these.

    Args:
        node: One that is unfoldable.
        followed: What it takes and that depends on the image, in the order of the graph's inputs.
        others: All else that it takes.

    Raises:
        NetworkError: It decides by values, or changes what it takes in place.

    >>> def doubled_and_turned(x):
    ...     return (2 * x).view(x.shape[1], x.shape[0])
    >>> graph, values = fx.Graph(), torch.ones(2, 3)
    >>> taken = graph.placeholder("x")
    >>> inside = unfolded(graph.call_function(doubled_and_turned, (taken,)), {taken: values}, {})
    >>> [one.name for one in inside.graph.nodes], inside(values).shape
    (['value', 'mul', 'view', 'output'], torch.Size([3, 2]))
    """
    tracer, name, function = _Tracer(), str(getattr(node.target, "__name__", node.target)), node.target
    given: dict[fx.Node, Any] = {one: tracer.followed(value) for one, value in followed.items()} | dict(others)
    try:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), given.__getitem__)
        with torch.no_grad():
            result = function(*args, **kwargs) if callable(function) else None
        tracer.graph.output(tracer.create_arg(result))
    except Exception as error:
        # It is the user's code, on values that it does not expect.
        raise NetworkError(f"{name} cannot be looked into: {type(error).__name__}: {error}") from error
    graph = fx.GraphModule(tracer.root, tracer.graph, name)
    changed = tracer.changed & tensor_nodes(graph).keys()
    if changed:
        raise NetworkError(f"{name} cannot be looked into: it changes {next(iter(changed)).name} in place")
    return graph


class _Value(fx.Proxy):
    """What stands for a tensor, or several, with its value at hand."""

    def __init__(self, node: fx.Node, tracer: "_Tracer", value: Any) -> None:  # noqa: ANN401 - what torch gives
        super().__init__(node, tracer)
        self.value, self.owner = value, tracer

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as a tensor's own
        found = getattr(self.value, name)
        if isinstance(found, torch.Tensor):
            return self.owner.create_proxy("call_function", getattr, (self, name), {})
        if not callable(found):
            return found
        return lambda *args, **kwargs: self.owner.create_proxy("call_method", name, (self, *args), kwargs)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Any:  # noqa: ANN401 - of this class
        places = range(len(self.value))
        return iter([self.owner.create_proxy("call_function", operator.getitem, (self, one), {}) for one in places])

    def __setitem__(self, index: Any, item: Any) -> None:  # noqa: ANN401 - torch's signature
        self.owner.create_proxy("call_method", "__setitem__", (self, index, item), {})


class _Tracer(GraphAppendingTracer):
    """Records calls and makes them; what comes of one and is no tensor is itself."""

    def __init__(self) -> None:
        super().__init__(fx.Graph())
        self.root, self.values = nn.Module(), dict[fx.Node, Any]()
        self.changed: set[fx.Node] = set()
        """Nodes whose tensor some call changes in place."""

    def followed(self, value: torch.Tensor) -> _Value:
        """Returns what stands for a tensor that depends on the image."""
        return self._proxy(self.graph.placeholder("value"), value.detach())

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *_: Any, **__: Any) -> Any:  # noqa: ANN401
        node = self.create_node(kind, target, self.create_arg(args), self.create_arg(kwargs))
        own, named = fx.node.map_arg((node.args, node.kwargs), self.values.__getitem__)
        tensors = {one: self.values[one] for one in node.all_input_nodes if isinstance(self.values[one], torch.Tensor)}
        before = {one: value._version for one, value in tensors.items()}  # noqa: SLF001 - torch's count of changes
        result = getattr(own[0], target)(*own[1:], **named) if kind == "call_method" else target(*own, **named)
        self.changed |= {one for one, value in tensors.items() if value._version != before[one]}  # noqa: SLF001
        several = isinstance(result, tuple | list) and any(isinstance(one, torch.Tensor) for one in result)
        if several or isinstance(result, torch.Tensor) or result is None:
            return self._proxy(node, result)
        self.graph.erase_node(node)
        return result

    def create_arg(self, a: Any) -> Any:  # noqa: ANN401 - torch.fx's signature
        if not isinstance(a, torch.Tensor):
            return super().create_arg(a)
        name = f"constant_{len(self.values)}"
        # As a buffer it is one that no code changes.
        self.root.register_buffer(name, a.detach(), persistent=False)
        node = self.graph.get_attr(name)
        self.values[node] = a.detach()
        return node

    def _proxy(self, node: fx.Node, value: Any) -> _Value:  # noqa: ANN401 - what torch gives
        self.values[node] = value
        return _Value(node, self, value)
