"""Softmax attention by the rules of relevance, as torch's function and as torch's module.

Both are the formula written out: with ``cp`` the probabilities are a constant, with ``attn`` a product of two tensors
gives half to each.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from attribution.errors import NetworkError
from attribution.passes.attending import probabilities_of, projections
from attribution.propagation.rule_pass import with_slope

AttentionRule = Literal["cp", "attn"]
#: Takes a value and the bias in it, and returns the value.
Noted = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


def attention_by_rule(
    rule: AttentionRule,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Returns what ``scaled_dot_product_attention`` gives for these arguments, with the rule's slope.

    Raises:
        NetworkError: It drops values at random, or groups of heads share their keys.
    """
    if dropout_p or enable_gqa:
        raise NetworkError("attention with dropout in evaluation mode or heads that share keys has no rule here")
    probabilities = probabilities_of(query, key, attn_mask, is_causal=is_causal, scale=scale, product=_halved)
    return probabilities.detach() @ value if rule == "cp" else _halved(probabilities, value)


def module_by_rule(
    rule: AttentionRule,
    noted: Noted,
    module: nn.MultiheadAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    key_padding_mask: torch.Tensor | None = None,
    need_weights: bool = True,
    attn_mask: torch.Tensor | None = None,
    average_attn_weights: bool = True,  # noqa: ARG001
    is_causal: bool = False,
) -> tuple[torch.Tensor, None]:
    """Returns what a module gives in evaluation mode, with the rule's slope.

    Raises:
        NetworkError: It masks, or adds keys of its own.
    """
    del need_weights  # what they are is no part of the relevance, and who reads them finds nothing
    masks = key_padding_mask is not None or attn_mask is not None or is_causal
    if masks or module.bias_k is not None or module.bias_v is not None or module.add_zero_attn:
        raise NetworkError("nn.MultiheadAttention with a mask, or with keys of its own, has no rule here")
    given = [query, key, value] if module.batch_first else [one.transpose(0, 1) for one in (query, key, value)]
    heads = [
        noted(functional.linear(one, weight, bias), bias).view(*one.shape[:2], module.num_heads, -1).transpose(1, 2)
        for one, (weight, bias) in zip(given, projections(module), strict=True)
    ]
    joined = attention_by_rule(rule, heads[0], heads[1], heads[2]).transpose(1, 2).flatten(2)
    result = noted(module.out_proj(joined), module.out_proj.bias)
    return (result if module.batch_first else result.transpose(0, 1)), None


def _halved(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return with_slope(first @ second, (first @ second.detach() + first.detach() @ second) / 2)
