r"""Directions in the space of the classes, those that matter most first.

A linear attribution of :math:`u \cdot f` is :math:`u^T A`. With rows :math:`u_r` orthonormal that span the range of
:math:`P A`, :math:`\sum_r (u_r^T A)_i^2` is what the centred rows of all classes give, :math:`\sum_j (P A)_{ji}^2`.
"""

from typing import NamedTuple

import torch
from torch import fx

from attribution.errors import InvalidOption
from attribution.networks.graph import tensor_nodes
from attribution.networks.heads import scores_of
from attribution.networks.layers import layer_kind
from attribution.networks.network import Network

#: Singular values below this share of the largest count as zero.
_RANK = 1e-6
#: Classes whose directions take a square of numbers and a cube of operations, where no last layer has fewer features.
_MOST_CLASSES = 4096


class Head(NamedTuple):
    """The weight ``(classes, features)`` that tells classes apart last.

    ``spans`` says that the logits are linear in its features, so that every gradient of them is a mix of its columns;
    where a ReLU and a pool follow, as in SqueezeNet, its directions are merely a good order.
    """

    weight: torch.Tensor
    spans: bool


def head_weight(network: Network) -> Head | None:
    """Returns the weight of the last linear layer or pointwise convolution, or nothing where there is none in sight."""
    graph, head = network.graph, network.head
    if graph is None:
        return None
    if head is not None and head.squash is None:
        scale = head.scale.to(head.scores.weight.device).view(-1, 1)
        return Head(scale * head.scores.weight.double(), spans=True)
    weight = _last_pointwise(graph, network.n_classes) if head is None else head.scores.weight
    return None if weight is None else Head(weight.double(), spans=False)


def _last_pointwise(graph: fx.GraphModule, n_classes: int | None) -> torch.Tensor | None:
    """Returns the last linear layer or 1 x 1 convolution, if it has one output a class."""
    names = tensor_nodes(graph)
    for node in reversed(names):
        if layer_kind(names[node]) in ("linear", "conv"):
            scores = scores_of(graph, node, names)
            return scores.weight if scores is not None and len(scores.weight) == n_classes else None
    return None


def contrasts(n_classes: int) -> torch.Tensor:
    """Returns orthonormal rows ``(n_classes - 1, n_classes)`` that span the range of ``P`` (Helmert's), float64.

    >>> contrasts(3)
    tensor([[ 0.7071, -0.7071,  0.0000],
            [ 0.4082,  0.4082, -0.8165]], dtype=torch.float64)
    """
    rank = torch.arange(1, n_classes, dtype=torch.float64)
    rows = torch.tril(torch.ones(n_classes - 1, n_classes, dtype=torch.float64))
    rows[torch.arange(n_classes - 1), torch.arange(1, n_classes)] = -rank
    return rows / (rank * (rank + 1)).sqrt().unsqueeze(1)


def leading_directions(head: torch.Tensor | None, n_classes: int, *, spans: bool) -> torch.Tensor:
    """Orthonormal rows ``(n, n_classes)`` in the range of ``P``, float64, in falling order of the head's strength.

    Args:
        head: What the outputs are linear in, ``(n_classes, features)``; without it the order means nothing.
        n_classes: Classes compared.
        spans: Leave out the directions in which the head has no strength.

    Returns:
        The left singular vectors of ``P head``: those that are not zero, or with ``spans`` false all
        ``n_classes - 1``.

    Raises:
        InvalidOption: There are too many classes to find directions for without a head of fewer features.

    >>> leading_directions(torch.tensor([[1.0], [1.0], [-2.0]]), 3, spans=True).abs()
    tensor([[0.4082, 0.4082, 0.8165]], dtype=torch.float64)
    """
    if head is not None and spans and head.shape[1] < n_classes - 1:
        return _few_directions(head.double() - head.double().mean(0))
    if n_classes > _MOST_CLASSES:
        raise InvalidOption(
            f"{n_classes:,} classes are compared without a last linear layer that says which directions matter, at most"
            f' {_MOST_CLASSES:,} can be: choose classes (indices or TopK), or mode="importance", which needs none'
        )
    basis = contrasts(n_classes)
    if head is None:
        return basis
    # In coordinates of the contrasts, where the direction that all classes share does not exist.
    strength = basis.to(head.device) @ head.double()
    squares, vectors = torch.linalg.eigh(strength @ strength.T)
    if spans:
        vectors = vectors[:, squares > _RANK**2 * squares[-1]]
    found: torch.Tensor = vectors.flip(1).T @ basis.to(head.device)
    return found


def _few_directions(centred: torch.Tensor) -> torch.Tensor:
    """Returns the left singular vectors of a tall matrix through its small Gram matrix, in less memory."""
    squares, right = torch.linalg.eigh(centred.T @ centred)
    told = squares > _RANK**2 * squares[-1]
    left = centred @ (right[:, told] / squares[told].sqrt()).flip(1)
    # Of the weakest directions the product knows little more than the space they span: made orthonormal again.
    orthonormal: torch.Tensor = torch.linalg.qr(left).Q.T
    return orthonormal
