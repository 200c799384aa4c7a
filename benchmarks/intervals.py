"""How often intervals hold what they are of, over 200 seeds, and how often 1.96 standard errors do.

Prints one JSON line for each network and estimator: ``holds`` is the share of values, over seeds, inside of their
interval, ``normal`` that inside of 1.96 standard errors. Of a sketch also how often ``relative_error_at_most`` and
``correlation_at_least`` hold, beside the mean of what they bound and of the bound. Networks have random weights; 200
copies of an image, each with a generator of its own, are 200 runs.
"""

import json
import sys
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn

import attribution
from attribution.shapley.feature_maps import feature_map_shapley

SEEDS = 200
_ROUNDING = 1e-9


class Subject(NamedTuple):
    """A network, an image ``(1, 3, side, side)`` and a layer of at most 16 feature maps."""

    name: str
    network: attribution.Network
    image: torch.Tensor
    layer: str


def subjects() -> Iterator[Subject]:
    """Networks of several widths, depths and numbers of classes."""
    for seed, (classes, width, depth, side) in enumerate([(100, 14, 3, 12), (40, 12, 3, 12), (10, 8, 2, 16)]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 1):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(9 * width, classes)).double()
        image = torch.rand(1, 3, side, side, dtype=torch.float64)
        name = f"{depth} convolutions of {width}, {classes} classes"
        yield Subject(name, attribution.Network(module, (3, side, side)), image, "1")


def main() -> None:
    """Prints the lines."""
    torch.set_num_threads(1)
    for subject in subjects():
        for found in (*_feature_maps(subject), *_expected_gradients(subject), *_sketches(subject)):
            sys.stdout.write(json.dumps({"network": subject.name} | found) + "\n")
            sys.stdout.flush()


def _generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(SEEDS)]


def _within(ends: torch.Tensor, truth: torch.Tensor) -> float:
    rounding = _ROUNDING * float(truth.abs().max())
    inside = (ends[..., 0] <= truth + rounding) & (truth - rounding <= ends[..., 1])
    return round(float(inside.double().mean()), 3)


def _normal(values: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    return torch.stack([values - 1.96 * error, values + 1.96 * error], dim=-1)


def _feature_maps(subject: Subject) -> Iterator[dict[str, object]]:
    target, background = torch.tensor([[0, 3]]), torch.zeros_like(subject.image)
    exact = feature_map_shapley(
        subject.network, subject.image, target, subject.layer, background=background, sampler="exact"
    ).values
    players = exact.shape[2]
    for sampler, budgets in (("permutations", (4, 8, 18)), ("regression", (4, 8, 32))):
        for budget in budgets:
            n_samples = 2 + budget * 2 * (players - 1) if sampler == "permutations" else budget * players
            found = feature_map_shapley(
                subject.network,
                subject.image.expand(SEEDS, -1, -1, -1),
                target.expand(SEEDS, -1),
                subject.layer,
                background=background,
                sampler=sampler,  # type: ignore[arg-type]
                n_samples=n_samples,
                generator=_generators(),
            )
            assert found.standard_error is not None
            yield {
                "estimator": sampler,
                "n_draws": int(found.n_draws[0]),
                "holds": _within(found.interval, exact),
                "normal": _within(_normal(found.values, found.standard_error), exact),
            }


def _expected_gradients(subject: Subject) -> Iterator[dict[str, object]]:
    background = torch.rand(5, *subject.image.shape[1:], dtype=torch.float64)

    def scores(batch: int, n_samples: int, start: int = 0) -> attribution.LayerShapley:
        return attribution.layer_shapley(
            subject.network,
            subject.image.expand(batch, -1, -1, -1),
            torch.tensor([[0, 3]]).expand(batch, -1),
            background=background,
            layers=[subject.layer],
            estimator="expected_gradients",
            n_samples=n_samples,
            generator=[torch.Generator().manual_seed(start + seed) for seed in range(batch)],
        )

    truth = scores(20, 5000, start=1000).scores[subject.layer].mean(0)
    for n_samples in (4, 8, 32):
        found = scores(SEEDS, n_samples)
        assert found.standard_error is not None
        yield {
            "estimator": "expected_gradients",
            "n_draws": n_samples,
            "holds": _within(found.interval(subject.layer), truth),
            "normal": _within(_normal(found.scores[subject.layer], found.standard_error[subject.layer]), truth),
        }


def _sketches(subject: Subject) -> Iterator[dict[str, object]]:
    exact = attribution.multiclass_importance(subject.network, subject.image)
    most = int(exact.n_rows[0])
    for n_directions, n_signs in ((0, 8), (5, 2), (5, 8), (5, 16), (most // 3, 4), (most // 2, 8)):
        if n_directions + n_signs >= most:
            continue
        found = attribution.multiclass_importance(
            subject.network,
            subject.image.expand(SEEDS, -1, -1, -1),
            mode="sketch",
            n_directions=n_directions,
            n_signs=n_signs,
            generator=_generators(),
        )
        yield {"estimator": f"sketch, {n_directions} of {most} directions"} | _of_sketch(found, exact)


def _of_sketch(found: attribution.MulticlassImportance, exact: attribution.MulticlassImportance) -> dict[str, object]:
    kept = (found.individual, found.standard_error, found.individual_low, found.individual_high, found.std)
    individual, error, low, high, std = (values for values in kept if values is not None)
    assert exact.std is not None and exact.individual is not None and found.n_draws is not None  # noqa: PT018
    assert found.relative_error is not None and found.relative_error_at_most is not None  # noqa: PT018
    assert found.correlation is not None and found.correlation_at_least is not None  # noqa: PT018
    errors = (std - exact.std).flatten(1).norm(dim=1) / exact.std.norm()
    correlations = torch.corrcoef(torch.cat([exact.std.flatten(1), std.flatten(1)]))[0, 1:]
    figures = {
        "relative_error": (errors, found.relative_error, found.relative_error_at_most),
        "one_minus_correlation": (1 - correlations, 1 - found.correlation, 1 - found.correlation_at_least),
    }
    told: dict[str, object] = {
        "n_draws": int(found.n_draws[0]),
        "holds": _within(torch.stack([low, high], dim=-1), exact.individual),
        "normal": _within(_normal(individual, error), exact.individual),
    }
    for name, (true, estimated, bound) in figures.items():
        told[f"{name}_bound_holds"] = round(float((true <= bound + _ROUNDING).double().mean()), 3)
        told[name] = [round(float(values.mean()), 5) for values in (true, estimated, bound)]
    return told


if __name__ == "__main__":
    main()
