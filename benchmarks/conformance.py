"""Is every method right on every image classifier of torchvision, and on a network of each of timm's families?

Prints one JSON line a network. Everything is held against the module as its user has it: called directly, one image at
a time, with its own autograd. Verdicts are `right`, `refused` with the engine's own reason, or WRONG, which ends in
exit status 1. Weights are random: constant parameters are drawn too, and batch norms have statistics of noise.
"""

import argparse
import copy
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from support.own_gradients import effects, gauss_legendre, outputs_of, path_scores
from support.random_networks import N_CLASSES, built, networks
from support.verdict_table import table
from torch import nn

import attribution
from attribution.final_layer.layer import FinalLayer

N_QUADRATURE, N_NODES, EPSILON = 2, 3, 1e-10


class Case:
    """A network with two images and a baseline, and what its module itself says of them.

    All three are noise: where neighbours are equal, as in flat images, pools may choose any of them.
    """

    def __init__(self, module: nn.Module, shape: tuple[int, int, int], **known: Any) -> None:
        drawn = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        self.module, self.shape = module, shape
        self.images, self.baseline = drawn[:2], 0.3 * drawn[2:]
        self.network = attribution.Network(module, shape, **known)
        self.applicable = attribution.applicable_methods(self.network)

    @cached_property
    def logits(self) -> torch.Tensor:
        """Of both images."""
        return outputs_of(self.module, self.images)

    @cached_property
    def changes(self) -> torch.Tensor:
        """Of all outputs, from the baseline to the images."""
        return self.logits - outputs_of(self.module, self.baseline)

    @cached_property
    def classes(self) -> torch.Tensor:
        """For each image, whose output changes most: others may be rectified to nothing."""
        return self.changes.abs().argmax(1)

    @cached_property
    def change(self) -> torch.Tensor:
        """Of each image's class."""
        return self.changes.gather(1, self.classes[:, None])[:, 0]

    @cached_property
    def integrated(self) -> torch.Tensor:
        """Integrated gradients of each image's class."""
        found = [gauss_legendre(self.module, *pair, N_QUADRATURE) for pair in self._pairs()]
        return torch.stack(found)

    @cached_property
    def effects(self) -> list[torch.Tensor]:
        """Importance and individual effects of both images."""
        found = [effects(self.module, image, N_CLASSES) for image in self.images]
        return [torch.stack(maps) for maps in zip(*found, strict=True)]

    @cached_property
    def paths(self) -> list[dict[str, torch.Tensor]]:
        """The path form of each image's class, by layer."""
        return [path_scores(self.module, *pair, N_NODES) for pair in self._pairs()]

    @cached_property
    def unbiased(self) -> "Case":
        """The same network without what adds constants; what it was measured to do is not measured again."""
        module = copy.deepcopy(self.module)
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if name.rpartition(".")[2] in ("bias", "running_mean"):
                tensor.data.zero_()
        return Case(module, self.shape, checks=self.network.report().checks)

    def _pairs(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
        for image, target in zip(self.images, self.classes.tolist(), strict=True):
            yield image, self.baseline[0], target


def gap(given: torch.Tensor | None, expected: torch.Tensor, scale: float = 0.0) -> float:
    """The largest difference, over the largest value or a larger ``scale``; endless where shapes differ."""
    if given is None or given.shape != expected.shape:
        return math.inf
    return float((given - expected).abs().max()) / max(float(expected.abs().max()), scale)


def multiclass_importance(network: attribution.Network, images: torch.Tensor, **options: Any) -> Any:
    """The engine's; it types its options."""
    return attribution.multiclass_importance(network, images, **options)


def integrated_gradients(case: Case, count: int) -> float:
    """Against the same quadrature of the module's gradients."""
    given = attribution.integrated_gradients(
        case.network, case.images[:count], case.classes[:count], baseline=case.baseline, n_steps=N_QUADRATURE
    )
    return gap(given.attributions, case.integrated[:count])


def importance(case: Case, count: int) -> float:
    """Against the module's Jacobian."""
    given = multiclass_importance(case.network, case.images[:count])
    whole, individual = (values[:count] for values in case.effects)
    return max(gap(given.importance, whole), gap(given.individual, individual))


def sketch(case: Case, count: int) -> float:
    """Against the module's Jacobian."""
    given = multiclass_importance(case.network, case.images[:count], mode="sketch", n_directions=2, n_signs=4)
    return gap(given.importance, case.effects[0][:count])


def importance_deeplift(case: Case, count: int) -> float:
    """The sum against the variation of the outputs' change, over it."""
    given = multiclass_importance(case.network, case.images[:count], attribution="deeplift", baseline=case.baseline)
    return gap(given.importance.sum((1, 2, 3)), variation(case.changes[:count]))


def importance_relevance(case: Case, count: int) -> float:
    """The sum against the variation of the outputs, over it: without biases, and with hardly any epsilon."""
    images, options = case.images[:count], {"attribution": "lrp_epsilon", "mode": "importance"}
    multiclass_importance(case.network, images, **options)
    given = multiclass_importance(case.unbiased.network, images, **options, epsilon=EPSILON)
    return gap(given.importance.sum((1, 2, 3)), variation(case.unbiased.logits[:count]))


def variation(outputs: torch.Tensor) -> torch.Tensor:
    """Squared deviation of each row from its mean."""
    return (outputs - outputs.mean(1, keepdim=True)).square().sum(1)


def layers(case: Case, count: int, **options: Any) -> attribution.LayerShapley:
    """What the layers contribute to each image's class."""
    return attribution.layer_shapley(
        case.network, case.images[:count], case.classes[:count], background=case.baseline, **options
    )


def sums_gap(case: Case, given: attribution.LayerShapley, change: torch.Tensor) -> float:
    """The largest difference of the sums of layers that cut the network from the change, over the change."""
    names = ["input", *(layer.name for layer in case.network.layers if layer.cuts and layer.name in given.scores)]
    shares = [(given.scores[name].sum(1) - change).abs() / case.change[: len(change)].abs() for name in names]
    return float(torch.stack(shares).max())


def layer_path(case: Case, count: int) -> float:
    """Input and layers against the module's gradients."""
    given, figures = layers(case, count, n_steps=N_NODES, raw="input"), list[float]()
    for row, expected in enumerate(case.paths[:count]):
        scale = float(expected["input"].sum((1, 2)).abs().max())
        figures.append(gap(given.raw["input"][row], expected["input"]))
        shared = expected.keys() & given.scores.keys() - {"input"}
        figures += [gap(given.scores[name][row], expected[name], scale) for name in shared]
    return worst(figures)


def layer_deeplift(case: Case, count: int) -> float:
    """Sums of layers that cut the network against the change of the output."""
    return sums_gap(case, layers(case, count, estimator="deeplift"), case.change[:count])


def feature_maps(case: Case, count: int) -> float:
    """The sum against the change of the output, at the last feature maps that cut the network."""
    cutting = [layer for layer in case.network.layers if layer.cuts and layer.shape][:-1]
    maps = [layer for layer in cutting if len(layer.shape or ()) == 3] or cutting
    chosen = maps[-1].name if maps else "input"
    given = layers(case, count, layers=chosen, estimator="feature_maps", n_samples=64)
    return float(((given.scores[chosen].sum(1) - case.change[:count]) / case.change[:count]).abs().max())


def decomposition(case: Case, count: int) -> float:
    """Logits by all features against the module's."""
    images, labels = case.images[:count], case.classes[:count]
    applies = case.applicable["decomposition"] is None
    n_features = FinalLayer(case.network).n_features if applies else 1
    fitted = attribution.influential_features(case.network, [(images, labels)], n_initial=1, n_features=n_features)
    target = torch.arange(N_CLASSES).expand(count, -1)
    given = attribution.decomposition(case.network, images, target, fitted)
    return gap(given.decomposed_logits, case.logits[:count])


class Method(NamedTuple):
    """A column: what finds its figure, the bound, the engine's method, and what the figure is."""

    find: Callable[[Case, int], float]
    bound: float
    engine: str
    meaning: str
    has_rules: bool = False
    needs_gradients: bool = True


METHODS = {
    "integrated gradients": Method(
        integrated_gradients,
        1e-9,
        "integrated_gradients",
        f"largest difference from Gauss-Legendre with {N_QUADRATURE} nodes over the largest value",
    ),
    "importance": Method(
        importance,
        1e-8,
        "multiclass_importance",
        "largest difference of importance and individual effects from those of the module's Jacobian",
    ),
    "sketch": Method(
        sketch,
        1e-8,
        "multiclass_importance",
        "the same of a sketch's importance",
    ),
    "importance, DeepLIFT": Method(
        importance_deeplift,
        1e-8,
        "multiclass_importance",
        "how far the sum is from the variation of the outputs' change, over that",
        has_rules=True,
    ),
    "importance, LRP": Method(
        importance_relevance,
        1e-6,
        "multiclass_importance",
        "how far the sum is from the variation of the outputs, over that, on a copy without biases, which take"
        f" relevance with them; so does epsilon, which is {EPSILON:.0e}",
        has_rules=True,
    ),
    "layers, path": Method(
        layer_path,
        1e-9,
        "layer_shapley",
        f"largest difference from the trapezoid rule with {N_NODES} nodes, at the image and at every module that is"
        " called once",
    ),
    "layers, DeepLIFT": Method(
        layer_deeplift,
        1e-8,
        "layer_shapley",
        "how far the sums of the image and of layers that cut the network are from the change of the output, over that",
        has_rules=True,
    ),
    "feature maps": Method(
        feature_maps,
        1e-9,
        "layer_shapley",
        "the same at the last feature maps that cut the network, by the sampler that the engine chooses",
        needs_gradients=False,
    ),
    "decomposition": Method(
        decomposition,
        1e-9,
        "decomposition",
        "largest difference of the logits by all features from the module's, over the largest",
    ),
}
COLUMNS = {title: f"{method.meaning} (at most {method.bound:.0e})" for title, method in METHODS.items()}


def worst(figures: Sequence[float]) -> float:
    """The largest, and NaN where one is."""
    return float(torch.tensor(figures, dtype=torch.float64).max())


def judged(case: Case, method: Method) -> dict[str, Any]:
    """The verdict of a method, over one image and two."""
    no_gradients = case.network.no_gradients is not None and not method.needs_gradients
    reason = None if no_gradients else case.applicable[method.engine]
    try:
        found = [method.find(case, count) for count in (1, 2)]
    except attribution.errors.AttributionError as error:
        if reason is None and not method.has_rules:
            return {"verdict": f"WRONG: said to apply, but {error}"}
        return {"verdict": f"refused: {reason or error}"}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        return {"verdict": f"WRONG: {type(error).__name__}: {error}"}
    figure = worst(found)
    if reason is not None:
        return {"verdict": f"WRONG: not refused, though {reason}", "figure": figure}
    return {"verdict": "right" if figure <= method.bound else f"WRONG: above {method.bound:.0e}", "figure": figure}


def examined(library: str, name: str) -> dict[str, Any]:
    """The line of a network."""
    start = time.perf_counter()
    module, shape = built(library, name)
    line: dict[str, Any] = {"library": library, "name": name, "side": shape[1]}
    line["parameters"] = sum(parameter.numel() for parameter in module.parameters())
    try:
        case = Case(module, shape)
    except attribution.errors.NetworkError as error:
        line["results"] = {title: {"verdict": f"refused: {error}"} for title in METHODS}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        line["results"] = {title: {"verdict": f"WRONG: {type(error).__name__}: {error}"} for title in METHODS}
    else:
        line["layers"] = len(case.network.layers)
        line["results"] = {title: judged(case, method) for title, method in METHODS.items()}
    line["versions"] = {one: version(one) for one in ("torch", "torchvision", "timm")}
    return {**line, "seconds": round(time.perf_counter() - start, 1)}


def wanted(patterns: Sequence[str]) -> list[tuple[str, str]]:
    """Networks by library and name that one of the patterns fits."""
    return [(library, name) for library, name in networks() if any(fnmatchcase(name, one) for one in patterns)]


def main() -> None:
    """Reads the options, examines networks and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--networks", nargs="+", default=["*"], metavar="GLOB", help="names of networks, all by default"
    )
    parser.add_argument("--out", type=Path, help="JSON lines to append to; networks that are there are not run again")
    parser.add_argument("--table", type=Path, help="markdown to write of all lines, those of --out included")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    text = options.out.read_text() if options.out and options.out.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    known = {(line["library"], line["name"]) for line in lines}
    left = [one for one in wanted(options.networks) if one not in known]
    for number, (library, name) in enumerate(left, 1):
        print(f"{number} of {len(left)}: {name}", file=sys.stderr, flush=True)
        lines.append(examined(library, name))
        print(json.dumps(lines[-1]), flush=True)
        if options.out:
            with options.out.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
    if options.table and lines:
        options.table.write_text(table(lines, COLUMNS))
    if any(verdict["verdict"].startswith("WRONG") for line in lines for verdict in line["results"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
