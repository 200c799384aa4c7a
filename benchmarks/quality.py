"""Figures of quality, ours and those of Quantus 0.6, in turn in one process on the same maps.

All maps of a job (`METHODS`) are judged by the figures that both have: pixel flipping, ROAD, maximal sensitivity,
efficient MPRT, pointing game, mass and rank accuracy; ours adds single deletions on top. Prints one JSON line for each
batch size: Quantus's time over ours, in all and by figure; a figure at which Quantus fails counts for neither. With
``--print`` it prints Quantus's values on a small network instead, as the tests hold them. Quantus has to be installed
beside the project (`pip install quantus`); without it the benchmark says so and ends.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from planted_evidence import classifier
from support.measure import reporter
from torch.nn import functional

import attribution
from attribution import Network
from attribution.quality.deletions import patch_falls, patch_sums, rank_correlation, saco
from attribution.quality.imputation import noisy_linear_fill
from attribution.quality.localization import localization
from attribution.quality.occlusion import occlusion_curves
from attribution.quality.randomization import entropy_rise
from attribution.quality.redrawn import redrawn, weighted_layers
from attribution.quality.sensitivity import map_sensitivity
from cli.demo import planted

sys.path.append(str(Path(__file__).parents[1]))  # the network is that of the tests
from tests.attribution.quality.quantus_case import INSIDE, MAPS, NOISES, PICTURES, gone, network

report = reporter("quality")
STEPS, SAMPLES, RADIUS = 16, 8, 0.08
PERCENTAGES = [round(100 * step / STEPS) for step in range(1, STEPS)]

Maps = Callable[[Network, torch.Tensor, torch.Tensor], torch.Tensor]
METHODS: dict[str, Maps] = {
    "saliency": lambda n, x, t: attribution.saliency(n, x, t).maps,
    "input_x_gradient": lambda n, x, t: attribution.input_x_gradient(n, x, t).maps,
    "guided_backprop": lambda n, x, t: attribution.guided_backprop(n, x, t).maps,
    "lrp": lambda n, x, t: attribution.lrp(n, x, t).maps,
    "cam": lambda n, x, t: functional.interpolate(
        list(attribution.cam(n, x, t).maps["grad_cam"].values())[-1].unsqueeze(1), x.shape[2:], mode="bilinear"
    ),
}
"""The maps of a job."""


class Job:
    """Some pictures, their maps, and both ways to judge them."""

    def __init__(self, count: int) -> None:
        indices = range(planted.HELD_OUT_FROM, planted.HELD_OUT_FROM + count)
        self.network = classifier()
        self.inputs = planted.examples(indices).inputs
        self.target = self.network(self.inputs).argmax(1).detach()
        self.inside = torch.stack([torch.from_numpy(planted.sample(index).evidence) for index in indices]).bool()
        self.maps = {name: self.planes(name, self.network, self.inputs) for name in METHODS}

    def planes(self, method: str, network: Network, inputs: torch.Tensor) -> torch.Tensor:
        """A method's maps, summed over the channels."""
        return METHODS[method](network, inputs, self.target).detach().sum(1, keepdim=True)

    def generators(self) -> list[torch.Generator]:
        """One an image."""
        return [torch.Generator().manual_seed(row) for row in range(len(self.inputs))]

    def ours(self) -> dict[str, Callable[[], object]]:
        """Each figure of all maps."""

        def curves(baseline: Any) -> None:
            for maps in self.maps.values():
                occlusion_curves(
                    self.network, self.inputs, maps, self.target, baseline=baseline, n_steps=STEPS, positive_only=False
                )

        def deletions() -> None:
            falls = patch_falls(self.network, self.inputs, self.target, grid=(7, 7)).falls[:, 0]
            for maps in self.maps.values():
                sums = patch_sums(maps, self.inputs, (7, 7))
                rank_correlation(sums, falls)
                saco(sums, falls)

        def random() -> None:
            layers = weighted_layers(self.network, self.inputs)
            other = redrawn(self.network, layers, torch.Generator().manual_seed(0)).network
            for name, maps in self.maps.items():
                entropy_rise(maps, self.planes(name, other, self.inputs))

        return {
            "pixel flipping": lambda: curves(None),
            "ROAD": lambda: curves(noisy_linear_fill(self.inputs, noise=0.04, generator=self.generators())),
            "sensitivity": lambda: map_sensitivity(
                lambda inputs: [self.planes(name, self.network, inputs) for name in METHODS],
                self.inputs,
                maps=list(self.maps.values()),
                radius=torch.tensor(RADIUS),
                generator=self.generators(),
                n_samples=SAMPLES,
            ),
            "efficient MPRT": random,
            "localisation": lambda: [localization(maps, self.inputs, self.inside) for maps in self.maps.values()],
            "single deletions (ours alone)": deletions,
        }

    def theirs(self) -> dict[str, Callable[[], object]]:
        """The same by Quantus, map by map."""
        import quantus

        quiet = {"disable_warnings": True, "display_progressbar": False}
        features = self.inputs[0, 0].numel() // STEPS
        module = self.network.module

        def explain(model: Any, inputs: NDArray[np.float32], targets: NDArray[np.int64], **given: Any) -> Any:
            del targets
            wrapped = self.network if model is module else Network(model, tuple(self.inputs.shape[1:]), checks=CHECKS)
            return self.planes(given["method"], wrapped, torch.from_numpy(np.asarray(inputs, np.float32))).numpy()

        def each(metric: Any, **more: Any) -> None:
            for name, maps in self.maps.items():
                metric(
                    model=module,
                    x_batch=self.inputs.numpy(),
                    y_batch=self.target.numpy(),
                    a_batch=maps.numpy(),
                    device="cpu",
                    explain_func=explain,
                    explain_func_kwargs={"method": name},
                    **more,
                )

        masks = {"s_batch": self.inside.unsqueeze(1).numpy()}
        return {
            "pixel flipping": lambda: each(quantus.PixelFlipping(features_in_step=features, **quiet)),
            "ROAD": lambda: each(quantus.ROAD(percentages=PERCENTAGES, noise=0.04, **quiet)),
            "sensitivity": lambda: each(quantus.MaxSensitivity(nr_samples=SAMPLES, lower_bound=RADIUS, **quiet)),
            "efficient MPRT": lambda: each(quantus.EfficientMPRT(**quiet)),
            "localisation": lambda: [
                each(metric(**quiet), **masks)
                for metric in (quantus.PointingGame, quantus.RelevanceMassAccuracy, quantus.RelevanceRankAccuracy)
            ],
        }


CHECKS = classifier().report().checks


def timed(run: Callable[[], object]) -> float:
    """Seconds of a call."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def compare(count: int) -> None:
    """One line of all figures."""
    job = Job(count)
    ours, theirs = job.ours(), job.theirs()
    for run in (ours["pixel flipping"], ours["localisation"]):
        run()  # warm
    fails = dict[str, str]()
    own, peer = dict[str, float](), dict[str, float]()
    for name, run in ours.items():
        own[name] = timed(run)
        if name not in theirs:
            continue
        try:
            peer[name] = timed(theirs[name])
        except Exception as error:  # noqa: BLE001 - what the peer cannot do is part of the comparison
            fails[name] = f"{type(error).__name__}: {error}"
    whole = sum(seconds for name, seconds in own.items() if name not in fails)
    report(
        f"the quality set of {len(METHODS)} maps of {count} images: Quantus's time over ours",
        sum(peer.values()) / whole,
        10.0,
        "ratio",
        by_figure={name: round(seconds / own[name], 2) for name, seconds in peer.items()},
        ours_s={name: round(seconds, 3) for name, seconds in own.items()},
        peer_fails=fails,
    )


def recorded() -> dict[str, Any]:
    """Quantus's values on the case of the tests."""
    import quantus
    from quantus.functions.complexity_func import discrete_entropy
    from quantus.functions.perturb_func import noisy_linear_imputation

    quiet = {"disable_warnings": True, "display_progressbar": False, "normalise": False}
    x, maps = PICTURES.numpy(), MAPS.numpy()
    module = network().module
    target = module(PICTURES).argmax(1).detach().numpy()
    called = {"model": module, "x_batch": x, "y_batch": target, "a_batch": maps, "device": "cpu"}
    masks = {"s_batch": INSIDE.unsqueeze(1).numpy()}
    draws = iter(NOISES.numpy())

    def perturb(arr: NDArray[np.float32], **_: Any) -> NDArray[np.float32]:
        return arr + next(draws).reshape(arr.shape)

    def explain(model: Any, inputs: NDArray[np.float32], targets: Any, **_: Any) -> NDArray[np.float32]:
        del model, targets
        cubes = np.asarray(inputs, np.float32) ** 3
        length = np.sqrt((cubes.reshape(len(cubes), -1) ** 2).sum(1))
        return cubes / length.reshape(-1, 1, 1, 1)

    sensitivity = quantus.MaxSensitivity(
        nr_samples=len(NOISES),
        perturb_func=perturb,
        norm_numerator=quantus.functions.norm_func.fro_norm,
        norm_denominator=lambda a: np.ones(len(a)) if a.ndim > 1 else 1.0,
        **quiet,
    )
    return {
        "pixel_flipping": np.asarray(
            quantus.PixelFlipping(features_in_step=6, perturb_baseline=0.0, **quiet)(**called)
        ).tolist(),
        "pointing": np.asarray(quantus.PointingGame(**quiet)(**called, **masks), float).tolist(),
        "mass": np.asarray(quantus.RelevanceMassAccuracy(**quiet)(**called, **masks)).tolist(),
        "rank": np.asarray(quantus.RelevanceRankAccuracy(**quiet)(**called, **masks)).tolist(),
        "entropy": [float(discrete_entropy(a=one, x=one, n_bins=10)) for one in maps],
        "imputed": [
            np.asarray(
                noisy_linear_imputation(arr=image.copy(), indices=gone().numpy().nonzero()[0], noise=0.0)
            ).tolist()
            for image in x
        ],
        "sensitivity": np.asarray(
            sensitivity(**{**called, "a_batch": explain(None, x, None)}, explain_func=explain)
        ).tolist(),
    }


def main() -> None:
    """Compares both, or prints the peer's values."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", dest="is_told")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if find_spec("quantus") is None:
        print(json.dumps({"benchmark": "quality", "skipped": "quantus is not installed"}))
        return
    if options.is_told:
        print(json.dumps(recorded()))
        return
    for count in (1, 16):
        compare(count)


if __name__ == "__main__":
    main()
