"""The layer that turns features into scores, found in the graph whatever it is written as, and what follows it."""

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from attribution.networks.agreement import agreement
from attribution.networks.graph import tensor_nodes
from attribution.networks.layers import Layer, owner_path

#: What a linear layer may be written as.
_LINEAR = frozenset({"linear", "addmm", "mm", "matmul", "einsum", "bmm", "baddbmm"})
#: Between the scores and the output: what hands every score on by itself.
_PASSED = frozenset(
    {"identity", "dropout", "contiguous", "clone", "to", "type", "float", "double", "half", "bfloat16"}
    | {"flatten", "view", "reshape", "squeeze", "alphadropout", "stochasticdepth"}
)
_SHIFTS = frozenset({"add", "sub"})
_SCALINGS = frozenset({"mul", "div", "truediv"})
_SQUASHES = {"softmax": "softmax", "sigmoid": "sigmoid"}


class Scores(NamedTuple):
    """A layer that computes scores from features, one at each place where it is a convolution.

    Attributes:
        node: Of the graph, whose result are the scores.
        features: The node whose result it reads.
        weight: ``(scores, d)``, detached.
        bias: ``(scores,)`` or nothing.
        path: Of the submodule that is this layer and nothing else; nothing where it is a function among others.
        is_spatial: Whether it is a pointwise convolution.
    """

    node: fx.Node
    features: fx.Node
    weight: torch.Tensor
    bias: torch.Tensor | None
    path: str | None
    is_spatial: bool


class LinearHead(NamedTuple):
    """Scores that are the network's output, up to what treats each of them by itself.

    Attributes:
        scores: The last linear layer.
        scale: What each score is multiplied by behind it, ``()`` or ``(classes,)``, float64.
        squash: ``"softmax"`` or ``"sigmoid"`` where the output is that of the scaled scores; a ``log_softmax``, which
            shifts all scores alike, is none.
    """

    scores: Scores
    scale: torch.Tensor
    squash: str | None


def scores_of(graph: fx.GraphModule, node: fx.Node, names: Mapping[fx.Node, str] | None = None) -> Scores | None:
    """Returns a node read as a layer of scores, or nothing where it is none.

    Args:
        graph: Of the network.
        node: One of its operations.
        names: Those that depend on the input, with their operations; found out unless told.
    """
    names = tensor_nodes(graph) if names is None else names
    read = [source for source in node.all_input_nodes if source in names]
    if node not in names or len(read) != 1:
        return None
    module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    if module is not None and not _is_as_written(module):
        found = None if isinstance(module, nn.Conv2d) else _measured(graph, node, read[0])
        return None if found is None else Scores(node, read[0], *found, str(node.target), is_spatial=False)
    if isinstance(module, nn.Linear):
        return Scores(node, read[0], module.weight.detach(), _detached(module.bias), str(node.target), is_spatial=False)
    if isinstance(module, nn.Conv2d):
        return _pointwise(node, read[0], module)
    if module is not None or names[node] not in _LINEAR:
        return None
    found = _stored(graph, node, names) or _measured(graph, node, read[0])
    return None if found is None else Scores(node, read[0], *found, _own_module(graph, node, names), is_spatial=False)


def with_shift(graph: fx.GraphModule, scores: Scores) -> Scores:
    """Returns scores with the constant that is added to them right behind as their bias, where they have none."""
    users = list(scores.node.users)
    name = tensor_nodes(graph).get(users[0]) if len(users) == 1 else None
    if scores.bias is not None or scores.is_spatial or name not in _SHIFTS or users[0].args[:1] == ():
        return scores
    [user] = users
    if name == "sub" and user.args[0] is not scores.node:
        return scores
    shift = next((_constant(graph, one) for one in user.args if one is not scores.node), None)
    if user.kwargs or shift is None or shift.numel() != len(scores.weight):
        return scores
    bias = shift.detach().flatten().to(scores.weight)
    return scores._replace(node=user, bias=-bias if name == "sub" else bias)


def linear_head(
    graph: fx.GraphModule, layers: Mapping[fx.Node, Layer], n_classes: int | None = None
) -> LinearHead | None:
    """Returns the linear layer that the output is made of, if what lies behind it treats every score by itself.

    A layer that gives scores of several tokens is none; that is known once the network has run.
    """
    names, node = tensor_nodes(graph), graph.graph.output_node().args[0]
    tail = _Tail(torch.ones((), dtype=torch.float64), None, is_bare=True)
    while isinstance(node, fx.Node) and node in names:
        step = _step(graph, node, names, tail)
        if step is None:
            break
        tail, node = step
    if not isinstance(node, fx.Node) or node not in layers:
        return None
    scores = scores_of(graph, node, names)
    if scores is None or scores.is_spatial or tail.scale.numel() not in (1, len(scores.weight)):
        return None
    if len(layers[node].shape or (0,)) != 1 or n_classes not in (None, len(scores.weight)):
        return None
    return LinearHead(scores, tail.scale, tail.squash)


class _Tail(NamedTuple):
    """What was met on the way from the output back; ``is_bare`` as long as that is nothing that changes a score."""

    scale: torch.Tensor
    squash: str | None
    is_bare: bool


def _step(
    graph: fx.GraphModule, node: fx.Node, names: Mapping[fx.Node, str], tail: _Tail
) -> tuple[_Tail, fx.Node] | None:
    """Returns the tail with one more operation and the node that it reads, or nothing where it mixes scores."""
    name = names[node].replace("_", "").lower()
    if name in _PASSED:
        return tail, node.all_input_nodes[0]
    if name in _SQUASHES and tail.is_bare:
        return tail._replace(squash=_SQUASHES[name], is_bare=False), node.all_input_nodes[0]
    if name == "logsoftmax" and tail.squash != "sigmoid" and tail.scale.numel() == 1:
        # What it takes off is the same for all scores; only a scale of each by itself would make it differ.
        return tail._replace(is_bare=False), node.all_input_nodes[0]
    if name == "neg":
        return tail._replace(scale=-tail.scale, is_bare=False), node.all_input_nodes[0]
    if name not in _SCALINGS | _SHIFTS or len(node.args) != 2 or node.kwargs:
        return None
    first, second = node.args
    source, other = (first, second) if first in names else (second, first)
    if not isinstance(source, fx.Node) or source not in names or other in names:
        return None
    constant = _constant(graph, other)
    if constant is None or constant.numel() not in (1, *constant.shape[-1:]):
        return None
    factor = _factor(name, constant.detach().double().cpu(), is_second=source is second)
    return None if factor is None else (tail._replace(scale=tail.scale * factor, is_bare=False), source)


def _factor(name: str, constant: torch.Tensor, *, is_second: bool) -> torch.Tensor | None:
    """Returns what an operation with a constant multiplies the scores by."""
    constant = constant.flatten() if constant.numel() > 1 else constant.reshape(())
    if name in _SHIFTS:
        return torch.tensor(-1.0 if name == "sub" and is_second else 1.0, dtype=torch.float64)
    if not name.endswith("div"):
        return constant
    return None if is_second else 1 / constant


def _constant(graph: fx.GraphModule, value: Any) -> torch.Tensor | None:  # noqa: ANN401 - an argument of a node
    """Returns the value of an argument that does not depend on the input."""
    if isinstance(value, int | float):
        return torch.tensor(float(value), dtype=torch.float64)
    if not isinstance(value, fx.Node):
        return None
    needed, pending = set[fx.Node](), [value]
    while pending:
        node = pending.pop()
        if node.op == "placeholder":
            return None
        needed.add(node)
        pending += [source for source in node.all_input_nodes if source not in needed]
    part, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in graph.graph.nodes:
        if node in needed:
            copies[node] = part.node_copy(node, lambda other: copies[other])
    part.output(copies[value])
    with torch.no_grad():
        found = fx.GraphModule(graph, part)()
    return found if isinstance(found, torch.Tensor) else torch.tensor(float(found), dtype=torch.float64)


def _is_as_written(module: nn.Module) -> bool:
    """Returns whether torch's own forward runs: a subclass, or a function in its place, may do more with weights."""
    kind = nn.Linear if isinstance(module, nn.Linear) else nn.Conv2d
    if not isinstance(module, kind):
        return True
    return all(
        getattr(type(module), name, None) is getattr(kind, name, None) and name not in vars(module)
        for name in ("forward", "_conv_forward")
    )


def _pointwise(node: fx.Node, features: fx.Node, module: nn.Conv2d) -> Scores | None:
    if module.kernel_size != (1, 1) or module.stride != (1, 1) or module.groups != 1 or _is_padded(module):
        return None
    weight = module.weight.detach().flatten(1)
    return Scores(node, features, weight, _detached(module.bias), str(node.target), is_spatial=True)


def _is_padded(module: nn.Conv2d) -> bool:
    return not isinstance(module.padding, str) and any(module.padding)


def _stored(
    graph: fx.GraphModule, node: fx.Node, names: Mapping[fx.Node, str]
) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """Returns weight and bias of ``functional.linear`` over constants."""
    if names[node] != "linear":
        return None
    given = dict(zip(("input", "weight", "bias"), node.args, strict=False)) | dict(node.kwargs)
    if given.get("input") not in names:
        return None
    weight = _constant(graph, given.get("weight"))
    bias = None if given.get("bias") is None else _constant(graph, given["bias"])
    return None if weight is None or weight.dim() != 2 else (weight.detach(), _detached(bias))


def _measured(
    graph: fx.GraphModule, node: fx.Node, features: fx.Node
) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """Returns weight and bias of a product however it is written, from what it makes of each feature alone."""
    width = features.meta.get("width")
    if width is None:
        return None
    part, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    copies[features] = part.placeholder("features")
    for other in graph.graph.nodes:
        if other is features:
            continue
        if other is node or (other.op != "placeholder" and _leads_to(other, node, features)):
            copies[other] = part.node_copy(other, lambda needed: copies[needed])
    part.output(copies[node])
    layer = fx.GraphModule(graph, part)
    first = next((tensor for tensor in graph.parameters() if tensor.is_floating_point()), torch.empty(0))
    # What is linear in each feature alone need not be so in all of them.
    drawn = torch.randn(4, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = torch.cat([torch.zeros(1, width), torch.eye(width), drawn]).to(first)
    try:
        with torch.no_grad():
            given = torch.cat([layer.forward(points[:1]), layer.forward(points[1:])])
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None
    if given.dim() != 2 or len(given) != len(points):
        return None
    bias, weight = given[0], (given[1 : width + 1] - given[0]).T.contiguous()
    difference, bound = agreement(points[width + 1 :] @ weight.T + bias, given[width + 1 :])
    return None if difference > bound else (weight, bias if bool(bias.any()) else None)


def _leads_to(other: fx.Node, node: fx.Node, features: fx.Node) -> bool:
    pending, seen = list(node.all_input_nodes), set[fx.Node]()
    while pending:
        one = pending.pop()
        if one is other:
            return True
        if one is not features and one not in seen:
            seen.add(one)
            pending += one.all_input_nodes
    return False


def _own_module(graph: fx.GraphModule, node: fx.Node, names: Mapping[fx.Node, str]) -> str | None:
    """Returns the path of the module whose whole forward pass is this node."""
    path = owner_path(node)
    if not path or any(owner_path(other) == path for other in names if other is not node):
        return None
    calls = [other for other in names if other.op == "call_module" and str(other.target).startswith(f"{path}.")]
    has_module = operator.contains(dict(graph.named_modules()), path)
    return path if has_module and not calls else None


def _detached(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else tensor.detach()
