r"""Class activation maps: sums over the channels of a layer's values, weighted by their gradients.

With a layer's values :math:`A_k` and gradients :math:`g_k`, ``(height, width)`` of channel ``k``:

=======================  ==============================================================================
``grad_cam``             :math:`\sum_k \mathrm{mean}(g_k) A_k`
``hires_cam``            :math:`\sum_k g_k A_k`
``layer_cam``            :math:`\sum_k \mathrm{relu}(g_k) A_k`
``x_grad_cam``           :math:`\sum_k (\sum g_k A_k / \sum A_k) A_k`
``grad_cam_plus_plus``   :math:`\sum_k (\sum \alpha_k \mathrm{relu}(g_k)) A_k`,
                         :math:`\alpha_k = g_k^2 / (2 g_k^2 + g_k^3 \sum A_k)`
=======================  ==============================================================================
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch

Variant = Literal["grad_cam", "hires_cam", "layer_cam", "grad_cam_plus_plus", "x_grad_cam"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

_PLACES = (2, 3)


def cam_of(variant: Variant, values: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Returns the signed map ``(n, height, width)`` of a layer's values and gradients ``(n, channels, height, width)``.

    >>> values, gradients = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[4.0, -2.0]]]])
    >>> {variant: cam_of(variant, values, gradients).flatten().tolist() for variant in VARIANTS[:3]}
    {'grad_cam': [1.0, 2.0], 'hires_cam': [4.0, -4.0], 'layer_cam': [4.0, 0.0]}
    """
    wide = torch.promote_types(values.dtype, torch.float32)
    values, gradients = values.to(wide), gradients.to(wide)
    return (_WEIGHTS[variant](values, gradients) * values).sum(1)


def _x_grad(values: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    return _ratio((gradients * values).sum(_PLACES, keepdim=True), values.sum(_PLACES, keepdim=True))


def _plus_plus(values: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    square, cube = gradients.square(), gradients**3
    alpha = _ratio(square, 2 * square + values.sum(_PLACES, keepdim=True) * cube)
    return (alpha * gradients.relu()).sum(_PLACES, keepdim=True)


def _ratio(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """Returns a quotient, 0 where there is nothing to divide by."""
    return torch.where(below == 0, 0.0, above / torch.where(below == 0, 1.0, below))


_WEIGHTS: dict[Variant, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "grad_cam": lambda _, gradients: gradients.mean(_PLACES, keepdim=True),
    "hires_cam": lambda _, gradients: gradients,
    "layer_cam": lambda _, gradients: gradients.relu(),
    "grad_cam_plus_plus": _plus_plus,
    "x_grad_cam": _x_grad,
}
