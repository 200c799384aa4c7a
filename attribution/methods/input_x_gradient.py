"""The image times the gradient of an output."""

from typing import NamedTuple

import torch

from attribution.networks.network import Network
from attribution.passes.chunks import Progress
from attribution.passes.gradient_maps import gradient_maps
from attribution.passes.smoothing import Smooth


class InputXGradient(NamedTuple):
    """``maps`` of each input value in units of the output, and their error figures.

    For a target ``(batch,)`` the axis ``k`` is missing everywhere.

    Attributes:
        maps: ``(batch, k, channels, height, width)``, the inputs' dtype; of squares and variances in squared units.
        standard_error: Like ``maps``: that of the values over noisy copies; nothing below two.
        n_draws: Noisy copies that it rests on; 1 without noise.
        chunk_size: Images evaluated at once, after any halving.
    """

    maps: torch.Tensor
    standard_error: torch.Tensor | None
    n_draws: int
    chunk_size: int


def input_x_gradient(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    against: torch.Tensor | None = None,
    smooth: Smooth | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> InputXGradient:
    r"""Multiplies each value of the image by the gradient of an output.

    .. math:: M_i = x_i \frac{\partial f}{\partial x_i}

    with the normalised value :math:`x_i`: what stands for "nothing" is zero after normalisation, the mean colour of the
    training set.

    Args:
        network: What to explain; its ``output`` says in which unit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)`` to explain k classes from the same forward passes.
        against: What each class is held against, so that a difference of outputs is explained: a class, int64 like
            ``target``, or weights over the classes, float ``(batch, classes)`` or ``(batch, k, classes)``.
        smooth: Mean, mean of squares or variance of the products over noisy copies of each image.
        chunk_size: Images at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with passes done and in all; may raise to cancel.

    Returns:
        The maps; with noise and their standard error.

    Raises:
        InvalidInput: Inputs or generators do not fit the network or each other.
        InvalidTarget: Not one row of existing classes an image.
        InvalidOption: An option out of range.
        NetworkError: The network lets no gradient through, or one is not finite.
        OutOfMemory: A single image does not fit into memory.

    Cost:
        One forward and k backward passes an image and noisy copy.

    Guarantee:
        The product is exact. It adds up to the output where the network is piecewise linear and has no biases, and to
        the output less what the biases add where it has; otherwise to nothing in particular.

    Source:
        Shrikumar et al. 2016, "Not Just a Black Box", section 2; Ancona et al. 2018, "Towards better understanding of
        gradient-based attribution methods", section 3.

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[2.0, -3.0]]))
    >>> input_x_gradient(Network(linear), torch.full((1, 1, 1, 2), 4.0), torch.tensor([0])).maps.tolist()
    [[[[8.0, -12.0]]]]
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    return InputXGradient(
        *gradient_maps(
            network,
            inputs,
            target,
            lambda images, gradients: images * gradients,
            against=against,
            smooth=smooth,
            chunk_size=chunk_size,
            progress=progress,
        )
    )
