r"""Maps over tokens made of attention and its gradients, by two formulas.

With the probabilities :math:`A_l` ``(heads, queries, keys)`` of block l and their gradients :math:`\nabla A_l`:

===========  =========================================================================================================
``rollout``  :math:`R \leftarrow R + \mathrm{mean}_h (\mathrm{relu}(\nabla A_l * A_l)) R`, from the identity, read in
             the class token's row; gradients of the output
``legrad``   :math:`\mathrm{mean}_l \, \mathrm{mean}_{h,q} \, \mathrm{relu}(\nabla A_l)`; gradients of the score that
             the network's end gives to the tokens behind block l
===========  =========================================================================================================
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch

Variant = Literal["rollout", "legrad"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


def rolled_out(probabilities: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor], row: int) -> torch.Tensor:
    """Returns the relevance ``(n, tokens)`` of each token to one of them, from probabilities ``(n, heads, t, t)``.

    >>> probabilities = torch.tensor([[[[0.5, 0.5], [0.0, 1.0]]]])
    >>> rolled_out([probabilities], [torch.tensor([[[[1.0, 2.0], [3.0, -4.0]]]])], 0).tolist()
    [[1.5, 1.0]]
    """
    wide = torch.promote_types(probabilities[0].dtype, torch.float32)
    found = torch.eye(probabilities[0].shape[-1], dtype=wide, device=probabilities[0].device)[row]
    # Only one row is read, so that it is multiplied from the last block to the first.
    relevance = found.expand(len(probabilities[0]), 1, -1)
    for one, gradient in zip(reversed(probabilities), reversed(gradients), strict=True):
        weights = (gradient.to(wide) * one.to(wide)).relu().mean(1)
        relevance = relevance + relevance @ weights
    return relevance.squeeze(1)


def legrad_of(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """Returns the mean over blocks, heads and queries ``(n, tokens)`` of what is positive in gradients.

    >>> legrad_of([torch.tensor([[[[1.0, 2.0], [3.0, -4.0]]]])]).tolist()
    [[2.0, 1.0]]
    """
    wide = torch.promote_types(gradients[0].dtype, torch.float32)
    return torch.stack([one.to(wide).relu().mean((1, 2)) for one in gradients]).mean(0)
