"""How long a network takes for an image on this worker."""

import time
from collections.abc import Callable

import torch

from attribution import Network
from attribution.passes.gradients import target_gradients
from attribution.targets import Targets
from attribution_contracts.models import Speed

_IMAGES = 2
"""That run together, as many as when the methods are tried."""
_FEWEST, _MOST, _ENOUGH_S = 2, 10, 0.5
"""Runs, the fastest of which counts; no more are made once all of them took so long. A moment of load on the machine
must not decide, and a network that is quick is over in such a moment."""
Clock = Callable[[], float]


def speed_of(network: Network, clock: Clock = time.perf_counter) -> Speed:
    """The time of a forward pass, and of a forward and a backward one, for each image.

    Args:
        network: One that has run on this device before.
        clock: Tells the time in seconds.
    """
    examples = network.examples()
    inputs = examples[:1].expand(_IMAGES, *examples.shape[1:]).contiguous()
    targets = Targets(torch.zeros(_IMAGES, 1, dtype=torch.int64, device=inputs.device))

    def forward() -> None:
        with torch.no_grad():
            network.logits(inputs)

    def both() -> None:
        target_gradients(network, inputs, targets)

    has_gradients = network.no_gradients is None
    return Speed(
        forward=_fastest(forward, inputs.device, clock) / _IMAGES,
        gradient=_fastest(both, inputs.device, clock) / _IMAGES if has_gradients else None,
    )


def _fastest(run: Callable[[], None], device: torch.device, clock: Clock) -> float:
    taken = list[float]()
    while len(taken) < _FEWEST or (len(taken) < _MOST and sum(taken) < _ENOUGH_S):
        started = _now(device, clock)
        run()
        taken.append(_now(device, clock) - started)
    return min(taken)


def _now(device: torch.device, clock: Clock) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock()
