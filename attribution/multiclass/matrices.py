r"""Products with the attribution matrix ``A`` of an image, ``(classes, features)``, which is never held.

Where an attribution is linear in the explained output, :math:`u^T A` is the attribution of :math:`u \cdot f`, one
backward pass, and :math:`A v` one forward-mode product.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch

from attribution.multiclass.contrasts import Head, head_weight
from attribution.networks.network import Network
from attribution.passes.gradients import laid_out
from attribution.passes.tangents import Function, Tangents, tangents


class Totals(NamedTuple):
    """``outputs`` explained, ``sums`` of the matrix's rows and what ``complete`` rows sum to, all ``(n, classes)``."""

    outputs: torch.Tensor
    sums: torch.Tensor
    complete: torch.Tensor


class Rows(Protocol):
    """The attribution matrices of a batch of images; ``images`` are indices ``(n,)`` into the batch, also repeated."""

    network: Network
    inputs: torch.Tensor

    def totals(self, images: torch.Tensor) -> Totals:
        """Outputs and row sums; the sums up to a number that all classes of an image share."""
        ...

    def along(self, images: torch.Tensor, directions: torch.Tensor) -> Iterator[torch.Tensor]:
        """``u^T A`` for directions ``(m, n, classes)``, each ``(n, *features)``, float32 at least.

        Cost: a forward pass and m backward passes of n points, times the points of a path.
        """
        ...

    def times(self, images: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """``A v`` for vectors ``(n, *features)``, as ``(n, classes)``."""
        ...

    def head(self, outputs: torch.Tensor) -> Head | None:
        """A weight ``([n,] classes, d)`` whose columns, where it spans, the centred columns of ``A`` are mixes of."""
        ...


class GradientRows:
    """Signed gradients of the network, or of a function with its values and other slopes; times the input if asked."""

    def __init__(
        self, network: Network, inputs: torch.Tensor, *, times_input: bool, function: Function | None = None
    ) -> None:
        """Binds the matrices to a batch."""
        self.network, self.inputs = network, inputs
        self._times_input = times_input
        self._function: Function = network if function is None else function

    def totals(self, images: torch.Tensor) -> Totals:
        """Returns outputs and row sums from one forward-mode product."""
        found = self._tangents(images, torch.ones_like(self.inputs[images]))
        return Totals(found.values, found.products, found.values)

    def along(self, images: torch.Tensor, directions: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yields ``u^T A``: one forward pass, one backward pass a direction."""
        points = laid_out(self.inputs[images])
        for gradient in vector_jacobians(self._function, points, directions):
            yield gradient.mul_(points) if self._times_input else gradient

    def times(self, images: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Returns ``A v``: one forward-mode product."""
        return self._tangents(images, vectors).products

    def head(self, outputs: torch.Tensor) -> Head | None:
        """Returns the last weight; for probabilities through the softmax, which differs by image."""
        return output_head(self.network, outputs)

    def _tangents(self, images: torch.Tensor, vectors: torch.Tensor) -> Tangents:
        points = self.inputs[images]
        return tangents(self._function, laid_out(points), vectors * points if self._times_input else vectors)


def output_head(network: Network, outputs: torch.Tensor) -> Head | None:
    """Returns the last weight as the explained outputs ``(n, classes)`` see it near these values."""
    head, found = head_weight(network), network.head
    squash = None if found is None else found.squash
    if network.output == "probability":
        squash = squash if network.link == "none" else network.link
    elif network.output == "log_probability" and network.link != "softmax":
        # Each class's logarithm has a slope of its own: the last layer is merely an order.
        return None if head is None else head._replace(spans=False)
    if head is None or squash is None:
        # Log-probabilities of a softmax differ from logits by a number that all classes share.
        return head
    weight = (
        head.weight if found is None else found.scale.to(head.weight.device).view(-1, 1) * found.scores.weight.double()
    )
    p, spans = outputs.double().unsqueeze(2), found is not None or head.spans
    if squash == "sigmoid":
        return Head(p * (1 - p) * weight, spans)
    return Head(p * (weight - (p * weight).sum(1, keepdim=True)), spans)


def vector_jacobians(function: Function, points: torch.Tensor, directions: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yields gradients ``(n, *features)`` of ``u . f`` for directions ``(m, n, classes)``, float32 at least.

    Cost:
        One forward pass, whose activations are kept until the end, and a backward pass a direction.
    """
    wide = torch.promote_types(points.dtype, torch.float32)
    with torch.enable_grad():
        points = laid_out(points.detach()).requires_grad_()
        outputs = function(points)
    for number, direction in enumerate(directions, 1):
        kept = number < len(directions)
        yield torch.autograd.grad(outputs, points, direction.to(outputs.dtype), retain_graph=kept)[0].to(wide)
