"""How much of each method's map lies on planted evidence, of a network of convolutions and of a vision transformer.

The pictures are generated and differ in the texture of a disc alone (`cli/demo/planted.py`). A map's mass are its
absolute values, over all channels; its positive part is that of its sum over channels. Of both the share that lies
inside the disc is taken, in the mean over held-out pictures; maps of layers are stretched over the picture. Methods
that compare take the blurred picture, which has the colours and no texture. Prints one JSON line for each network and
method; ``--table FILE`` writes the page.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from planted_evidence import classifier
from torch.nn import functional

import attribution
from attribution import Network
from attribution.architectures import small_vit
from attribution.errors import AttributionError, NetworkError
from attribution.segments import felzenszwalb, grid
from cli.demo import planted, planted_vit

SIGMA, N_LESSONS, BATCH = 5.0, 200, 10
Explain = Callable[[Network, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Score(NamedTuple):
    """What came of one method on one network."""

    network: str
    method: str
    mass: tuple[float, float] | None
    """The mean share of its mass, and its standard error."""
    positive: tuple[float, float] | None = None
    """The same of its positive part."""
    reason: str = ""
    """Why there is no map."""


def _last(maps: dict[str, torch.Tensor]) -> torch.Tensor:
    return list(maps.values())[-1].unsqueeze(1)


def _decomposition(network: Network, inputs: torch.Tensor, target: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    lessons = planted.examples(range(N_LESSONS))
    fit = attribution.influential_features(network, [(lessons.inputs, lessons.labels)], n_initial=5, n_features=5)
    found = attribution.decomposition(network, inputs, target, fit)
    if found.influential is None:
        raise NetworkError(f"decomposition has no maps here: {found.maps_missing}")
    return found.influential.unsqueeze(1)


def _regions(network: Network, inputs: torch.Tensor, target: torch.Tensor, blurred: torch.Tensor) -> torch.Tensor:
    pictures = inputs.mul(planted.SPEC.preprocessing.std[0]).add(planted.SPEC.preprocessing.mean[0]).clamp(0, 1)
    segments = torch.stack([felzenszwalb(one.permute(1, 2, 0).double().numpy()) for one in pictures])
    return attribution.xrai(network, inputs, target, segments=segments, baseline=blurred, n_steps=16).gains


def _generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(count)]


METHODS: dict[str, Explain] = {
    "a random map": lambda _n, x, _t, _b: torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
    "attention, LeGrad": lambda n, x, t, _: attribution.attention(n, x, t, variants=["legrad"]).maps["legrad"][:, None],
    "attention, rollout": lambda n, x, t, _: attribution.attention(n, x, t, variants=["rollout"]).maps["rollout"][
        :, None
    ],
    "cam, Grad-CAM": lambda n, x, t, _: _last(attribution.cam(n, x, t).maps["grad_cam"]),
    "cam, HiResCAM": lambda n, x, t, _: _last(attribution.cam(n, x, t, variants="hires_cam").maps["hires_cam"]),
    "cam, Layer-CAM": lambda n, x, t, _: _last(attribution.cam(n, x, t, variants="layer_cam").maps["layer_cam"]),
    "decomposition": _decomposition,
    "deconvolution": lambda n, x, t, _: attribution.deconvolution(n, x, t).maps,
    "deeplift": lambda n, x, t, b: attribution.deeplift(n, x, t, baseline=b).maps,
    "guided_backprop": lambda n, x, t, _: attribution.guided_backprop(n, x, t).maps,
    "input_x_gradient": lambda n, x, t, _: attribution.input_x_gradient(n, x, t).maps,
    "integrated_gradients": lambda n, x, t, b: (
        attribution.integrated_gradients(n, x, t, baseline=b, tolerance=0.02).attributions
    ),
    "layer_shapley, last layer with places": lambda n, x, t, b: _last(
        attribution.layer_shapley(n, x, t, background=b, layers="stages", n_steps=32).maps
    ),
    "lrp": lambda n, x, t, _: attribution.lrp(n, x, t).maps,
    "lrp, epsilon": lambda n, x, t, _: attribution.lrp(n, x, t, rule="epsilon").maps,
    "lrp, AttnLRP": lambda n, x, t, _: attribution.lrp(n, x, t, rule="attn_lrp").maps,
    "multiclass_importance, std of integrated gradients": lambda n, x, _, b: (
        attribution.multiclass_importance(n, x, attribution="integrated_gradients", baseline=b, n_steps=50).std
    ),
    "occlusion": lambda n, x, t, b: attribution.occlusion(n, x, t, window=12, stride=4, baseline=b).maps,
    "rise": lambda n, x, t, b: attribution.rise(n, x, t, baseline=b, n_masks=400, generator=_generators(len(x))).maps,
    "saliency": lambda n, x, t, _: attribution.saliency(n, x, t).maps,
    "segment_shapley, grid of 64": lambda n, x, t, b: (
        attribution.segment_shapley(
            n, x, t, segments=grid(*x.shape[2:], 8, 8)[None], baseline=b, n_samples=300, generator=_generators(len(x))
        ).maps
    ),
    "xrai, gains": _regions,
}
"""By what is shown: ``(batch, channels, height, width)``, or coarser."""


def networks() -> dict[str, Network]:
    """The classifiers that lie beside the pictures' code."""
    transformer = small_vit(num_classes=2, side=planted.SIDE)
    return {"ResNet-20": classifier(), "small ViT": classifier(transformer, planted_vit.WEIGHTS)}


def scored(name: str, network: Network, method: str, pictures: range) -> Score:
    """The shares of one method's maps of the predicted class."""
    mass, positive = list[torch.Tensor](), list[torch.Tensor]()
    for start in range(0, len(pictures), BATCH):
        indices = pictures[start : start + BATCH]
        evidence = torch.stack([torch.from_numpy(planted.sample(index).evidence) for index in indices])[:, None]
        inputs = planted.examples(indices).inputs
        blurred = attribution.baselines.blur(inputs, SIGMA)
        try:
            found = METHODS[method](network, inputs, network(inputs).argmax(1), blurred).double()
        except AttributionError as error:
            return Score(name, method, None, reason=str(error).split(";")[0])
        found = functional.interpolate(found, evidence.shape[2:], mode="bilinear", align_corners=False)
        mass.append(_inside(found.abs().sum(1, keepdim=True), evidence))
        positive.append(_inside(found.sum(1, keepdim=True).clamp(min=0), evidence))
    return Score(name, method, _mean(torch.cat(mass)), _mean(torch.cat(positive)))


def _inside(values: torch.Tensor, evidence: torch.Tensor) -> torch.Tensor:
    return (values * evidence).sum((1, 2, 3)) / values.sum((1, 2, 3))


def _mean(shares: torch.Tensor) -> tuple[float, float]:
    shares = shares[shares.isfinite()]  # a map without positive values has no share of them
    return float(shares.mean()), float(shares.std() / len(shares) ** 0.5)


def page(scores: list[Score], pictures: range) -> str:
    """The scores in markdown."""
    area = torch.tensor([planted.sample(index).evidence.mean() for index in pictures]).mean()
    names = list(dict.fromkeys(one.network for one in scores))
    head = ["map", *(f"{name}, {what}" for name in names for what in ("mass", "positive"))]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    reasons = dict[str, int]()
    for method in METHODS:
        found = {one.network: one for one in scores if one.method == method}
        cells = [cell for name in names for cell in _cells(found[name], reasons)]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    notes = [f"* [{number}] {reason}" for reason, number in reasons.items()]
    return "\n".join([_TITLE.format(count=len(pictures), area=area), "", *lines, "", *notes, ""])


_TITLE = """# Planted evidence

How much of each method's map lies on the evidence, where that is known: generated pictures whose two classes differ in
the texture of a disc alone. Written by `benchmarks/planted_table.py`, which says what is taken how: {count} held-out
pictures, the predicted class, in percent with the standard error of the mean. The disc covers {area:.1%} of a picture,
which is what a map that knows nothing has. *mass*: of the absolute values over all channels; *positive*: of the
positive values of their sum. One small network of each kind does not rank methods; coarse maps and those of
segments cannot follow the disc's edge, and the positive part of a method that counts against a baseline or in all
directions says more than its mass."""


def _cells(one: Score, reasons: dict[str, int]) -> tuple[str, str]:
    if one.mass is None or one.positive is None:
        number = reasons.setdefault(one.reason, len(reasons) + 1)
        return f"[{number}]", ""
    mass, positive = (f"{100 * mean:.1f} ± {100 * error:.1f}" for mean, error in (one.mass, one.positive))
    return mass, positive


def main() -> None:
    """Reads the options, scores, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", type=Path, help="where to write the page")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pictures = range(planted.HELD_OUT_FROM, planted.HELD_OUT_FROM + options.pictures)
    scores = list[Score]()
    for name, network in networks().items():
        for method in METHODS:
            scores.append(scored(name, network, method, pictures))
            print(json.dumps({"benchmark": "planted_table", **scores[-1]._asdict()}), flush=True)
    if options.table is not None:
        options.table.write_text(page(scores, pictures))


if __name__ == "__main__":
    main()
