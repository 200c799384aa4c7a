"""Layers: the calls of a forward pass, named in its order."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import fx

from attribution.networks.graph import cuts, is_tuple, item_source, tensor_nodes

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


def has_rows(value: object, n_points: int, shape: tuple[int, ...] | None) -> bool:
    """Returns whether a value is a float tensor ``(n_points, *shape)``; any shape goes where none is known.

    Windows of a transformer folded into the batch, and sequences whose first axis is not the batch, are not.
    """
    if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.dim() == 0:
        return False
    return len(value) == n_points and (shape is None or value.shape[1:] == shape)


def layer_kind(name: str) -> str:
    """Returns what kind of layer an operation or a module's class is.

    >>> layer_kind("batchnorm2d"), layer_kind("adaptive_avg_pool2d"), layer_kind("leaky_relu"), layer_kind("cumsum")
    ('normalisation', 'pooling', 'activation', 'other')
    """
    plain = name.replace("_", "").lower()
    if _ACTIVATIONS.fullmatch(plain):
        return "activation"
    return next((kind for kind, pattern in _KINDS if re.search(pattern, plain)), "other")


#: Marks in a node's ``meta`` of what ``rows_first`` adds, with the node that it is added to.
_MOVED, _BACK = "rows moved first", "rows moved back"


class Observed(NamedTuple):
    """What one node of a graph gave: the ``shape`` of a tensor without the batch, and the axis of its ``rows``.

    Of a value that is no tensor both are nothing; of a tensor whose rows are no axis (windows folded into the batch),
    the shape is that of all but the first axis. ``is_shared`` says that it is as large for two images as for one.
    """

    shape: tuple[int, ...] | None
    rows: int | None
    is_shared: bool = False


class _Noting(fx.Interpreter):
    """Runs a graph and notes something of every tensor."""

    def __init__(self, graph_module: fx.GraphModule, note: Callable[[fx.Node, torch.Tensor], Any]) -> None:
        super().__init__(graph_module)
        self._note = note
        self.noted: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        self.noted[n] = self._note(n, result) if isinstance(result, torch.Tensor) else None
        return result


def _noted(
    graph_module: fx.GraphModule, inputs: torch.Tensor, note: Callable[[fx.Node, torch.Tensor], Any]
) -> dict[fx.Node, Any]:
    run = _Noting(graph_module, note)
    with torch.no_grad():
        run.run(inputs)
    return run.noted


def observed(graph_module: fx.GraphModule, probes: torch.Tensor) -> dict[fx.Node, Observed]:
    """Returns what every node gives, from a pass of one probe and one of two: the axis that grows are the rows."""
    runs = [_noted(graph_module, probes[:count], lambda _, tensor: tensor.shape) for count in (1, 2)[: len(probes)]]
    one, two = runs[0], runs[-1]
    return {node: _observed(one[node], two[node]) for node in one}


def _observed(one: torch.Size | None, two: torch.Size | None) -> Observed:
    if one is None or two is None:
        return Observed(None, None)
    differing = [axis for axis, sides in enumerate(zip(one, two, strict=False)) if sides[0] != sides[1]]
    if len(one) != len(two) or len(differing) != 1 or (one[differing[0]], two[differing[0]]) != (1, 2):
        return Observed(tuple(one[1:]), None, is_shared=one == two)
    [rows] = differing
    return Observed((*one[:rows], *one[rows + 1 :]), rows)


def named_layers(graph_module: fx.GraphModule, seen: Mapping[fx.Node, Observed] | None = None) -> dict[fx.Node, Layer]:
    """Returns the layers of a graph in forward order; with their shapes, and without guesses, once it has run."""
    nodes = tensor_nodes(graph_module)
    on_every_path = cuts(graph_module, nodes)
    calls: Counter[str] = Counter()
    found: dict[fx.Node, Layer] = {}
    for node, name in nodes.items():
        if node.op == "placeholder" or not node.users or _is_several(node, name, seen) or _BACK in node.meta:
            continue
        given: fx.Node = node.meta.get(_MOVED, node)
        if given is node and any(user.meta.get(_MOVED) is node for user in node.users):
            continue
        path, kind = _path_and_kind(given, nodes[given], nodes, seen)
        calls[path] += 1
        unique = path if calls[path] == 1 else f"{path}:{calls[path]}"
        found[node] = Layer(unique, kind, None if seen is None else seen[node].shape, node in on_every_path)
    return found


def rows_first(graph_module: fx.GraphModule, seen: Mapping[fx.Node, Observed]) -> dict[fx.Node, Observed]:
    """Puts the rows of every tensor that has them elsewhere first, in a node behind it that all others read.

    A recurrent layer that takes the sequence first, say, gives ``(steps, batch, features)``.

    Returns:
        What is seen of the nodes as they are now.
    """
    found = dict(seen)
    for node, one in seen.items():
        if node.op == "placeholder" or one.rows in (None, 0) or not node.users or _is_settled(node):
            continue
        with graph_module.graph.inserting_after(node):
            first = graph_module.graph.call_function(torch.movedim, (node, one.rows, 0))
        with graph_module.graph.inserting_after(first):
            back = graph_module.graph.call_function(torch.movedim, (first, 0, one.rows))
        node.replace_all_uses_with(back, lambda user, first=first: user is not first)  # type: ignore[misc]  # its default
        first.meta[_MOVED], back.meta[_BACK] = node, node
        found[first] = found[back] = Observed(one.shape, 0)
    graph_module.recompile()
    return found


def _is_settled(node: fx.Node) -> bool:
    """Returns whether the rows of a node were put first before, for inputs of another size."""
    return not node.meta.keys().isdisjoint((_MOVED, _BACK)) or any(user.meta.get(_MOVED) is node for user in node.users)


def whole_batch(graph_module: fx.GraphModule, seen: Mapping[fx.Node, Observed], probes: torch.Tensor) -> fx.Node | None:
    """Returns the first node that gives one value for all images of a batch, such as their maximum, if there is one.

    Args:
        graph_module: The graph.
        seen: What its nodes give.
        probes: At least two inputs; what is the same for both does not depend on the images.
    """
    suspects = {node for node in tensor_nodes(graph_module) if node in seen and seen[node].is_shared}
    if not suspects:
        return None
    one, other = (
        _noted(graph_module, probe, lambda node, tensor: tensor if node in suspects else None)
        for probe in torch.split(probes[:2], 1)
    )
    return next((node for node in one if node in suspects and not torch.equal(one[node], other[node])), None)


def _is_several(node: fx.Node, name: str, seen: Mapping[fx.Node, Observed] | None) -> bool:
    return is_tuple(name) if seen is None or node not in seen else seen[node].shape is None


def _path_and_kind(
    node: fx.Node, name: str, nodes: Mapping[fx.Node, str], seen: Mapping[fx.Node, Observed] | None
) -> tuple[str, str]:
    source, origin = item_source(node), node
    while source is not None and source in nodes and _is_several(source, nodes[source], seen):
        origin, source = source, item_source(source)
    if origin is not node and origin.op == "call_module":
        # The tensors that a module with several outputs hands on are that module's outputs.
        return str(origin.target), layer_kind(nodes[origin])
    if node.op == "call_module":
        return str(node.target), layer_kind(name)
    owner = owner_path(node)
    return (f"{owner}.{name}" if owner else name), layer_kind(name)


def owner_path(node: fx.Node) -> str:
    """Returns the path of the module in whose forward a function was called; empty for the network itself."""
    stack = node.meta.get("nn_module_stack")
    return str(list(stack.values())[-1][0]) if stack else ""
