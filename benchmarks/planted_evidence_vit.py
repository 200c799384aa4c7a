"""How much of a map of a vision transformer lies on planted evidence, as ``planted_evidence.py`` has it of a CNN.

Prints one JSON line a map: the share of its mass (absolute values, over all channels) inside the textured disc, in the
mean over held-out pictures and with the standard error of that mean; the target is the share of the picture that the
disc covers, which a map that knows nothing has. Maps of patches are spread over the pixels of each.
"""

import argparse
from collections.abc import Iterator

import torch
from safetensors.torch import load_file
from torch.nn import functional

import attribution
from attribution.architectures import small_vit
from attribution.propagation.attention_rules import transformer_relevance
from benchmarks.planted_evidence import BATCH, N_STEPS, report
from cli.demo import planted, planted_vit


def classifier() -> attribution.Network:
    """The classifier that lies beside the pictures' code."""
    module = small_vit(num_classes=2, side=planted.SIDE)
    module.load_state_dict({name: value.float() for name, value in load_file(planted_vit.WEIGHTS).items()})
    return attribution.Network(module.eval(), (3, planted.SIDE, planted.SIDE))


def maps(network: attribution.Network, inputs: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Every map of the predicted class by name, ``(batch, channels, rows, columns)``."""
    target = network(inputs).argmax(1)
    yield "a random map", torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0))
    yield "saliency", attribution.saliency(network, inputs, target).maps
    yield "input x gradient", attribution.input_x_gradient(network, inputs, target).maps
    for name, baseline in {
        "zero": attribution.baselines.zero(inputs),
        "blurred": attribution.baselines.blur(inputs, 5.0),
    }.items():
        found = attribution.integrated_gradients(network, inputs, target, baseline=baseline, n_steps=N_STEPS)
        yield f"integrated gradients, {name} baseline", found.attributions
    of_layers = attribution.cam(network, inputs, target, variants=["grad_cam", "hires_cam", "layer_cam"])
    for variant, by_layer in of_layers.maps.items():
        yield f"cam, {variant}, last layer", next(iter(by_layer.values())).unsqueeze(1)
    attended = attribution.attention(network, inputs, target, variants=["rollout", "legrad"])
    for kind, values in attended.maps.items():
        yield f"attention, {kind}", values.unsqueeze(1)
    yield "lrp, cp", transformer_relevance(network, inputs, target, rule="cp").maps
    yield "lrp, attn", transformer_relevance(network, inputs, target, rule="attn").maps


def shares(network: attribution.Network, pictures: range) -> dict[str, torch.Tensor]:
    """The share of each map's mass on the evidence of each picture, and of the area."""
    columns: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(pictures), BATCH):
        indices = pictures[start : start + BATCH]
        evidence = torch.stack([torch.from_numpy(planted.sample(index).evidence) for index in indices]).unsqueeze(1)
        columns.setdefault("area", []).append(evidence.double().mean((1, 2, 3)))
        for name, values in maps(network, planted.examples(indices).inputs):
            mass = functional.interpolate(
                values.abs().double().sum(1, keepdim=True), evidence.shape[2:], mode="nearest"
            )
            columns.setdefault(name, []).append((mass * evidence).sum((1, 2, 3)) / mass.sum((1, 2, 3)))
    return {name: torch.cat(parts) for name, parts in columns.items()}


def main() -> None:
    """Reads the options and scores every map."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few pictures: a smoke test, no claim")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pictures = range(planted.HELD_OUT_FROM, planted.HELD_OUT_FROM + (4 if options.quick else 100))
    found = shares(classifier(), pictures)
    area = found.pop("area")
    for name, values in found.items():
        report(f"{name}: mass on the evidence", values, float(area.mean()), above_area_on=int((values > area).sum()))


if __name__ == "__main__":
    main()
