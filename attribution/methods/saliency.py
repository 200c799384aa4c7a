"""The gradient of an output with respect to the image."""

from typing import NamedTuple

import torch

from attribution.networks.network import Network
from attribution.passes.chunks import Progress
from attribution.passes.gradient_maps import gradient_maps
from attribution.passes.smoothing import Smooth


class Saliency(NamedTuple):
    """``maps`` of each input value in units of the output per unit of the input, and their error figures.

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


def saliency(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    against: torch.Tensor | None = None,
    signed: bool = False,
    smooth: Smooth | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Saliency:
    r"""Says how fast an output changes with each value of the image: the absolute gradient, or the gradient itself.

    .. math:: M_i = \left| \frac{\partial f}{\partial x_i} \right|

    Args:
        network: What to explain; its ``output`` says in which unit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)`` to explain k classes from the same forward passes.
        against: What each class is held against, so that a difference of outputs is explained: a class, int64 like
            ``target``, or weights over the classes, float ``(batch, classes)`` or ``(batch, k, classes)``.
        signed: The gradient with its sign.
        smooth: Mean, mean of squares or variance of the gradient over noisy copies of each image; the mean's absolute
            value is taken last.
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
        The gradient is exact. What it says is local: a rectifier that is far off its kink has none, and a network that
        is sure hardly any, however much a pixel matters; it adds up to nothing.

    Source:
        Simonyan, Vedaldi & Zisserman 2014, "Deep Inside Convolutional Networks", section 3; Smilkov et al. 2017,
        "SmoothGrad", section 2, for the noise.

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[2.0, -3.0]]))
    >>> saliency(Network(linear), torch.ones(1, 1, 1, 2), torch.tensor([0])).maps.tolist()
    [[[[2.0, 3.0]]]]
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    found = gradient_maps(
        network,
        inputs,
        target,
        lambda _, gradients: gradients,
        against=against,
        smooth=smooth,
        chunk_size=chunk_size,
        progress=progress,
    )
    maps = found.maps if signed else found.maps.abs()
    return Saliency(maps, found.standard_error, found.n_draws, found.chunk_size)
