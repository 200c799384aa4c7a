"""Attention in a network's graph: as torch's module, as torch's function, or written out."""

import re
from collections.abc import Container, Iterator
from typing import Literal, NamedTuple

from torch import fx, nn
from torch.nn import functional

from attribution.networks.graph import operation, tensor_nodes

#: ``module``: a leaf ``nn.MultiheadAttention``; ``function``: ``scaled_dot_product_attention``; ``written``: a softmax
#: that a product of matrices takes as its first factor.
Form = Literal["module", "function", "written"]

_PRODUCTS = frozenset({"matmul", "bmm", "einsum", "baddbmm"})
_PASSING = re.compile(r"dropout|identity|contiguous|to|float|double|half|type|clone|transpose|permute|getitem|t|mt")
_FAR = 8
"""Steps from the product of queries and keys to the softmax: scales, masks, positions, norms."""
_HIDING = re.compile(r"attention|transformer")


class Attention(NamedTuple):
    """One attention: the ``node`` that it is, or whose result its probabilities are where it is written out."""

    node: fx.Node
    form: Form


class Attentions(NamedTuple):
    """Every attention of a graph in forward order, and what may attend beside it.

    ``hidden`` does not show its probabilities; ``products`` of two tensors of the image belong to none that was found.
    """

    found: tuple[Attention, ...]
    hidden: tuple[fx.Node, ...]
    products: tuple[fx.Node, ...]


def attentions_of(graph_module: fx.GraphModule) -> Attentions:
    """Returns where a graph attends.

    >>> from attribution.networks.graph import traced
    >>> class Attending(nn.Module):
    ...     def forward(self, x):
    ...         return (x @ x.mT).softmax(-1) @ x
    >>> [one.form for one in attentions_of(traced(Attending())).found]
    ['written']
    """
    modules, tensors = dict(graph_module.named_modules()), tensor_nodes(graph_module)
    found: list[Attention] = []
    hidden: list[fx.Node] = []
    known: set[fx.Node] = set()
    for node, name in tensors.items():
        plain = name.replace("_", "").lower()
        if node.op == "call_module" and type(modules[str(node.target)]) is nn.MultiheadAttention:
            found.append(Attention(node, "module"))
        elif node.target is functional.scaled_dot_product_attention:
            found.append(Attention(node, "function"))
        elif plain in ("softmax", "softmin"):
            uses = list(_products_of(node, modules))
            if uses and all(_is_first(product, factor) for product, factor in uses) and _is_last(node, modules):
                found.append(Attention(node, "written"))
                known |= {product for product, _ in uses} | _scores_of(node, tensors.keys(), modules)
            elif uses or any(user.op != "output" for user in node.users):
                hidden.append(node)
        elif _HIDING.search(plain):
            hidden.append(node)
    others = [node for node, name in tensors.items() if _multiplies(node, name, tensors) and node not in known]
    return Attentions(tuple(found), tuple(hidden), tuple(others))


def _multiplies(node: fx.Node, name: str, tensors: Container[fx.Node]) -> bool:
    """Returns whether a node multiplies matrices that both depend on the image."""
    factors = [one for one in node.args if isinstance(one, fx.Node) and one in tensors]
    return name.replace("_", "").lower() in _PRODUCTS and len(factors) > 1


def _scores_of(node: fx.Node, tensors: Container[fx.Node], modules: dict[str, nn.Module]) -> set[fx.Node]:
    """Returns the products close before a softmax, whose scores it is of."""
    found, near = set[fx.Node](), {node}
    for _ in range(_FAR):
        before = {source for one in near for source in one.all_input_nodes if source in tensors}
        products = {one for one in before if operation(one, modules).replace("_", "").lower() in _PRODUCTS}
        found |= products
        near = before - products
    return found


def _products_of(node: fx.Node, modules: dict[str, nn.Module]) -> Iterator[tuple[fx.Node, fx.Node | None]]:
    """Yields products of matrices with the result of a softmax, and it as a factor; nothing where it was turned."""
    pending: list[tuple[fx.Node, bool]] = [(node, True)]
    while pending:
        one, is_straight = pending.pop()
        for user in one.users:
            name = operation(user, modules).replace("_", "").lower()
            if name in _PRODUCTS:
                yield user, one if is_straight else None
            elif _PASSING.fullmatch(name):
                turned = name in ("transpose", "permute", "getitem", "t", "mt")
                pending.append((user, is_straight and not turned))


def _is_first(product: fx.Node, factor: fx.Node | None) -> bool:
    if factor is None:
        return False
    if isinstance(product.args[0], str):
        return product.args[1] is factor
    return product.args[0] is factor


def _is_last(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Returns whether a softmax runs over the last of its axes, as far as its own words tell."""
    if node.op == "call_module":
        return getattr(modules[str(node.target)], "dim", None) in (-1, 3)
    return (node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")) in (-1, 3)
