"""How much of a map lies on planted evidence: generated pictures of two classes that differ in a disc's texture alone.

Prints one JSON line a map: the share of its mass (absolute values, over all channels) inside the disc, in the mean over
held-out pictures and with the standard error of that mean; the target is the share of the picture that the disc covers,
which a map that knows nothing has. Then one line for each map of `std` against the attribution that it is made of.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

import attribution
from attribution.architectures import cifar_resnet
from attribution.quality.occlusion import input_x_gradient_maps
from cli.demo import planted

BATCH = 20
N_STEPS = 16
PAIRS = [
    ("std", "input x gradient"),
    ("silhouette", "input x gradient"),
    ("std of integrated gradients", "integrated gradients, blurred baseline"),
]
"""What is compared picture by picture."""


def classifier(module: nn.Module | None = None, weights: Path = planted.WEIGHTS) -> attribution.Network:
    """A classifier that lies beside the pictures' code: the one of convolutions unless told."""
    module = module or cifar_resnet(20, num_classes=2)
    module.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    return attribution.Network(module.eval(), (3, planted.SIDE, planted.SIDE))


def maps(network: attribution.Network, inputs: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Every map by name; those of a single class explain the predicted one."""
    target = network(inputs).argmax(1)
    found = attribution.multiclass_importance(network, inputs)
    yield "input x gradient", input_x_gradient_maps(network, inputs, target)
    yield from ((name, getattr(found, name)) for name in ("std", "silhouette", "importance"))
    zero, blurred = attribution.baselines.zero(inputs), attribution.baselines.blur(inputs, 5.0)
    for name, baseline in {"zero": zero, "blurred": blurred}.items():
        single = attribution.integrated_gradients(network, inputs, target, baseline=baseline, n_steps=N_STEPS)
        yield f"integrated gradients, {name} baseline", single.attributions
    of_all = attribution.multiclass_importance(
        network, inputs, attribution="integrated_gradients", baseline=blurred, n_steps=N_STEPS
    )
    yield "std of integrated gradients", of_all.std  # type: ignore[misc]  # exact: there is one


def shares(network: attribution.Network, pictures: range) -> dict[str, torch.Tensor]:
    """The share of each map's mass on the evidence of each picture, and of the area."""
    columns: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(pictures), BATCH):
        indices = pictures[start : start + BATCH]
        evidence = torch.stack([torch.from_numpy(planted.sample(index).evidence) for index in indices]).unsqueeze(1)
        columns.setdefault("area", []).append(evidence.double().mean((1, 2, 3)))
        for name, values in maps(network, planted.examples(indices).inputs):
            mass = values.abs().double()
            columns.setdefault(name, []).append((mass * evidence).sum((1, 2, 3)) / mass.sum((1, 2, 3)))
    return {name: torch.cat(parts) for name, parts in columns.items()}


def report(claim: str, values: torch.Tensor, target: float, **more: float) -> None:
    """One line: a mean over pictures."""
    mean, error = float(values.mean()), float(values.std() / len(values) ** 0.5)
    line = {
        "benchmark": "planted_evidence",
        "claim": claim,
        "measured": round(mean, 4),
        "target": round(target, 4),
        "unit": "share of the map's mass",
        "met": mean > target,
        "standard_error": round(error, 4),
        "pictures": len(values),
        **more,
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    """Reads the options and scores every map."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few pictures: a smoke test, no claim")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), help="K N: every N-th picture from number K")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    first, step = options.part
    pictures = range(planted.HELD_OUT_FROM, planted.HELD_OUT_FROM + (4 if options.quick else 100))
    found = shares(classifier(), pictures[first::step])
    area = found.pop("area")
    for name, values in found.items():
        report(f"{name}: mass on the evidence", values, float(area.mean()), above_area_on=int((values > area).sum()))
    for ours, theirs in PAIRS:
        ahead = found[ours] - found[theirs]
        report(f"{ours} less {theirs}", ahead, 0.0, better_on=int((ahead > 0).sum()))


if __name__ == "__main__":
    main()
