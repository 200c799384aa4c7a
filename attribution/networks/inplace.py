"""Turns the in-place operations of a graph into ones that leave their argument alone.

``relu(x, inplace=True)`` changes ``x`` for whoever reads it later, so each rewritten operation also takes the place
of its argument in all later reads. Where the argument is a *view* of a tensor that is still read, this would change
the function: such graphs are refused.
"""

import inspect
import operator
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.nn import functional

from attribution.networks.graph import NotTraceable, operation, tensor_nodes

_Index = int | slice | torch.Tensor | None | tuple[int | slice | torch.Tensor | None, ...]


def set_item(values: torch.Tensor, index: _Index, item: torch.Tensor | float) -> torch.Tensor:
    """Returns ``values`` with ``values[index] = item``, as a new tensor."""
    changed = values.clone()
    changed[index] = item
    return changed


_OPERATORS: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.setitem: set_item,
}
_METHODS_WITHOUT_EFFECT = frozenset({"requires_grad_", "retain_grad_", "detach_"})
_SAME_TENSOR = frozenset({"identity", "dropout", "dropout2d", "dropout3d", "alphadropout", "featurealphadropout"})
_VIEWS = re.compile(
    r"(view|reshape|expand|type)(_as)?|flatten|unflatten|ravel|permute|transpose|t|squeeze|unsqueeze|narrow|select"
    r"|getitem|chunk|split|unbind|tensor_split|movedim|swapaxes|swapdims|diagonal|unfold|contiguous|to|float|double"
    r"|half|bfloat16|detach|stochastic_depth"
)


def fill(values: torch.Tensor, item: float = 0.0) -> torch.Tensor:
    """Returns a tensor like ``values`` full of ``item``."""
    return torch.full_like(values, item)


def copied(values: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Returns ``source`` in the shape, dtype and on the device of ``values``."""
    return source.to(values).expand_as(values)


_METHODS: dict[str, Callable[..., torch.Tensor]] = {"zero_": fill, "fill_": fill, "copy_": copied}


def make_out_of_place(graph_module: fx.GraphModule) -> tuple[str, ...]:
    """Rewrites every in-place operation; refuses a graph where one has no counterpart or changes a view read later.

    Returns:
        The names of the rewritten nodes, in forward order.
    """
    modules = dict(graph_module.named_modules())
    mutating = [node for node in graph_module.graph.nodes if _replace(node, modules)]
    # Sizes and other numbers do not change under those who read them earlier.
    tensors = tensor_nodes(graph_module)
    for node in (node for node in mutating if node in tensors):
        _redirect_later_reads(node, modules)
    for module in modules.values():
        if getattr(module, "inplace", None) is True:
            module.inplace = False
    graph_module.graph.lint()
    graph_module.recompile()
    return tuple(node.name for node in mutating)


def _replace(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Makes one node out-of-place.

    Returns:
        Whether it was not.
    """
    if node.op == "call_module":
        return getattr(modules[str(node.target)], "inplace", None) is True
    if node.op == "call_method":
        return _replace_method(node)
    return node.op == "call_function" and _replace_function(node)


def _replace_method(node: fx.Node) -> bool:
    name = str(node.target)
    if not name.endswith("_") or name.endswith("__") or name in _METHODS_WITHOUT_EFFECT:
        return False
    if name in _METHODS:
        node.op, node.target = "call_function", _METHODS[name]
    elif hasattr(torch.Tensor, name[:-1]):
        node.target = name[:-1]
    else:
        raise NotTraceable(f"the in-place method {name} has no counterpart")
    return True


def _replace_function(node: fx.Node) -> bool:
    if node.target in _OPERATORS:
        node.target = _OPERATORS[node.target]
    elif isinstance(node.target, OpOverload):
        return _replace_overload(node, node.target)
    elif (name := str(getattr(node.target, "__name__", ""))).endswith("_") and not name.startswith("_"):
        node.target = _counterpart(name)
    else:
        return _clear_flag(node)
    return True


def _counterpart(name: str) -> Callable[..., Any]:
    for home in (torch, functional):
        if callable(function := getattr(home, name[:-1], None)):
            found: Callable[..., Any] = function
            return found
    raise NotTraceable(f"the in-place function {name} has no counterpart")


def _replace_overload(node: fx.Node, target: OpOverload) -> bool:
    name = target.overloadpacket.__name__
    if not name.endswith("_"):
        return False
    packet = getattr(getattr(torch.ops, target.namespace), name[:-1], None)
    overload = getattr(packet, str(target).rpartition(".")[2], None) or getattr(packet, "default", None)
    if overload is None:
        raise NotTraceable(f"the in-place operator {target} has no counterpart")
    node.target = overload
    return True


def _clear_flag(node: fx.Node) -> bool:
    """Sets ``inplace=True``, by keyword or by position, to false.

    Returns:
        Whether it was set.
    """
    if not any(value is True for value in (*node.args, *node.kwargs.values())):
        return False
    try:
        bound = inspect.signature(node.target).bind(*node.args, **node.kwargs)  # type: ignore[arg-type]  # call_function
    except (TypeError, ValueError):
        return False
    if bound.arguments.get("inplace") is not True:
        return False
    bound.arguments["inplace"] = False
    node.args, node.kwargs = bound.args, bound.kwargs
    return True


def _redirect_later_reads(node: fx.Node, modules: dict[str, nn.Module]) -> None:
    """Lets everything after a rewritten operation read its result where it read the argument.

    Raises:
        NotTraceable: A view of the argument is read later, and would miss the change.
    """
    order = {other: place for place, other in enumerate(node.graph.nodes)}
    source = node.args[0] if node.args else next(iter(node.kwargs.values()), None)
    if not isinstance(source, fx.Node):
        raise NotTraceable(f"cannot tell what {node.name} changes in place")
    same, views = _aliases(source, modules)
    for alias in views:
        if order[alias] < order[node] and any(order[user] > order[node] for user in alias.users):
            raise NotTraceable(f"{node.name} changes in place what {alias.name} views")
    for alias in same:
        if order[alias] < order[node]:
            alias.replace_all_uses_with(node, lambda user: order[user] > order[node])


def _aliases(source: fx.Node, modules: dict[str, nn.Module]) -> tuple[set[fx.Node], set[fx.Node]]:
    """Returns the nodes that are the same tensor as ``source``, and those that share memory with it in another form."""
    same, views, pending = {source}, set[fx.Node](), [(source, True)]
    while pending:
        node, is_same = pending.pop()
        neighbours = [(user, _link(user, modules)) for user in node.users]
        neighbours += [(parent, _link(node, modules)) for parent in node.all_input_nodes[:1]]
        for other, link in neighbours:
            if link and other not in same and other not in views:
                kept = is_same and link == "same"
                (same if kept else views).add(other)
                pending.append((other, kept))
    return same, views


def _link(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """Returns how a node's result relates to its first argument: ``same`` tensor, a ``view`` of it, or neither."""
    if not node.op.startswith("call_"):
        return ""
    name = operation(node, modules)
    if name.lower() in _SAME_TENSOR:
        return "same"
    return "view" if _VIEWS.fullmatch(name) else ""
