"""Sums over pieces of paths, by layer: as a map, as scores, and whole where asked for."""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch

from attribution.networks.lattices import Placement


class Piece(NamedTuple):
    """What one piece of a path contributes at one layer, to one class of one image; ``whole`` only where asked for.

    ``map`` ``(height, width)`` for layers with space, ``scores`` ``(channels,)``, ``squares`` ``(channels,)`` for
    scores of random samples.
    """

    layer: str
    image: int
    number: int
    map: torch.Tensor | None
    scores: torch.Tensor
    squares: torch.Tensor | None
    whole: torch.Tensor | None


class LayerTotals:
    """Running sums, float64, keyed by layer: ``maps``, ``scores`` and ``squares`` ``(batch, k, ...)``, ``raw``.

    Args:
        batch: Images.
        k: Classes of each.
        raw: Layers whose values are also kept whole.
        placements: Where values lie in the image.
        unplaced: Layers of three axes without a placement that are taken for feature maps; all unless told.

    >>> totals = LayerTotals(1, 1, raw=())
    >>> totals.add([totals.piece("conv", 0, 0, torch.ones(2, 3, 4), share=2)] * 2)
    >>> totals.scores["conv"].tolist(), totals.maps["conv"].shape
    ([[[12.0, 12.0]]], torch.Size([1, 1, 3, 4]))
    """

    def __init__(
        self,
        batch: int,
        k: int,
        raw: Collection[str],
        placements: Mapping[str, Placement] = MappingProxyType({}),
        unplaced: Collection[str] | None = None,
    ) -> None:
        """Starts empty."""
        self._rows, self._whole = (batch, k), frozenset(raw)
        self._placements, self._unplaced = placements, unplaced
        self.maps: dict[str, torch.Tensor] = {}
        self.scores: dict[str, torch.Tensor] = {}
        self.squares: dict[str, torch.Tensor] = {}
        self.raw: dict[str, torch.Tensor] = {}

    def piece(
        self,
        layer: str,
        image: int,
        number: int,
        contributions: torch.Tensor,
        share: int,
        squares: torch.Tensor | None = None,
    ) -> Piece:
        """Returns one of ``share`` contributions ``(channels, ...)`` to a mean, before anything is added."""
        by_place = self._by_place(layer, contributions)
        return Piece(
            layer,
            image,
            number,
            None if by_place is None else by_place.sum(0).double() / share,
            self.by_channel(layer, contributions.unsqueeze(0))[0].double() / share,
            None if squares is None else squares / share,
            contributions / share if layer in self._whole else None,
        )

    def by_channel(self, layer: str, contributions: torch.Tensor) -> torch.Tensor:
        """Returns sums ``(n, channels)`` of contributions ``(n, ...)``; of tokens, one for each of them."""
        placement = self._placements.get(layer)
        if placement is not None and len(placement.axes) == 2:
            contributions = placement.maps(contributions)
        return contributions.reshape(
            len(contributions), contributions.shape[1] if contributions.dim() > 1 else 1, -1
        ).sum(2)

    def _by_place(self, layer: str, contributions: torch.Tensor) -> torch.Tensor | None:
        """Returns contributions ``(channels, height, width)``, or nothing where they have no places."""
        placement = self._placements.get(layer)
        if placement is not None:
            return placement.maps(contributions.unsqueeze(0))[0] if placement.is_read else None
        is_taken = self._unplaced is None or layer in self._unplaced
        return contributions if contributions.dim() == 3 and is_taken else None

    def add(self, pieces: Iterable[Piece]) -> None:
        """Adds pieces up."""
        for piece in pieces:
            place = (piece.image, piece.number)
            self._sum(self.scores, piece.layer, piece.scores)[place] += piece.scores
            if piece.map is not None:
                self._sum(self.maps, piece.layer, piece.map)[place] += piece.map
            if piece.squares is not None:
                self._sum(self.squares, piece.layer, piece.squares)[place] += piece.squares
            if piece.whole is not None:
                self._sum(self.raw, piece.layer, piece.whole, piece.whole.dtype)[place] += piece.whole

    def expect(self, shapes: Mapping[str, torch.Size], like: torch.Tensor) -> None:
        """Starts the sums of layers ``(n, channels, ...)`` with zeros: no gradient reaches those that nothing reads."""
        wide = torch.promote_types(like.dtype, torch.float32)
        for layer, shape in shapes.items():
            if layer not in self.scores:
                self.add([self.piece(layer, 0, 0, like.new_zeros(shape[1:], dtype=wide), 1)])

    def _sum(
        self, sums: dict[str, torch.Tensor], layer: str, like: torch.Tensor, dtype: torch.dtype = torch.float64
    ) -> torch.Tensor:
        if layer not in sums:
            sums[layer] = torch.zeros(*self._rows, *like.shape, dtype=dtype, device=like.device)
        return sums[layer]


def completeness(
    scores: Mapping[str, torch.Tensor], cutting: Collection[str], change: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Returns for each layer its sum minus the change ``(batch, k)`` of the output.

    NaN stands where the layer does not cut the network: its sum is the share that flows through it, which nothing
    else tells.
    """
    unknown = torch.full_like(change, torch.nan)
    return {
        layer: (values.sum(-1) - change if layer in cutting else unknown.clone()) for layer, values in scores.items()
    }
