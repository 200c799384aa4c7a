"""Layers: the calls of a forward pass, named in its order."""

import re
from collections import Counter
from typing import NamedTuple

import torch
from torch import fx, nn

from attribution.networks.graph import cuts, getitem_source, is_tuple, operation, tensor_nodes

_ACTIVATIONS = re.compile(
    r"relu|relu6|leakyrelu|prelu|rrelu|elu|celu|selu|gelu|glu|silu|mish|sigmoid|logsigmoid|hardsigmoid|tanh|hardtanh"
    r"|hardswish|softmax|softmax2d|logsoftmax|softmin|softplus|softsign|hardshrink|softshrink|tanhshrink|threshold"
    r"|clamp|clip"
)
_KINDS = (
    ("attention", r"attention"),
    ("normalisation", r"norm"),
    ("pooling", r"pool|^mean$"),
    ("conv", r"^(lazy)?conv"),
    ("linear", r"^(bi|lazy)?linear$|^addmm$|^matmul$"),
    ("dropout", r"drop|stochasticdepth"),
    ("flatten", r"^flatten$"),
    ("addition", r"^add$"),
    ("multiplication", r"^mul$"),
    ("concatenation", r"^(cat|concat|concatenate|stack)$"),
    ("padding", r"pad"),
    ("resize", r"upsample|interpolate|pixelshuffle"),
    ("reshape", r"^(view|reshape|permute|transpose|squeeze|unsqueeze|getitem|expand|contiguous|unflatten|roll)$"),
    ("identity", r"^identity$"),
)


class Layer(NamedTuple):
    """One call in the forward pass.

    ``name`` is the module path (``features.0``), ``path:2`` for the second call of the same module, and
    ``owner.op`` for a function called in the forward of the module ``owner``. ``shape`` is that of the output without
    the batch, known once the network has run or was given its input shape. ``cuts`` says that every path from the
    input to the output runs through this layer.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None
    cuts: bool


def layer_kind(name: str) -> str:
    """Returns what kind of layer an operation or a module's class is.

    >>> layer_kind("batchnorm2d"), layer_kind("adaptive_avg_pool2d"), layer_kind("leaky_relu"), layer_kind("cumsum")
    ('normalisation', 'pooling', 'activation', 'other')
    """
    plain = name.replace("_", "").lower()
    if _ACTIVATIONS.fullmatch(plain):
        return "activation"
    return next((kind for kind, pattern in _KINDS if re.search(pattern, plain)), "other")


def named_layers(graph_module: fx.GraphModule) -> dict[fx.Node, Layer]:
    """Returns the layers of a graph in forward order, without shapes."""
    nodes = tensor_nodes(graph_module)
    on_every_path = cuts(graph_module, nodes)
    calls: Counter[str] = Counter()
    found: dict[fx.Node, Layer] = {}
    for node, name in nodes.items():
        if node.op == "placeholder" or is_tuple(name) or _is_discarded(node):
            continue
        path, kind = _path_and_kind(node, name, nodes)
        calls[path] += 1
        unique = path if calls[path] == 1 else f"{path}:{calls[path]}"
        found[node] = Layer(unique, kind, None, node in on_every_path)
    return found


def _is_discarded(node: fx.Node) -> bool:
    return not node.users


def _path_and_kind(node: fx.Node, name: str, nodes: dict[fx.Node, str]) -> tuple[str, str]:
    source = getitem_source(node)
    if source is not None and source.op == "call_module" and is_tuple(nodes.get(source, "")):
        # The tensor that a module with a tuple for output hands on is that module's output.
        return str(source.target), layer_kind(nodes[source])
    if node.op == "call_module":
        return str(node.target), layer_kind(name)
    owner = owner_path(node)
    return (f"{owner}.{name}" if owner else name), layer_kind(name)


def owner_path(node: fx.Node) -> str:
    """Returns the path of the module in whose forward a function was called; empty for the network itself."""
    stack = node.meta.get("nn_module_stack")
    return str(list(stack.values())[-1][0]) if stack else ""


class _Shapes(fx.Interpreter):
    """Runs a graph and notes the shape of every tensor."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__(graph_module)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.shapes[n] = tuple(result.shape[1:])
        return result


def layer_shapes(graph_module: fx.GraphModule, probe: torch.Tensor) -> dict[fx.Node, tuple[int, ...]]:
    """Returns the shape, without the batch, of every tensor in the graph; costs one forward pass of the probe."""
    interpreter = _Shapes(graph_module)
    with torch.no_grad():
        interpreter.run(probe)
    return interpreter.shapes


class LinearHead(NamedTuple):
    """The last linear layer, where its output is the network's."""

    name: str
    in_features: int
    out_features: int


def linear_head(graph_module: fx.GraphModule, names: dict[fx.Node, Layer]) -> LinearHead | None:
    """Returns the linear layer that feeds the output, through nothing but identities and dropouts; else nothing."""
    node = graph_module.graph.output_node().args[0]
    while isinstance(node, fx.Node) and node in names and names[node].kind in ("identity", "dropout"):
        node = node.args[0]
    if not isinstance(node, fx.Node) or node not in names or names[node].kind != "linear":
        return None
    shape = _weight_shape(graph_module, node)
    return None if shape is None else LinearHead(names[node].name, shape[1], shape[0])


def _weight_shape(graph_module: fx.GraphModule, node: fx.Node) -> tuple[int, int] | None:
    """Returns ``(out_features, in_features)`` of a linear module, or of a function with a stored weight."""
    if node.op == "call_module":
        module = graph_module.get_submodule(str(node.target))
        return (module.out_features, module.in_features) if isinstance(module, nn.Linear) else None
    weight = node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")
    if operation(node, {}) != "linear" or not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return None
    path, _, name = str(weight.target).rpartition(".")
    rows, columns = getattr(graph_module.get_submodule(path), name).shape
    return int(rows), int(columns)
