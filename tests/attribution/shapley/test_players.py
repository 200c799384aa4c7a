import pytest
import torch

from attribution.errors import InvalidOption
from attribution.shapley.players import Cells, Groups, owners


@pytest.mark.parametrize(
    ("players", "shape"),
    [
        ("feature_maps", (5, 3, 4)),
        ("feature_maps", (5,)),
        (Groups([[4, 0], [1], [2, 3]]), (5, 3, 4)),
        (Groups([[0, 1, 2]]), (3,)),
        (Cells(2, 3), (5, 5, 7)),
        (Cells(3, 4), (5, 3, 4)),
        (Cells(1, 1), (2, 3, 4)),
    ],
)
def test_every_value_has_one_owner_and_every_player_a_value(players, shape):
    found = owners(players, shape)
    owner = found.owner.expand(shape)
    assert owner.unique().tolist() == list(range(found.n_players))
    present = found.present(torch.eye(found.n_players, dtype=torch.bool)).expand(-1, *shape)
    assert torch.equal(present.sum(0), torch.ones(shape, dtype=torch.int64))


def test_groups_own_their_feature_maps_and_cells_rectangles():
    present = owners(Groups([[4, 0], [1, 2, 3]]), (5, 2, 2)).present(torch.tensor([[True, False]]))
    assert present.flatten().tolist() == [True, False, False, False, True]
    found = owners(Cells(2, 2), (3, 4, 6)).owner.expand(3, 4, 6)
    for row in range(4):
        for column in range(6):
            assert found[:, row, column].tolist() == [row // 2 * 2 + column // 3] * 3


def test_sums_are_over_what_a_player_owns():
    values = torch.randn(2, 4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_map = owners("feature_maps", (4, 3, 5)).summed(values)
    assert torch.allclose(by_map, values.sum((2, 3)))
    by_cell = owners(Cells(1, 5), (4, 3, 5)).summed(values.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(by_cell, values.sum((1, 2)))


@pytest.mark.parametrize(
    ("players", "shape", "message"),
    [
        ("pixels", (3, 2, 2), "players is 'pixels', expected \"feature_maps\""),
        (Groups([[0], [1, 0], [2]]), (3,), "feature map 0 is in the groups 0 and 1"),
        (Groups([[0], [2]]), (4,), r"feature maps \[1, 3\] are in no group, expected each of 4 in one; add a group"),
        (Groups([[0, 1], []]), (2,), "group 1 is empty"),
        (Groups([[0, 7]]), (2,), "feature map of group 0 is 7, expected 0 to 1"),
        (Groups([[0, 1.0]]), (2,), "feature map of group 0 is 1.0, expected an integer"),
        (Cells(3, 2), (4, 2, 2), "rows of cells is 3, expected 1 to 2"),
        (Cells(1, 0), (4, 2, 2), "columns of cells is 0, expected 1 to 2"),
        (Cells(1, 1), (4,), "no height and width for cells"),
        ("feature_maps", (), "no players"),
    ],
)
def test_players_that_do_not_fit_the_layer_are_refused(players, shape, message):
    with pytest.raises(InvalidOption, match=message):
        owners(players, shape)
