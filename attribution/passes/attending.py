"""A pass through a network that computes its attention by the formula, and keeps its probabilities."""

import math
from collections.abc import Callable, Collection
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import fx, nn
from torch.nn import functional

from attribution.errors import NetworkError
from attribution.networks.agreement import agreement
from attribution.networks.attentions import Attention
from attribution.networks.network import Network

#: How far the pass is from each graph's outputs, and what rounding explains; found once.
_AGREEMENTS: WeakKeyDictionary[fx.GraphModule, tuple[float, float]] = WeakKeyDictionary()


class AttendingPass(fx.Interpreter):
    """Runs a graph, and keeps the probabilities of its attention and the values of chosen nodes.

    After ``run(points)``, ``probabilities`` ``(n, heads, queries, keys)`` are there by attention, and ``values`` by
    node; both are part of what the outputs are computed from, so that gradients reach them.

    Args:
        graph: The network's graph.
        attentions: What to keep the probabilities of.
        kept: Nodes to keep the values of.
    """

    def __init__(
        self, graph: fx.GraphModule, attentions: Collection[Attention], kept: Collection[fx.Node] = ()
    ) -> None:
        """Prepares a pass."""
        super().__init__(graph)
        self._forms, self._kept = {one.node: one.form for one in attentions}, frozenset(kept)
        self.probabilities: dict[fx.Node, torch.Tensor] = {}
        self.values: dict[fx.Node, torch.Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 - torch.fx's signature
        """Returns what one operation gives."""
        if n not in self._forms:
            result = super().run_node(n)
        elif self._forms[n] == "written":
            self.probabilities[n] = result = super().run_node(n)
        else:
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            if self._forms[n] == "module":
                module = self.fetch_attr(str(n.target))
                result, self.probabilities[n] = attended_by_module(module, *args, **kwargs)
            else:
                result, self.probabilities[n] = attended(*args, **kwargs)
        if n in self._kept:
            # A view of its own: what an identity returns is the tensor that a shortcut reads as well.
            self.values[n] = result = result.view_as(result)
        return result


def attended(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns what ``scaled_dot_product_attention`` gives for these arguments, and its probabilities.

    Raises:
        NetworkError: It drops values at random, or groups of heads share their keys.
    """
    if dropout_p or enable_gqa:
        raise NetworkError("attention with dropout in evaluation mode, or whose heads share keys, is not followed here")
    probabilities = probabilities_of(query, key, attn_mask, is_causal=is_causal, scale=scale)
    return probabilities @ value, probabilities


def probabilities_of(
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    is_causal: bool,
    scale: float | None,
    product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = torch.matmul,
) -> torch.Tensor:
    """Returns the probabilities of ``scaled_dot_product_attention``, by a way to multiply two tensors."""
    scores = product(query, key.mT) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    return (scores + _mask(query, key, mask, is_causal=is_causal)).softmax(-1)


def _mask(
    query: torch.Tensor, key: torch.Tensor, given: torch.Tensor | None, *, is_causal: bool
) -> torch.Tensor | float:
    if is_causal:
        given = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if given is None:
        return 0.0
    return query.new_zeros(given.shape).masked_fill(~given, -math.inf) if given.dtype == torch.bool else given


def attended_by_module(
    module: nn.MultiheadAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    key_padding_mask: torch.Tensor | None = None,
    need_weights: bool = True,
    attn_mask: torch.Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[tuple[torch.Tensor, torch.Tensor | None], torch.Tensor]:
    """Returns what a module gives in evaluation mode, and its probabilities ``(n, heads, queries, keys)``.

    Raises:
        NetworkError: It masks, or adds keys of its own.
    """
    if key_padding_mask is not None or attn_mask is not None or is_causal:
        raise NetworkError("nn.MultiheadAttention with a mask is not followed here")
    if module.bias_k is not None or module.bias_v is not None or module.add_zero_attn:
        raise NetworkError("nn.MultiheadAttention that adds keys of its own is not followed here")
    given = [query, key, value] if module.batch_first else [one.transpose(0, 1) for one in (query, key, value)]
    heads = [
        functional.linear(one, weight, bias).view(*one.shape[:2], module.num_heads, -1).transpose(1, 2)
        for one, (weight, bias) in zip(given, projections(module), strict=True)
    ]
    joined, probabilities = attended(heads[0], heads[1], heads[2])
    result = module.out_proj(joined.transpose(1, 2).flatten(2))
    weights = (probabilities.mean(1) if average_attn_weights else probabilities) if need_weights else None
    return (result if module.batch_first else result.transpose(0, 1), weights), probabilities


def projections(module: nn.MultiheadAttention) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Returns the weights and biases that make queries, keys and values."""
    own = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    weights = own if module.in_proj_weight is None else module.in_proj_weight.chunk(3)
    biases = (None, None, None) if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    return list(zip(weights, biases, strict=True))


def require_same_outputs(network: Network, graph: fx.GraphModule, attentions: Collection[Attention]) -> None:
    """Accepts a network whose attention by the formula gives what its own does.

    Raises:
        NetworkError: It does not.

    Cost:
        Once a graph, two forward passes of one image.
    """
    if graph not in _AGREEMENTS:
        example = network.examples()[:1]
        with torch.no_grad():
            given = AttendingPass(graph, attentions).run(example)
            _AGREEMENTS[graph] = agreement(given, graph.forward(example))
    figure, bound = _AGREEMENTS[graph]
    if not figure <= bound:
        raise NetworkError(
            f"attention by the formula gives other outputs than this network's own ({figure:.1%} apart): its"
            " probabilities are not those that it computes with"
        )
