"""A network's speed is that of its fastest runs, whatever the machine does for a moment."""

from itertools import accumulate, chain, repeat

import pytest
import torch
from torch import nn

import attribution
from workers.models.speed import speed_of

IMAGES = 2
"""That run together."""


def clock(*taken):
    """Each run takes so many seconds, from the last on all the same; the time between runs is none."""
    durations = chain(taken, repeat(taken[-1]))
    return accumulate(chain.from_iterable((0.0, duration) for duration in durations)).__next__


def network():
    return attribution.Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2))


def test_load_during_the_first_runs_does_not_decide():
    found = speed_of(network(), clock(0.08, 0.08, 0.08, 0.01))
    assert found.forward == pytest.approx(0.01 / IMAGES)
    assert found.gradient == pytest.approx(0.01 / IMAGES)


@pytest.mark.parametrize(("a_run", "runs"), [(0.001, 10), (0.2, 3), (3.0, 2)])
def test_slow_networks_run_less_often(a_run, runs):
    seen = []
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, *_: seen.append(1) if isinstance(module, nn.Linear) else None
    )
    found, before = network(), len(seen)
    found.examples()
    before = len(seen)
    speed_of(found, clock(a_run))
    hook.remove()
    assert len(seen) - before == 2 * runs  # forward alone, then with a gradient
