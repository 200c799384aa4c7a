"""The players of a layer's game: its feature maps, groups of them, or cells of space."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

from attribution.checks import require_count
from attribution.errors import InvalidOption


class Groups(NamedTuple):
    """Each player is several feature maps, by index; every feature map belongs to exactly one player."""

    members: Sequence[Sequence[int]]


class Cells(NamedTuple):
    """Each player is a rectangle of all feature maps, row by row of a grid that covers height and width."""

    rows: int
    columns: int


Players = Literal["feature_maps"] | Groups | Cells


class Owners(NamedTuple):
    """The ``owner`` of each value, an index that broadcasts over the activation's ``shape`` without the batch."""

    owner: torch.Tensor
    shape: tuple[int, ...]
    n_players: int

    def present(self, coalitions: torch.Tensor) -> torch.Tensor:
        """Returns which values take part, ``(n, ...)`` that broadcasts over activations, for ``(n, n_players)``."""
        return coalitions[:, self.owner]

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """Returns sums ``(n, n_players)`` of values ``(n, *shape)`` over what each player owns."""
        owner = self.owner.expand(self.shape).flatten()
        return values.new_zeros(len(values), self.n_players).index_add_(1, owner, values.flatten(1))


def segment_owners(labels: torch.Tensor, channels: int) -> Owners:
    """Returns who owns what of an image, by labels ``(height, width)``: each label is a player, in rising order.

    >>> segment_owners(torch.tensor([[7, 2]]), 3).owner.tolist()
    [[[1, 0]]]
    """
    known, owner = torch.unique(labels, return_inverse=True)
    return Owners(owner.unsqueeze(0), (channels, *labels.shape), len(known))


def owners(players: Players, shape: tuple[int, ...], device: torch.device | None = None) -> Owners:
    """Returns who owns what of an activation of this shape, without the batch.

    Raises:
        InvalidOption: The players do not fit the layer.

    >>> owners(Groups([[0, 2], [1]]), (3, 4, 4)).owner.flatten().tolist()
    [0, 1, 0]
    >>> owners(Cells(1, 2), (3, 2, 4)).owner.expand(1, 2, 4).tolist()
    [[[0, 0, 1, 1], [0, 0, 1, 1]]]
    """
    if not shape:
        raise InvalidOption("the layer has one value an image and no players; choose another layer")
    if players == "feature_maps":
        owner = torch.arange(shape[0])
        n_players = shape[0]
    elif isinstance(players, Groups):
        owner, n_players = _group_owner(players, shape[0]), len(players.members)
    elif isinstance(players, Cells):
        return Owners(_cell_owner(players, shape).to(device), shape, players.rows * players.columns)
    else:
        raise InvalidOption(f'players is {players!r}, expected "feature_maps", Groups(...) or Cells(...)')
    return Owners(owner.view(-1, *[1] * (len(shape) - 1)).to(device), shape, n_players)


def _group_owner(groups: Groups, n_maps: int) -> torch.Tensor:
    owner = torch.full((n_maps,), -1)
    for number, members in enumerate(groups.members):
        if not members:
            raise InvalidOption(f"group {number} is empty, expected at least one feature map")
        for member in members:
            require_count(member, f"feature map of group {number}", 0, n_maps - 1)
            if int(owner[member]) >= 0:
                raise InvalidOption(f"feature map {member} is in the groups {int(owner[member])} and {number}")
            owner[member] = number
    missing = (owner < 0).nonzero().flatten().tolist()
    if missing:
        raise InvalidOption(
            f"feature maps {missing} are in no group, expected each of {n_maps} in one; add a group for the rest"
        )
    return owner


def _cell_owner(cells: Cells, shape: tuple[int, ...]) -> torch.Tensor:
    if len(shape) != 3:
        raise InvalidOption(
            f"the layer's output {shape} has no height and width for cells, expected (channels, height, width);"
            " use feature_maps"
        )
    require_count(cells.rows, "rows of cells", 1, shape[1])
    require_count(cells.columns, "columns of cells", 1, shape[2])
    row = torch.arange(shape[1]) * cells.rows // shape[1]
    column = torch.arange(shape[2]) * cells.columns // shape[2]
    return (row.unsqueeze(1) * cells.columns + column).unsqueeze(0)
