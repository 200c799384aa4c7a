"""True Shapley values at several layers, a layer after the other."""

from collections.abc import Mapping
from typing import Any

import torch

from attribution.errors import InvalidOption
from attribution.layerwise.task import TAKERS, Estimate, LayerTask
from attribution.passes.chunks import Progress
from attribution.shapley.feature_maps import feature_map_shapley
from attribution.shapley.players import Cells

_OPTIONS = tuple(name for name, takers in TAKERS.items() if "feature_maps" in takers)


def game_values(task: LayerTask) -> Estimate:
    """Returns the values of each layer's own game.

    Cost:
        The sum of the layers'.
    """
    found: dict[str, Any] = {}
    options = task.options._asdict()
    given = {name: options[name] for name in _OPTIONS if options[name] is not None}
    _require_channels_first(task)
    for place, name in enumerate(task.layers):
        found[name] = feature_map_shapley(
            task.network,
            task.paths.inputs,
            task.paths.target,
            name,
            background=task.paths.baselines[:, 0],
            chunk_size=task.chunk_size,
            progress=_share(task.progress, place, len(task.layers)),
            **given,
        )
    players, errors = task.options.players, _errors(found)
    return Estimate(
        maps={name: one.values.unflatten(2, (players.rows, players.columns)) for name, one in found.items()}
        if isinstance(players, Cells)
        else {},
        scores={name: one.values for name, one in found.items()},
        raw={},
        convergence_delta={name: one.convergence_delta for name, one in found.items()},
        standard_error=errors,
        n_draws=None if errors is None else {name: one.n_draws for name, one in found.items()},
        n_steps=torch.stack([one.n_evaluations for one in found.values()]).sum(0),
        chunk_size=min(one.chunk_size for one in found.values()),
    )


def _require_channels_first(task: LayerTask) -> None:
    """Accepts layers whose feature maps, which are the players, lie along the first axis.

    Raises:
        InvalidOption: One has them along the last.
    """
    placements = task.network.placements()
    last = [name for name in task.layers if name in placements and placements[name].axes == (1, 2)]
    if last:
        raise InvalidOption(
            f"layers {last[:5]} have their feature maps along the last axis (channels last), where they cannot take"
            " part one by one: choose other layers, or the estimator path"
        )


def _errors(found: Mapping[str, Any]) -> dict[str, torch.Tensor] | None:
    """Returns the standard errors, zero for layers whose values are exact; nothing where all are."""
    if all(one.standard_error is None for one in found.values()):
        return None
    return {
        name: torch.zeros_like(one.values) if one.standard_error is None else one.standard_error
        for name, one in found.items()
    }


def _share(progress: Progress | None, place: int, count: int) -> Progress | None:
    """Returns the progress of one of several equal parts, in thousandths of a part."""
    if progress is None:
        return None
    return lambda done, total: progress(1000 * place + 1000 * done // max(1, total), 1000 * count)
