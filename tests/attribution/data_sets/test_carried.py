"""What a cue carries, against counting by hand and leaving images out one by one."""

import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from attribution.data_sets.carried import carried
from attribution.errors import InvalidInput


def answers(n: int = 80, seed: int = 0):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (n,), generator=draw) * (torch.rand(n, generator=draw) < 0.8)
    lot = torch.randint(5, (2, n), generator=draw)
    intact = torch.where(torch.rand(n, generator=draw) < 0.9, labels, lot[0])
    return labels, intact, torch.where(torch.rand(n, generator=draw) < 0.4, labels, lot[1])


def slow(labels, intact, cue):
    def above(given):
        n = len(labels)
        right = sum(a == b for a, b in zip(labels, given, strict=True)) / n
        chance = sum(labels.count(one) * given.count(one) for one in set(labels)) / n**2
        return right - chance

    return above(cue) / above(intact)


def test_it_is_what_counting_finds():
    labels, intact, cue = answers()
    found = carried(labels, intact, cue)
    lists = [one.tolist() for one in (labels, intact, cue)]
    assert found.carried == pytest.approx(slow(*lists))
    left = [slow(*([value for at, value in enumerate(one) if at != out] for one in lists)) for out in range(80)]
    mean = sum(left) / 80
    assert found.carried_error == pytest.approx((79 / 80 * sum((one - mean) ** 2 for one in left)) ** 0.5)
    assert found.accuracy == float((labels == cue).double().mean())


def test_above_chance_is_the_numerator_of_kappa():
    labels, intact, cue = answers(seed=2)
    kappas = [cohen_kappa_score(labels, one) for one in (cue, intact)]
    chances = [
        float(sum((labels == c).double().mean() * (one == c).double().mean() for c in range(5)))
        for one in (cue, intact)
    ]
    wanted = kappas[0] * (1 - chances[0]) / (kappas[1] * (1 - chances[1]))
    assert carried(labels, intact, cue).carried == pytest.approx(wanted)


def test_closed_forms():
    labels, intact, _ = answers()
    assert carried(labels, intact, intact).carried == pytest.approx(1)
    assert carried(labels, intact, intact).carried_error == pytest.approx(0, abs=1e-12)
    constant = torch.zeros_like(labels)
    assert carried(labels, intact, constant).carried == pytest.approx(0, abs=1e-12)
    assert carried(labels, constant, intact).carried is None


def test_the_error_is_that_of_new_draws():
    found = [carried(*answers(400, seed)) for seed in range(40)]
    spread = torch.tensor([one.carried for one in found]).std()
    told = torch.tensor([one.carried_error for one in found]).mean()
    assert 0.7 < float(told / spread) < 1.4


def test_bad_input():
    labels, intact, cue = answers()
    with pytest.raises(InvalidInput, match="as many"):
        carried(labels, intact, cue[1:])
    with pytest.raises(InvalidInput, match="as many"):
        carried(labels[:0], intact[:0], cue[:0])
