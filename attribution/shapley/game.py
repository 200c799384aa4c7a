"""The cooperative game of a layer: what the network says where some of the layer's players are absent."""

from typing import Literal, NamedTuple, Self

import torch

from attribution.passes.chunks import Chunks
from attribution.passes.tails import Cached, Tail, Whole
from attribution.shapley.players import Owners
from attribution.targets import Targets

Excluded = Literal["mean", "average"]


class Ends(NamedTuple):
    """The worth of nobody and of everybody, float64 ``(batch, k)``."""

    empty: torch.Tensor
    full: torch.Tensor

    @property
    def change(self) -> torch.Tensor:
        """What the players share."""
        return self.full - self.empty


class Estimate(NamedTuple):
    """``values`` and their ``standard_error``, float64 ``(batch, k, players)``, the draws and the cost ``(batch,)``."""

    values: torch.Tensor
    standard_error: torch.Tensor | None
    n_draws: torch.Tensor
    n_evaluations: torch.Tensor

    @classmethod
    def exact(cls, values: torch.Tensor, n_evaluations: int) -> Self:
        """Returns values without an error."""
        batch = len(values)
        return cls(values, None, torch.zeros(batch, dtype=torch.int64), torch.full((batch,), n_evaluations))


class Game:
    r"""The worth :math:`v(S)` of coalitions for each image and target.

    With the background's mean activation, ``(1, ...)``, as ``absent``, players outside :math:`S` hold it; with several
    activations :math:`v` is the mean of the outputs over them, one in the place of absent players at a time.
    """

    def __init__(
        self, tail: Tail | Whole, cached: Cached, absent: torch.Tensor, owners: Owners, target: Targets, chunks: Chunks
    ) -> None:
        """Takes activations ``(n_absent, ...)`` and what is explained of each image."""
        self.has_slopes = tail.network.no_gradients is None
        self.target, self.chunks = target, chunks
        self._tail, self._cached, self._absent, self._owners = tail, cached, absent, owners

    @property
    def batch(self) -> int:
        """Images."""
        return self.target.batch

    @property
    def device(self) -> torch.device:
        """Of the images."""
        return self.target.classes.device

    @property
    def n_players(self) -> int:
        """Players of the layer."""
        return self._owners.n_players

    @property
    def worth_cost(self) -> int:
        """Evaluations of the tail that a coalition takes."""
        return len(self._absent)

    @property
    def slopes_cost(self) -> int:
        """The same for slopes, where a backward pass, one a target, counts for two forward ones."""
        return len(self._absent) * (1 + 2 * self.target.k)

    def worth(self, coalitions: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Returns ``v(S)``, float64 ``(n, k)``, for boolean coalitions ``(n, players)`` of images ``(n,)``."""
        n_absent, device = len(self._absent), self.device
        coalitions, images = coalitions.to(device), images.to(device)
        table = torch.zeros(len(images) * n_absent, self.target.k, dtype=torch.float64, device=device)

        def work(start: int, stop: int) -> None:
            items = torch.arange(start, stop, device=device)
            rows, absent = images[items // n_absent], self._absent[items % n_absent]
            present = self._owners.present(coalitions[items // n_absent])
            points = torch.where(present, self._cached.activation[rows], absent)
            with torch.no_grad():
                outputs = self._tail.run(points, self._cached, rows)
            table[start:stop] = self.target.rows(rows).of(outputs).double()

        self.chunks.run(len(table), work)
        return table.view(len(images), n_absent, -1).mean(1)

    def slopes(self, shares: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Returns how ``v`` changes with each player's share, float64 ``(n, k, players)``, at ``(n, players)``.

        A share leads from the absent activation, 0, straight to the image's own, 1.
        """
        n_absent, device = len(self._absent), self.device
        shares, images = shares.to(device), images.to(device)
        k = self.target.k
        table = torch.zeros(len(images) * n_absent, k, self.n_players, dtype=torch.float64, device=device)

        def work(start: int, stop: int) -> None:
            items = torch.arange(start, stop, device=device)
            rows, absent = images[items // n_absent], self._absent[items % n_absent]
            way = self._cached.activation[rows] - absent
            points = absent + self._owners.present(shares[items // n_absent].to(way)) * way
            with torch.enable_grad():
                points = points.requires_grad_()
                sums = self.target.rows(rows).of(self._tail.run(points, self._cached, rows)).sum(0).unbind()
            for j, value in enumerate(sums):
                gradient = _gradient(value, points, again=j < k - 1)
                table[start:stop, j] = self._owners.summed((gradient * way).double())

        self.chunks.run(len(table), work)
        return table.view(len(images), n_absent, k, -1).mean(1)

    def ends(self) -> Ends:
        """Returns the worth of nobody and of everybody."""
        images = torch.arange(self.batch).repeat(2)
        coalitions = torch.arange(2 * self.batch).unsqueeze(1).expand(-1, self.n_players) >= self.batch
        worth = self.worth(coalitions, images)
        return Ends(worth[: self.batch], worth[self.batch :])


def _gradient(value: torch.Tensor, points: torch.Tensor, *, again: bool) -> torch.Tensor:
    if not value.requires_grad:
        # Nothing leads from the layer to the output.
        return torch.zeros_like(points)
    return torch.autograd.grad(value, points, retain_graph=again, materialize_grads=True)[0]
