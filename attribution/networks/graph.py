"""The ``torch.fx`` graph of a network: tracing, and what flows along it."""

import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload

from attribution.errors import NetworkError
from attribution.networks.hooks import call_with_hooks, has_forward_hooks
from attribution.networks.places import line_of_error

#: Questions about a tensor whose answers are no tensors; what is computed from them is none either.
_METADATA = frozenset(
    {"size", "dim", "ndimension", "numel", "nelement", "stride", "element_size", "storage_offset", "get_device"}
    | {"new_zeros", "new_ones", "new_empty", "new_full", "new_tensor", "zeros_like", "ones_like", "empty_like"}
    | {"_assert", "is_floating_point", "is_complex", "is_contiguous", "has_names", "__len__", "len"}
)
#: Attributes of a tensor that are no tensors. All others (``mT``, ``real``, ``data``) carry its values.
_PLAIN_ATTRIBUTES = frozenset(
    {"shape", "ndim", "dtype", "device", "layout", "names", "itemsize", "nbytes", "requires_grad", "is_leaf", "grad_fn"}
    | {"is_cuda", "is_cpu", "is_mps", "is_meta", "is_sparse", "is_quantized", "output_nr", "_version"}
)
#: What returns several tensors, as far as names tell; a network that has run tells by itself.
_TUPLES = frozenset(
    {"chunk", "split", "unbind", "tensor_split", "hsplit", "vsplit", "topk", "sort"}
    | {"multiheadattention", "lstm", "gru", "rnn"}
)


class NotTraceable(NetworkError):
    """The module has no faithful graph; the message is the reason."""


class _Proxy(fx.Proxy):
    """Records ``y += x`` as the change of ``y`` that it is; the ordinary proxy makes ``y = y + x`` of it."""

    def _record(self, target: Callable[..., Any], *arguments: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", target, (self, *arguments), {})

    def __iadd__(self, other: object) -> fx.Proxy:
        return self._record(operator.iadd, other)

    def __isub__(self, other: object) -> fx.Proxy:
        return self._record(operator.isub, other)

    def __imul__(self, other: object) -> fx.Proxy:
        return self._record(operator.imul, other)

    def __itruediv__(self, other: object) -> fx.Proxy:
        return self._record(operator.itruediv, other)

    def __setitem__(self, index: object, item: object) -> None:
        self._record(operator.setitem, index, item)


class _Tracer(fx.Tracer):
    def __init__(self) -> None:
        super().__init__(param_shapes_constant=True)
        self.failed: str | None = None
        """Path of the innermost module whose forward could not be traced."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # noqa: ANN401 - torch.fx's signature
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or self.path_of_module(m)
            raise

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # What hooks change is part of the graph, not hidden in a module that has rules of its own.
        return not has_forward_hooks(m) and super().is_leaf_module(m, module_qualified_name)


def traced(module: nn.Module) -> fx.GraphModule:
    """Returns the graph of a module's ``forward`` with one input; submodules are shared, not copied.

    Raises:
        NotTraceable: Control flow that depends on data, or anything else that symbolic tracing refuses.
    """
    tracer = _Tracer()
    try:
        _fix_defaults(module)
        graph = tracer.trace(module)
    except Exception as error:
        # Tracing runs the user's code on proxies, which may raise anything.
        what = f"{type(error).__name__}: {(str(error) or '-').splitlines()[0].rstrip('.')}"
        where = f"in module {tracer.failed!r}" if tracer.failed else f"in {type(module).__name__}.forward"
        raise NotTraceable(" ".join(filter(None, (what, where, line_of_error(error))))) from error
    if len(graph.find_nodes(op="placeholder")) != 1:
        raise NotTraceable(f"{type(module).__name__}.forward takes several inputs, expected one")
    return fx.GraphModule(tracer.root, graph, type(module).__name__)


def _fix_defaults(module: nn.Module) -> None:
    """Leaves ``forward`` of our copy with one argument, so that flags keep their default instead of being traced.

    Hooks of the module itself, which tracing would pass over, are called in it.
    """
    kind = type(module)
    hooked = has_forward_hooks(module)
    if hooked or len(inspect.signature(kind.forward).parameters) > 2:
        original: Callable[..., Any] = kind.forward

        def forward(self: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
            outputs: torch.Tensor = call_with_hooks(self, original, inputs) if hooked else original(self, inputs)
            return outputs

        module.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


def tolerate_layouts(graph_module: fx.GraphModule) -> None:
    """Lets every ``view`` copy where memory does not allow one: values come with the channels last."""
    for node in graph_module.graph.find_nodes(op="call_method", target="view"):
        if not any(isinstance(argument, torch.dtype) for argument in (*node.args, *node.kwargs.values())):
            node.target = "reshape"
    graph_module.recompile()


def operation(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """Returns the name of what a node computes: ``relu``, ``add``, ``conv2d``; for modules the class in lower case."""
    if node.op == "call_module":
        return type(modules[str(node.target)]).__name__.lower()
    if isinstance(node.target, str):
        return node.target
    if isinstance(node.target, OpOverload):
        return str(node.target.overloadpacket.__name__)
    if node.target is getattr:
        return str(node.args[1])
    return str(getattr(node.target, "__name__", node.target))


def tensor_nodes(graph_module: fx.GraphModule) -> dict[fx.Node, str]:
    """Returns nodes that carry what depends on the input's values, in forward order, with their operation."""
    modules = dict(graph_module.named_modules())
    found: dict[fx.Node, str] = {}
    for node in graph_module.graph.nodes:
        if node.op == "placeholder":
            found[node] = "input"
        elif node.op.startswith("call_") and any(argument in found for argument in node.all_input_nodes):
            name = operation(node, modules)
            if name not in (_PLAIN_ATTRIBUTES if node.target is getattr else _METADATA):
                found[node] = name
    return found


def is_tuple(name: str) -> bool:
    """Returns whether an operation returns several tensors."""
    return name.replace("_", "") in _TUPLES or name in _TUPLES


def cuts(graph_module: fx.GraphModule, nodes: dict[fx.Node, str]) -> frozenset[fx.Node]:
    """Returns the nodes that every path from the input to the output runs through.

    In topological order a node is one exactly where no edge between nodes on such paths jumps over it.
    """
    output = graph_module.graph.output_node()
    order = {node: place for place, node in enumerate(graph_module.graph.nodes)}
    useful = {output}
    for node in reversed(nodes):
        if any(user in useful for user in node.users):
            useful.add(node)
    found: set[fx.Node] = set()
    reach = 0
    for node in nodes:
        if node in useful:
            if reach <= order[node]:
                found.add(node)
            reach = max(reach, *(order[user] for user in node.users if user in useful))
    return frozenset(found)


def item_source(node: fx.Node) -> fx.Node | None:
    """Returns the node whose item or named field a node takes, or nothing where it takes none."""
    source = node.args[0] if node.target in (operator.getitem, getattr) else None
    return source if isinstance(source, fx.Node) else None
