"""A classifier of which nothing is known but its outputs, because something else than torch computes them."""

from collections.abc import Callable

import torch
from torch import nn


class OutputsOnly(nn.Module):
    """A module without parameters, graph and gradients, to make a :class:`Network` of.

    Methods that need outputs only explain it; all others say why they do not apply. Images are run one at a time, so
    rows cannot meet, and a runtime that takes a fixed batch of one serves as well as any.

    Args:
        outputs: Maps one image, float32 ``(1, channels, height, width)`` on the CPU, to its outputs ``(1, classes)``.
        kind: What computes them, for messages.
        n_parameters: How many weights it has.
        n_bytes: What they take in memory.

    >>> module = OutputsOnly(lambda image: image.mean((2, 3)), kind="a table", n_parameters=0, n_bytes=0)
    >>> module(torch.ones(2, 3, 4, 4)).shape
    torch.Size([2, 3])
    >>> module.why
    'this classifier is known by its outputs only (a table): layers and gradients of it do not exist here'
    """

    #: Of the images that it takes.
    dtype = torch.float32

    def __init__(
        self, outputs: Callable[[torch.Tensor], torch.Tensor], *, kind: str, n_parameters: int, n_bytes: int
    ) -> None:
        """Keeps the function, of which copies share the one."""
        super().__init__()
        self.kind = kind
        self.n_parameters = n_parameters
        self.n_bytes = n_bytes
        self._outputs = outputs

    def __deepcopy__(self, memo: dict[int, object]) -> "OutputsOnly":
        """Returns another module over the same function, which has no weights that anybody could change."""
        return OutputsOnly(self._outputs, kind=self.kind, n_parameters=self.n_parameters, n_bytes=self.n_bytes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the raw outputs ``(batch, classes)`` on the inputs' device; they have no gradient."""
        images = inputs.detach().to("cpu", self.dtype)
        return torch.cat([self._outputs(image) for image in torch.split(images, 1)]).to(inputs.device)

    @property
    def why(self) -> str:
        """Why there is no graph and nothing to differentiate."""
        return (
            f"this classifier is known by its outputs only ({self.kind}): layers and gradients of it do not exist here"
        )
