"""The most and least exciting images, against sorting all of them; and merging."""

import pytest
import torch

from attribution.data_sets.extremes import NOBODY, Extremes, extremes
from attribution.errors import InvalidInput, InvalidOption, NetworkError

MEASURES = {
    "maximum": max,
    "mean": lambda one: sum(one) / len(one),
    "absolute": lambda one: max(abs(value) for value in one),
}


def maps(count: int = 23, seed: int = 0) -> torch.Tensor:
    """Of few different values, so that many are equal."""
    return torch.randint(-3, 4, (count, 4, 2, 3), generator=torch.Generator().manual_seed(seed)).double()


def slow(values: torch.Tensor, n: int, measure: str, largest: bool) -> list[list[tuple[float, int, int]]]:
    """By Python's sorting of all images."""
    rows = []
    for channel in range(values.shape[1]):
        found = []
        for position, image in enumerate(values[:, channel].flatten(1).tolist()):
            strengths = [abs(value) for value in image] if measure == "absolute" else image
            found.append((MEASURES[measure](image), position, strengths.index(max(strengths))))
        rows.append(sorted(found, key=lambda one: (-one[0] if largest else one[0], one[1]))[:n])
    return rows


def told(ranking) -> list[list[tuple[float, int, int]]]:
    columns = zip(*(column.tolist() for column in ranking), strict=True)
    return [list(zip(*row, strict=True)) for row in columns]


@pytest.mark.parametrize("measure", MEASURES)
def test_they_are_what_sorting_finds(measure):
    found = extremes(maps(), range(23), 5, measure)
    assert told(found.most) == slow(maps(), 5, measure, True)
    assert told(found.least) == slow(maps(), 5, measure, False)
    values = torch.tensor([[one[0] for one in row] for row in slow(maps(), 23, measure, True)], dtype=torch.float64)
    assert torch.allclose(found.mean, values.mean(1))
    assert torch.allclose(found.std, values.std(1))


@pytest.mark.parametrize("cuts", [[8, 16], [1, 2, 22], [3]])
@pytest.mark.parametrize("measure", MEASURES)
def test_parts_in_any_order_are_one_pass(measure, cuts):
    values, whole = maps(seed=1), extremes(maps(seed=1), range(23), 5, measure)
    bounds = list(zip([0, *cuts], [*cuts, 23], strict=True))
    parts = [extremes(values[start:stop], range(start, stop), 5, measure) for start, stop in bounds]
    for order in (parts, parts[::-1]):
        merged = Extremes.from_bytes(order[0].to_bytes())
        for part in order[1:]:
            merged = merged.merge(Extremes.from_bytes(part.to_bytes()))
        assert told(merged.most) == told(whole.most)
        assert told(merged.least) == told(whole.least)
        assert (merged.n_images, merged.sizes) == (23, (2, 3))
        assert torch.allclose(merged.mean, whole.mean, rtol=1e-12)
        assert torch.allclose(merged.std, whole.std, rtol=1e-12)


def test_fewer_images_than_places():
    found = extremes(maps(2), range(2), 4).merge(extremes(maps(1, 5), [7], 4))
    assert (found.most.positions >= 0).sum(1).tolist() == [3] * 4
    assert found.most.positions[:, 3].tolist() == [NOBODY] * 4


def test_maps_that_few_images_excite_stand_out():
    values = torch.zeros(20, 3, 1, 1)
    values[:, 0, 0, 0] = torch.arange(20.0)  # all of them, evenly
    values[4, 1, 0, 0] = 1e-3  # one alone, however weakly
    found = extremes(values, range(20), 1)
    assert found.outstanding(5) == [1, 0]  # the third never answers
    assert found.outstanding(1) == [1]


def test_bad_input():
    with pytest.raises(InvalidInput, match="positions"):
        extremes(maps(2), [0], 1)
    with pytest.raises(InvalidOption, match="measure"):
        extremes(maps(2), [0, 1], 1, "median")
    with pytest.raises(NetworkError, match="finite"):
        extremes(maps(2) / 0, [0, 1], 1)
    with pytest.raises(InvalidInput, match="other layers"):
        extremes(maps(2), [0, 1], 1).merge(extremes(maps(2), [0, 1], 2))
