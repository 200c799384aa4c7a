"""Straight paths from each image's baselines to the image, as points and as sums."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from attribution.errors import InvalidInput
from attribution.networks.network import Network
from attribution.passes.chunks import Chunks
from attribution.passes.gradients import laid_out
from attribution.targets import Targets


class PathSums(NamedTuple):
    """What a sum along the paths gives, averaged over an image's baselines.

    ``attributions`` ``(batch, k, *features)``; ``convergence_delta`` and ``absolute_gap`` ``(batch, k)``, the latter
    NaN where a rule cannot tell; ``n_steps`` ``(batch,)``, points of all paths of an image.
    """

    attributions: torch.Tensor
    convergence_delta: torch.Tensor
    absolute_gap: torch.Tensor
    n_steps: torch.Tensor


class Paths(NamedTuple):
    """Path ``p`` belongs to image ``p // n_baselines`` and starts at baseline ``p % n_baselines``.

    ``inputs`` ``(batch, *features)``; ``baselines`` ``(n_baselines, 1 | batch, *features)``; ``target``
    what is explained of each image.
    """

    inputs: torch.Tensor
    baselines: torch.Tensor
    target: Targets

    @property
    def n_baselines(self) -> int:
        """Paths of one image."""
        return self.baselines.shape[0]

    @property
    def n_paths(self) -> int:
        """Paths of all images."""
        return self.inputs.shape[0] * self.n_baselines

    def starts(self, paths: torch.Tensor) -> torch.Tensor:
        """Returns the baselines ``(n, *features)`` of paths by number."""
        rows = paths // self.n_baselines
        shared = self.baselines.shape[1] == 1
        return self.baselines[paths % self.n_baselines, torch.zeros_like(rows) if shared else rows]

    def points(self, paths: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Returns ``x' + t (x - x')``, exact at both ends; ``paths`` int64 and ``t`` float64 are ``(n,)``."""
        ends = self.inputs[paths // self.n_baselines]
        return torch.lerp(self.starts(paths), ends, t.to(ends).view(-1, *[1] * (ends.dim() - 1)))

    def differences(self, paths: torch.Tensor) -> torch.Tensor:
        """Returns ``x - x'`` of paths by number, ``(n, *features)``."""
        return self.inputs[paths // self.n_baselines] - self.starts(paths)

    def targets(self, paths: torch.Tensor) -> Targets:
        """Returns what is explained of paths by number."""
        return self.target.rows(paths // self.n_baselines)


def stacked_baselines(
    network: Network,
    inputs: torch.Tensor,
    baseline: torch.Tensor | Sequence[torch.Tensor] | None,
    background: torch.Tensor | None,
) -> torch.Tensor:
    """Returns the baselines as ``(n_baselines, 1 | batch, *features)``.

    Raises:
        InvalidInput: Both or neither are given, or one does not fit the inputs.
    """
    if (baseline is None) == (background is None):
        raise InvalidInput("give either baseline (one an image) or background (all averaged for every image)")
    if background is not None:
        network.require_images(background, "background")
        _require_features(background, inputs, "background")
        return background.detach().unsqueeze(1)
    several = [baseline] if isinstance(baseline, torch.Tensor) else list(baseline or ())
    if not several:
        raise InvalidInput("baseline is an empty sequence, expected at least one tensor")
    for one in several:
        network.require_images(one, "baseline")
        _require_features(one, inputs, "baseline")
        if one.shape[0] not in (1, inputs.shape[0]):
            raise InvalidInput(
                f"baseline has {one.shape[0]} rows for a batch of {inputs.shape[0]}, expected 1 or"
                f" {inputs.shape[0]}; to average over several use background"
            )
    rows = max(one.shape[0] for one in several)
    return torch.stack([one.detach().expand(rows, *inputs.shape[1:]) for one in several])


def end_values(network: Network, paths: Paths, chunks: Chunks) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns ``f(x)`` and the mean of ``f(x')`` over the baselines, both ``(batch, k)``; each image is run once."""
    starts = paths.baselines.flatten(0, 1)
    batch = paths.inputs.shape[0]
    outputs: list[torch.Tensor] = []

    def work(start: int, stop: int) -> None:
        points = torch.cat([paths.inputs[start:stop], starts[max(0, start - batch) : max(0, stop - batch)]])
        with torch.no_grad():
            outputs.append(network(laid_out(points)))

    chunks.run(batch + len(starts), work)
    table = torch.cat(outputs)
    of_starts = table[batch:].view(*paths.baselines.shape[:2], -1).mean(0).expand(batch, -1)
    return paths.target.of(table[:batch]), paths.target.of(of_starts)


def _require_features(images: torch.Tensor, inputs: torch.Tensor, name: str) -> None:
    if images.shape[1:] != inputs.shape[1:]:
        raise InvalidInput(
            f"{name} has shape {tuple(images.shape)}, expected (n, {', '.join(map(str, inputs.shape[1:]))})"
            " like the inputs; resize it"
        )
