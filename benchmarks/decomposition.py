"""Decomposing the final layer: fitting against a bare forward pass, a sweep against one fit, and the two heads.

Prints one JSON line a claim, all from one process. Passes over data are timed in turn and compared turn by turn; a
bare pass is the module itself over the same loader, in the layout that runs it fastest, its logits thrown away. Images
are noise and weights random: time does not depend on them.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from support.measure import reporter, seconds
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import attribution
from attribution.architectures import cifar_resnet

report = reporter("decomposition")

N_INITIAL, N_FEATURES = (1, 3, 5, 10), (1, 3, 5, 10, 20)
#: Name -> builder, side of the images, classes, images, batch.
NETWORKS: dict[str, tuple[Callable[..., nn.Module], int, int, int, int]] = {
    "ResNet-20, CIFAR-10": (lambda num_classes: cifar_resnet(20, num_classes=num_classes), 32, 10, 1024, 128),
    "ResNet-18, ImageNet": (torchvision.models.resnet18, 224, 1000, 64, 16),
}


def bare(module: nn.Module, loader: DataLoader[Any], *, channels_last: bool) -> None:
    """A forward pass over the data and nothing else."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    with torch.no_grad():
        for inputs, _ in loader:
            module(inputs.contiguous(memory_format=layout))


def passes(name: str, rounds: int, share: float) -> None:
    """Claims (a) and (b): one fit against a bare pass, and a sweep of 20 settings against one fit."""
    build, side, n_classes, n_images, batch = NETWORKS[name]
    n_images = max(batch, int(share * n_images))
    torch.manual_seed(0)
    module = build(num_classes=n_classes).eval()
    network = attribution.Network(module, (3, side, side))
    images = torch.randn(n_images, 3, side, side)
    loader = DataLoader(TensorDataset(images, torch.arange(n_images) % n_classes), batch_size=batch)
    work: dict[str, Callable[[], object]] = {
        "bare": lambda: bare(module, loader, channels_last=False),
        "bare_channels_last": lambda: bare(module, loader, channels_last=True),
        "fit": lambda: attribution.influential_features(network, loader),
        "sweep": lambda: attribution.sweep(network, loader, n_initial=N_INITIAL, n_features=N_FEATURES),
    }
    turns = [{part: seconds(one) for part, one in work.items()} for _ in range(rounds + 1)][1:]
    medians = {part: round(statistics.median(turn[part] for turn in turns), 3) for part in work}
    more = {"images": n_images, "batch": batch, "rounds": rounds, "seconds": medians}
    fastest = min(("bare", "bare_channels_last"), key=medians.__getitem__)
    fit = statistics.median(turn["fit"] / turn[fastest] for turn in turns)
    report(f"(a) {name}: fit over a bare forward pass", fit, 1.1, "ratio", at_least=False, against=fastest, **more)
    swept = statistics.median(turn["sweep"] / turn["fit"] for turn in turns)
    settings = len(N_INITIAL) * len(N_FEATURES)
    report(f"(b) {name}: sweep over a fit", swept, 1.3, "ratio", at_least=False, settings=settings, **more)


def heads(n_classes: int, width: int, n_features: int, batch: int, repeats: int) -> None:
    """Claim (c): the full head over the decomposed one, beside other ways to compute the latter."""
    generator = torch.Generator().manual_seed(0)
    full = nn.Linear(width, n_classes)
    indices = torch.rand(n_classes, width, generator=generator).argsort(1)[:, :n_features].sort(1).values
    weight, bias = full.weight.detach().gather(1, indices), full.bias.detach()
    head = attribution.DecomposedHead(indices, weight, bias)
    features = torch.randn(batch, width, generator=generator).relu()
    warnings.filterwarnings("ignore", message="Sparse")
    starts = torch.arange(0, n_classes * n_features + 1, n_features)
    sparse = torch.sparse_csr_tensor(starts, indices.flatten(), weight.flatten(), (n_classes, width))
    masked = torch.zeros(n_classes, width).scatter_(1, indices, weight)
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "full": lambda: full(features),
        "decomposed": lambda: head(features),
        "gather_and_sum": lambda: torch.einsum("nki,ki->nk", features[:, indices], weight) + bias,
        "sparse_csr": lambda: (sparse @ features.T.contiguous()).T + bias,
        "masked_dense": lambda: functional.linear(features, masked, bias),
    }
    with torch.no_grad():
        expected = ways["masked_dense"]()
        for name, way in ways.items():
            if name != "full" and not torch.allclose(way(), expected, atol=1e-3):
                raise SystemExit(f"{name} computes something else")
        times = {name: [seconds(way) for _ in range(repeats)] for name, way in ways.items()}
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    report(
        f"(c) K = {n_classes}, d = {width}, {n_features} features, {batch} images: full head over decomposed head",
        medians["full"] / medians["decomposed"],
        1.0,
        "ratio",
        milliseconds={name: round(1e3 * taken, 3) for name, taken in medians.items()},
        multiply_adds={"full": width * n_classes, "decomposed": n_features * n_classes},
    )


def main() -> None:
    """Reads the options and runs every claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images, one round: a smoke test, no claim")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in NETWORKS:
        passes(name, 1 if options.quick else options.rounds, 0.25 if options.quick else 1.0)
    for n_classes in (1000, 21000):
        for batch in (1, 64):
            heads(n_classes, 2048, 50, batch, 3 if options.quick else 9)


if __name__ == "__main__":
    main()
