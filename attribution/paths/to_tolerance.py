"""Path integrals of gradients to a tolerance, many images at a time."""

from typing import NamedTuple

import torch

from attribution.networks.network import Network
from attribution.passes.chunks import Chunks
from attribution.passes.gradients import target_gradients
from attribution.paths.splitting import FIRST_INTERVALS, Place, Splitting, StopRule
from attribution.paths.straight import Paths, PathSums


class _Request(NamedTuple):
    row: int
    place: Place


class _Finished(NamedTuple):
    attributions: torch.Tensor
    net_gap: torch.Tensor
    absolute_gap: torch.Tensor
    n_points: int


def tolerant_sums(network: Network, paths: Paths, rule: StopRule, chunks: Chunks) -> PathSums:
    """Returns ``(x - x')`` times the integral of the gradients, each image split until its own gaps are small.

    Images are worked on together, as many as fill a chunk, and leave as they finish.

    Cost:
        One forward and k backward passes a point; holds the gradients of the images in work.
    """
    waiting = list(range(len(paths.inputs)))
    active: dict[int, Splitting] = {}
    finished: dict[int, _Finished] = {}
    while waiting or active:
        while waiting and len(active) * FIRST_INTERVALS < chunks.size:
            active[waiting.pop(0)] = Splitting(paths.n_baselines, rule)
        _evaluate(network, paths, active, chunks)
        for row in [row for row, splitting in active.items() if splitting.is_done()]:
            finished[row] = _finish(paths, row, active.pop(row))
            chunks.advance(rule.max_steps * paths.n_baselines - finished[row].n_points)
    rows = [finished[row] for row in range(len(paths.inputs))]
    device = paths.inputs.device
    return PathSums(
        attributions=torch.stack([row.attributions for row in rows]),
        convergence_delta=torch.stack([row.net_gap for row in rows]).to(device),
        absolute_gap=torch.stack([row.absolute_gap for row in rows]).to(device),
        n_steps=torch.tensor([row.n_points for row in rows], device=device),
    )


def _evaluate(network: Network, paths: Paths, active: dict[int, Splitting], chunks: Chunks) -> None:
    """One round: every active image's wanted points, in chunks across images."""
    requests = [_Request(row, place) for row, splitting in active.items() for place in splitting.wanted()]
    device = paths.inputs.device
    numbers = torch.tensor([row * paths.n_baselines + place.path for row, place in requests], device=device)
    t = torch.tensor([request.place.t for request in requests], dtype=torch.float64, device=device)

    def work(start: int, stop: int) -> None:
        own = numbers[start:stop]
        values, gradients = target_gradients(network, paths.points(own, t[start:stop]), paths.targets(own))
        along = paths.differences(own).unsqueeze(1).to(gradients)
        slopes = (gradients * along).flatten(2).sum(2, dtype=torch.float64).cpu()
        known = values.double().cpu()
        # A slice of the chunk would keep all of it alive.
        kept = [gradient.clone() for gradient in gradients]
        for (row, place), *evaluated in zip(requests[start:stop], known, slopes, kept, strict=True):
            active[row].add(place, *evaluated)

    chunks.run(len(requests), work)
    for splitting in active.values():
        splitting.refresh()


def _finish(paths: Paths, row: int, splitting: Splitting) -> _Finished:
    numbers = torch.arange(row * paths.n_baselines, (row + 1) * paths.n_baselines, device=paths.inputs.device)
    parts = [
        splitting.integral(path) * paths.differences(numbers[path : path + 1]) for path in range(paths.n_baselines)
    ]
    return _Finished(torch.stack(parts).mean(0), splitting.net_gap(), splitting.absolute_gap(), splitting.n_points)
