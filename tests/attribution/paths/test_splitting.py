import itertools
import math

import pytest
import torch

from attribution.paths.splitting import FIRST_INTERVALS, Splitting, StopRule


def run(splitting, functions):
    """Answers what a splitting wants from functions ``t -> (values, slopes)``, one a path, until it is done."""
    places = []
    while True:
        wanted = splitting.wanted()
        for place in wanted:
            values, slopes = functions[place.path](place.t)
            splitting.add(place, *(torch.tensor(row, dtype=torch.float64) for row in (values, slopes, slopes)))
        splitting.refresh()
        places.append(wanted)
        if splitting.is_done():
            return places


def step(centre, sharpness=100.0):
    """A smooth step, constant but around its centre."""

    def function(t):
        value = 1 / (1 + math.exp(-sharpness * (t - centre)))
        return [value], [sharpness * value * (1 - value)]

    return function


def test_begins_with_an_even_grid_and_goes_where_the_change_is():
    splitting = Splitting(1, StopRule(0.01, 0.0, 0.15, 256))
    first, *later = run(splitting, [step(0.8)])
    assert [place.t for place in first] == [i / FIRST_INTERVALS for i in range(FIRST_INTERVALS + 1)]
    near = [abs(place.t - 0.8) < 0.15 for wanted in later for place in wanted]
    assert sum(near) > 0.7 * len(near)
    assert abs(float(splitting.net_gap())) <= 0.01
    assert float(splitting.absolute_gap()) <= 0.15
    assert float(splitting.integral(0)) == pytest.approx(1.0, abs=0.011)


def test_no_place_is_evaluated_twice():
    places = list(itertools.chain(*run(Splitting(1, StopRule(1e-4, 0.0, 0.01, 256)), [step(0.3)])))
    assert len(places) == len(set(places))


def test_paths_share_budget_and_rule():
    """The flat path keeps its first grid, the steep one gets the rest; gaps are averaged."""
    splitting = Splitting(2, StopRule(0.01, 0.0, 0.15, 64))
    places = list(itertools.chain(*run(splitting, [lambda t: ([t], [1.0]), step(0.6)])))
    counts = [sum(place.path == path for place in places) for path in (0, 1)]
    assert counts[0] == FIRST_INTERVALS + 1
    assert counts[1] > 2 * counts[0]
    assert abs(float(splitting.net_gap())) <= 0.01
    assert float(splitting.integral(0)) == pytest.approx(1.0)


def test_every_class_must_be_within_its_own_tolerance():
    """The second class changes a hundred times less and later."""

    def function(t):
        (first,), (first_slope,) = step(0.2)(t)
        (second,), (second_slope,) = step(0.7)(t)
        return [first, second / 100], [first_slope, second_slope / 100]

    splitting = Splitting(1, StopRule(0.01, 0.0, 0.15, 256))
    run(splitting, [function])
    assert (splitting.net_gap().abs() <= torch.tensor([0.01, 0.0001])).all()


@pytest.mark.parametrize("max_steps", [FIRST_INTERVALS + 1, 6, 17])
def test_the_budget_is_spent_exactly(max_steps):
    splitting = Splitting(1, StopRule(1e-9, 0.0, 1e-9, max_steps))
    run(splitting, [step(0.37)])
    assert splitting.n_points == max_steps


def test_atol_ends_what_changes_nothing():
    splitting = Splitting(1, StopRule(0.01, 0.05, 0.15, 256))
    run(splitting, [lambda t: ([0.01 * math.sin(9 * t)], [0.09 * math.cos(9 * t)])])
    assert splitting.n_points == FIRST_INTERVALS + 1


def test_cancelling_gaps_do_not_count_as_small():
    """A bump's rise and fall cancel in the net gap; the sum of absolute gaps sees them."""

    def bump(t):
        (rise,), (up,) = step(0.375, 60.0)(t)
        (fall,), (down,) = step(0.625, 60.0)(t)
        return [rise - fall + t], [up - down + 1.0]

    lenient, strict = (Splitting(1, StopRule(0.01, 0.0, share, 256)) for share in (100.0, 0.15))
    run(lenient, [bump])
    run(strict, [bump])
    assert lenient.n_points == FIRST_INTERVALS + 1
    assert float(lenient.absolute_gap()) > 0.15
    assert strict.n_points > lenient.n_points
    assert float(strict.absolute_gap()) <= 0.15
