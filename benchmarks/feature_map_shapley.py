"""Shapley values of feature maps of CIFAR-10's ResNet-20: error at equal evaluations of the network's tail.

Prints one JSON line a claim. The reference is a long run of antithetic permutations, which is unbiased; its own squared
standard error is taken off every error. Every estimator gets the same cached tail, background and budget in evaluations
of the tail; ours counts a gradient as three. Captum's ShapleyValueSampling is plain permutation sampling. Of shapiq all
estimators of the Shapley value take part, and the best of them at each stage and budget counts.
"""

import argparse
import json
import os
import statistics
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapiq.approximator as peers
import torch
from captum.attr import ShapleyValueSampling
from support.cifar import images, resnet20
from support.measure import reporter, seconds
from torch import nn

import attribution
from attribution.passes.tails import Tail
from attribution.shapley.feature_maps import FeatureMapShapley, feature_map_shapley

report = reporter("feature_map_shapley")

#: The output of each stage; of the third, whose own output has a linear tail, that of the first block.
STAGES = {"stage 1": "layer1.2.relu2", "stage 2": "layer2.2.relu2", "stage 3": "layer3.0.relu2"}
LINEAR = "layer3.2.relu2"
PER_PLAYER = (2, 4, 8)
N_BACKGROUND = 50
SHAPIQ: dict[str, Callable[[int, int], Any]] = {
    "KernelSHAP": lambda n, seed: peers.KernelSHAP(n, random_state=seed),
    "KernelSHAP, paired": lambda n, seed: peers.KernelSHAP(n, pairing_trick=True, random_state=seed),
    "kADDSHAP, paired": lambda n, seed: peers.kADDSHAP(n, pairing_trick=True, random_state=seed),
    "UnbiasedKernelSHAP, paired": lambda n, seed: peers.UnbiasedKernelSHAP(n, pairing_trick=True, random_state=seed),
    "SVARM": lambda n, seed: peers.SVARM(n, pairing_trick=True, random_state=seed),
    "PermutationSamplingSV": lambda n, seed: peers.PermutationSamplingSV(n, random_state=seed),
    "StratifiedSamplingSV": lambda n, seed: peers.StratifiedSamplingSV(n, random_state=seed),
    "OwenSamplingSV": lambda n, seed: peers.OwenSamplingSV(n, n_anchor_points=2, random_state=seed),
}


class Case(NamedTuple):
    """One image at one layer."""

    network: attribution.Network
    layer: str
    image: torch.Tensor
    background: torch.Tensor
    target: int
    seed: int

    def ours(self, **options: Any) -> FeatureMapShapley:
        """Our estimate."""
        return feature_map_shapley(
            self.network,
            self.image,
            torch.tensor([[self.target]]),
            self.layer,
            background=self.background,
            generator=torch.Generator().manual_seed(self.seed),
            **options,
        )


class PeerGame:
    """The same game for the peers: our cached tail, with absent feature maps at the background's mean."""

    def __init__(self, case: Case) -> None:
        self._tail = Tail(case.network, case.layer)
        self._cached = self._tail.cached(case.image)
        self._target = case.target
        self.present = self._cached.activation
        self.absent = self._tail.cached(case.background).activation.mean(0, keepdim=True)
        self.n_players = self.present.shape[1]
        self._empty = float(self.outputs(self.absent))

    def outputs(self, activations: torch.Tensor) -> torch.Tensor:
        """The class's output for activations ``(n, ...)``."""
        with torch.no_grad():
            rows = torch.zeros(len(activations), dtype=torch.int64)
            return self._tail.run(activations, self._cached, rows)[:, self._target]

    def __call__(self, coalitions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The worth of coalitions, nobody's taken off."""
        present = torch.from_numpy(np.atleast_2d(coalitions).astype(bool))[:, :, None, None]
        found = [self.outputs(torch.where(part, self.present, self.absent)) for part in present.split(256)]
        return torch.cat(found).double().numpy() - self._empty


def captum_values(game: PeerGame, per_player: int, seed: int) -> np.ndarray[Any, Any]:
    """Plain permutation sampling: an order takes an evaluation a player."""
    torch.manual_seed(seed)
    mask = torch.arange(game.n_players).view(1, -1, 1, 1)
    found = ShapleyValueSampling(game.outputs).attribute(
        game.present, game.absent, feature_mask=mask, n_samples=per_player, perturbations_per_eval=64
    )
    return found[0, :, 0, 0].double().numpy()


def shapiq_values(game: PeerGame, name: str, per_player: int, seed: int) -> np.ndarray[Any, Any]:
    """One of shapiq's estimators."""
    estimator = SHAPIQ[name](game.n_players, seed)
    found = estimator.approximate(budget=per_player * game.n_players, game=game)
    return np.asarray(found.get_n_order_values(1), dtype=np.float64)


def squared_errors(case: Case, n_reference: int, per_player: tuple[int, ...]) -> dict[tuple[str, int], float]:
    """Mean squared error of each estimator at each budget, the reference's own taken off; and what ours expects."""
    game = PeerGame(case)
    n = game.n_players
    reference = case.ours(sampler="permutations", n_samples=n_reference * n)
    truth, own = reference.values[0, 0].numpy(), float(reference.standard_error.square().mean())  # type: ignore[union-attr]

    def error(values: np.ndarray[Any, Any]) -> float:
        return float(np.square(values - truth).mean()) - own

    found: dict[tuple[str, int], float] = {}
    again = case._replace(seed=case.seed + 1_000_000)
    for count in per_player:
        ours = again.ours(n_samples=count * n)
        found["ours", count] = error(ours.values[0, 0].numpy())
        found["expected", count] = float(ours.standard_error.square().mean())  # type: ignore[union-attr]
        antithetic = again.ours(n_samples=count * n, sampler="permutations")
        found["antithetic", count] = error(antithetic.values[0, 0].numpy())
        found["captum", count] = error(captum_values(game, count, case.seed))
        for name in SHAPIQ:
            found[name, count] = error(shapiq_values(game, name, count, case.seed))
    return found


def stage_claims(stage: str, cases: list[Case], n_reference: int) -> None:
    """Errors over the images, beside those of the peers."""
    errors: dict[tuple[str, int], list[float]] = defaultdict(list)
    for case in cases:
        for key, value in squared_errors(case, n_reference, PER_PLAYER).items():
            errors[key].append(value)
    mean = {key: statistics.mean(values) for key, values in errors.items()}
    for count in PER_PLAYER:
        best = min(SHAPIQ, key=lambda name: mean[name, count])
        more = {
            "images": len(cases),
            "mean_squared_error": {name: round(mean[name, count], 5) for name in ("ours", "antithetic", "captum")},
            "expected_by_our_standard_error": round(mean["expected", count], 5),
            "better_on": sum(a < b for a, b in zip(errors["ours", count], errors["captum", count], strict=True)),
        }
        ours = mean["ours", count]
        name = f"{stage}, {count} evaluations a player: our squared error over"
        report(f"{name} plain permutations'", ours / mean["captum", count], 0.6, "ratio", at_least=False, **more)
        peers_errors = {peer: round(mean[peer, count], 5) for peer in SHAPIQ}
        more = {"best": best, "shapiq": peers_errors}
        report(f"{name} shapiq's best", ours / mean[best, count], 1.0, "ratio", at_least=False, **more)


def tail_time(stage: str, case: Case, rounds: int) -> None:
    """Time of the whole network over that of its tail, in turn."""
    tail = Tail(case.network, case.layer)
    cached, rows = tail.cached(case.image), torch.zeros(128, dtype=torch.int64)
    activations, whole = cached.activation[rows], case.image[rows].contiguous(memory_format=torch.channels_last)
    ratios = []
    with torch.no_grad():
        for _ in range(rounds):
            full = seconds(lambda: case.network(whole))
            ratios.append(full / seconds(lambda: tail.run(activations, cached, rows)))
    report(f"{stage}: full evaluation over tail", statistics.median(ratios), 1.0, "ratio")


def linear_tail(case: Case) -> None:
    """The closed form, against one pair of permutations: both are exact where the tail is linear."""
    ours = case._replace(layer=LINEAR).ours()
    pair = case._replace(layer=LINEAR).ours(sampler="permutations", n_samples=2 * ours.values.shape[2])
    gap = float((ours.values - pair.values).abs().max() / ours.values.abs().max())
    cost = int(ours.n_evaluations)
    more = {"n_evaluations": cost, "how": ours.sampler}
    report("last stage: closed form against permutations", gap, 1e-4, "relative", at_least=False, **more)


def cases(module: nn.Module, layer: str, data: Path, n_images: int) -> list[Case]:
    """The first test images, each explained for its predicted class; the last ones are the background."""
    network = attribution.Network(module, (3, 32, 32))
    pictures, background = images(data, slice(0, n_images)), images(data, slice(-N_BACKGROUND, None))
    predicted = network(pictures).argmax(1).tolist()
    return [
        Case(network, layer, picture, background, target, seed)
        for seed, (picture, target) in enumerate(zip(pictures.split(1), predicted, strict=True))
    ]


def main() -> None:
    """Reads the options and runs every claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("ATTRIBUTION_SHARED_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="development data with weights and images")
    parser.add_argument("--quick", action="store_true", help="two images, a short reference: a smoke test, no claim")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--stages", type=lambda text: text.split(","), default=["1", "2", "3"], help="such as 1,3")
    parser.add_argument("--reference", type=int, default=400, help="the reference's evaluations a player")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # shapiq warns of budgets that its estimators find small.
    warnings.simplefilter("ignore")
    if not (options.data / "weights").is_dir():
        print(json.dumps({"benchmark": "feature_map_shapley", "skipped": f"{options.data} has no weights"}))
        return
    n_images, n_reference = (2, 60) if options.quick else (options.images, options.reference)
    module = resnet20(options.data)
    for stage in (f"stage {number}" for number in options.stages):
        found = cases(module, STAGES[stage], options.data, n_images)
        tail_time(stage, found[0], 3 if options.quick else 9)
        stage_claims(stage, found, n_reference)
    linear_tail(found[0])


if __name__ == "__main__":
    main()
