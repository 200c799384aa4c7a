"""How long a network takes for an image on this worker."""

import time
from collections.abc import Callable

import torch

from attribution import Network
from attribution.passes.gradients import target_gradients
from attribution.targets import Targets
from attribution_contracts.models import Speed

_IMAGES, _RUNS = 2, 2
"""Images that run together, as many as when the methods are tried; and the runs, the fastest of which counts."""


def speed_of(network: Network) -> Speed:
    """The time of a forward pass, and of a forward and a backward one, for each image.

    Args:
        network: One that has run on this device before.
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
        forward=_fastest(forward, inputs.device) / _IMAGES,
        gradient=_fastest(both, inputs.device) / _IMAGES if has_gradients else None,
    )


def _fastest(run: Callable[[], None], device: torch.device) -> float:
    taken = []
    for _ in range(_RUNS):
        started = _now(device)
        run()
        taken.append(_now(device) - started)
    return min(taken)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
