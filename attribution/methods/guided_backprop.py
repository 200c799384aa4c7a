"""Guided backpropagation: the gradient, of which each rectifier hands back what is positive."""

from typing import NamedTuple

import torch

from attribution.networks.network import Network
from attribution.passes.chunks import Progress
from attribution.passes.gradient_maps import gradient_maps
from attribution.passes.smoothing import Smooth
from attribution.propagation.rectifiers import rectified_pass


class GuidedBackprop(NamedTuple):
    """``maps`` of each input value, and their error figures.

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


def guided_backprop(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    against: torch.Tensor | None = None,
    smooth: Smooth | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> GuidedBackprop:
    r"""Shows what excites the rectifiers on the way to a class: the gradient without what is negative at any of them.

    .. math:: g_x = g_y \, [g_y > 0] \, [x > 0]

    at every rectifier :math:`y = \max(x, 0)`, be it a module or a function, reused or in place; everything else keeps
    its derivative.

    Args:
        network: What to explain, with a graph and rectifiers; its ``output`` says in which unit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)`` to explain k classes from the same forward passes.
        against: What each class is held against, so that a difference of outputs is explained: a class, int64 like
            ``target``, or weights over the classes, float ``(batch, classes)`` or ``(batch, k, classes)``. The map is
            not the difference of both maps.
        smooth: Mean, mean of squares or variance of the maps over noisy copies of each image.
        chunk_size: Images at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with passes done and in all; may raise to cancel.

    Returns:
        The maps; with noise and their standard error.

    Raises:
        InvalidInput: Inputs or generators do not fit the network or each other.
        InvalidTarget: Not one row of existing classes an image.
        InvalidOption: An option out of range.
        NetworkError: The network has no graph, no rectifier or something else in the place of one, or lets no finite
            gradient through.
        OutOfMemory: A single image does not fit into memory.

    Cost:
        One forward and k backward passes an image and noisy copy.

    Guarantee:
        None of a decision: the map hardly changes when the weights of the upper layers are drawn at random (Adebayo et
        al. 2018), for it recovers edges of the image (Nie et al. 2018). It adds up to nothing.

    Source:
        Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net", section 3.4; Adebayo et al.
        2018, "Sanity Checks for Saliency Maps"; Nie et al. 2018, "A Theoretical Explanation for Perplexing Behaviors
        of Backpropagation-based Visualizations".

    >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.ReLU(), torch.nn.Linear(3, 1, bias=False))
    >>> _ = module[2].weight.data.copy_(torch.tensor([[2.0, -3.0, 4.0]]))
    >>> guided_backprop(Network(module), torch.tensor([[[[1.0, 1.0, -1.0]]]]), torch.tensor([0])).maps.tolist()
    [[[[2.0, 0.0, 0.0]]]]
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    return GuidedBackprop(
        *gradient_maps(
            network,
            inputs,
            target,
            lambda _, gradients: gradients,
            against=against,
            smooth=smooth,
            chunk_size=chunk_size,
            progress=progress,
            outputs=lambda: rectified_pass(network, "guided", "guided_backprop"),
        )
    )
