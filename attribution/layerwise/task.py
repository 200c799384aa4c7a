"""What to explain at which layers, how, and what an estimator of layer Shapley finds."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import torch

from attribution.checks import require_choice, require_count, require_number
from attribution.errors import InvalidOption
from attribution.layerwise.path_to_tolerance import FIRST_INTERVALS
from attribution.layerwise.places import unplaced_maps
from attribution.layerwise.totals import LayerTotals, completeness
from attribution.networks.layers import Layer
from attribution.networks.network import Network
from attribution.noise import Generators
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk
from attribution.paths.straight import Paths
from attribution.shapley.game import Excluded
from attribution.shapley.players import Players
from attribution.shapley.samplers import Sampler

Estimator = Literal["path", "expected_gradients", "layer_path", "deeplift", "feature_maps"]

ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)

#: Which estimators take which option.
TAKERS: dict[str, tuple[Estimator, ...]] = {
    "n_steps": ("path", "layer_path"),
    "tolerance": ("path", "feature_maps"),
    "max_steps": ("path",),
    "n_samples": ("expected_gradients", "feature_maps"),
    "generator": ("expected_gradients", "feature_maps"),
    "players": ("feature_maps",),
    "sampler": ("feature_maps",),
    "excluded": ("feature_maps",),
}


class LayerOptions(NamedTuple):
    """What some estimators need: see ``layer_shapley``."""

    n_steps: int | None = None
    tolerance: float | None = None
    max_steps: int | None = None
    n_samples: int | None = None
    generator: Generators | None = None
    players: Players | None = None
    sampler: Sampler | None = None
    excluded: Excluded | None = None


class Estimate(NamedTuple):
    """What an estimator finds, keyed by layer, with an axis ``k`` for the classes, in float64.

    ``n_draws`` ``(batch,)`` are the independent draws that a layer's standard errors rest on, ``n_steps`` ``(batch,)``
    the points evaluated of an image.
    """

    maps: dict[str, torch.Tensor]
    scores: dict[str, torch.Tensor]
    raw: dict[str, torch.Tensor]
    convergence_delta: dict[str, torch.Tensor]
    standard_error: dict[str, torch.Tensor] | None
    n_draws: dict[str, torch.Tensor] | None
    n_steps: torch.Tensor
    chunk_size: int


class LayerTask(NamedTuple):
    """What to explain: the same for every estimator."""

    network: Network
    paths: Paths
    layers: Mapping[str, Layer]
    raw: frozenset[str]
    options: LayerOptions
    chunk_size: int | None
    progress: Progress | None

    def chunks(self, total: int, activations: int = 1) -> Chunks:
        """Returns chunks for points that hold so many times the activations of a layer."""
        size = self.chunk_size
        if size is None:
            size = max(1, default_chunk(self.network, self.paths.inputs) // activations)
        return Chunks(size, total, self.progress)

    def totals(self) -> LayerTotals:
        """Returns empty sums."""
        placements, unplaced = self.network.placements(), unplaced_maps(self.network)
        return LayerTotals(len(self.paths.inputs), self.paths.target.k, self.raw, placements, unplaced)

    def estimate(
        self,
        totals: LayerTotals,
        delta: dict[str, torch.Tensor],
        n_steps: int | torch.Tensor,
        chunk_size: int,
        standard_error: dict[str, torch.Tensor] | None = None,
        n_draws: int = 0,
    ) -> Estimate:
        """Returns the sums in the order of the layers."""
        count = torch.as_tensor(n_steps, device=self.paths.inputs.device).expand(len(self.paths.inputs))
        names = [name for name in self.layers if name in totals.scores]
        maps, scores, raw, deltas = (
            {name: values[name] for name in names if name in values}
            for values in (totals.maps, totals.scores, totals.raw, delta)
        )
        draws = None if standard_error is None else {name: torch.full_like(count, n_draws) for name in names}
        return Estimate(maps, scores, raw, deltas, standard_error, draws, count.clone(), chunk_size)

    def cutting_delta(self, totals: LayerTotals, change: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns the completeness of the layers that cut the network."""
        return completeness(totals.scores, [name for name, layer in self.layers.items() if layer.cuts], change)


def require_options(estimator: Estimator, options: LayerOptions) -> None:
    """Accepts options that the estimator takes.

    Raises:
        InvalidOption: One that it does not take, out of range, or at odds with another.
    """
    require_choice(estimator, "estimator", ESTIMATORS)
    for name, value in options._asdict().items():
        if value is not None and estimator not in TAKERS[name]:
            takers = " or ".join(TAKERS[name])
            raise InvalidOption(f"{name} is given, but {estimator} takes none: leave it out, or use {takers}")
    if estimator == "path" and options.tolerance is not None and options.n_steps is not None:
        raise InvalidOption("tolerance chooses its own points: give either it or n_steps")
    if estimator == "path" and options.tolerance is None and options.max_steps is not None:
        raise InvalidOption("max_steps belongs to tolerance: give it as well, or n_steps instead")
    _require_numbers(estimator, options)


def _require_numbers(estimator: Estimator, options: LayerOptions) -> None:
    if options.n_steps is not None:
        require_count(options.n_steps, "n_steps", minimum=2 if estimator == "path" else 1)
    if options.max_steps is not None:
        require_count(options.max_steps, "max_steps", minimum=FIRST_INTERVALS + 1)
    if options.n_samples is not None:
        require_count(options.n_samples, "n_samples", maximum=10**9)
    if options.tolerance is not None:
        require_number(options.tolerance, "tolerance", 1e-9)
