"""The cooperative game of a layer: what the network says where some of the layer's players are absent."""

from typing import Literal

import torch

from attribution.memory import Chunks
from attribution.players import Owners
from attribution.tails import Cached, Tail

Excluded = Literal["mean", "average"]


class Game:
    r"""The worth :math:`v(S)` of coalitions for each image and target.

    With ``"mean"``, players outside :math:`S` hold the background's mean activation; with ``"average"``, :math:`v` is
    the mean of the outputs with each background image's own activation in their place.
    """

    def __init__(
        self,
        tail: Tail,
        cached: Cached,
        background: torch.Tensor,
        owners: Owners,
        target: torch.Tensor,
        chunks: Chunks,
        excluded: Excluded = "mean",
    ) -> None:
        """Takes the layer's activations on the background, ``(n_background, ...)``, and targets ``(batch, k)``."""
        self.tail, self.cached, self.owners, self.target, self.chunks = tail, cached, owners, target, chunks
        self.absent = background.mean(0, keepdim=True) if excluded == "mean" else background

    @property
    def batch(self) -> int:
        """Images."""
        return len(self.target)

    @property
    def n_players(self) -> int:
        """Players of the layer."""
        return self.owners.n_players

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.target.device

    def worth(self, coalitions: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Returns ``v(S)``, float64 ``(n, k)``, for coalitions ``(n, players)`` of images ``(n,)``.

        Cost:
            A forward pass of the tail a coalition; for ``"average"`` one for each background image.
        """
        n_absent = len(self.absent)
        table = torch.zeros(len(images) * n_absent, self.target.shape[1], dtype=torch.float64, device=self.device)

        def work(start: int, stop: int) -> None:
            items = torch.arange(start, stop, device=self.device)
            rows, absent = images[items // n_absent], self.absent[items % n_absent]
            present = self.owners.present(coalitions[items // n_absent])
            points = torch.where(present, self.cached.activation[rows], absent)
            with torch.no_grad():
                outputs = self.tail.run(points, self.cached, rows)
            table[start:stop] = outputs.gather(1, self.target[rows]).double()

        self.chunks.run(len(table), work)
        return table.view(len(images), n_absent, -1).mean(1)
