"""The decomposition of CIFAR-10's ResNets through HTTP, from the upload of the data sets on; and one worker or two.

Prints one JSON line a figure, beside the paper's where it has one ("Decomposing the Deep", Tables 1 to 3). Needs the
development data: 2,500 training and 1,000 test images, ResNet-20 and ResNet-56 with their weights.
"""

import argparse
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from support.cifar import MEAN, STD
from support.processes import PATIENCE_S, service

from attribution_client import Client
from attribution_contracts.models import ModelSpec, Preprocessing, Weights

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SIZES, WIDTHS = [1, 3, 5, 10, 20], [1, 3, 5, 10, 20]
LIGHT_SHARD = 100


def report(claim: str, measured: Any, paper: float | None = None, **more: Any) -> None:
    """Prints one line."""
    line = {"benchmark": "decomposition_over_http", "claim": claim, "measured": measured, "paper": paper, **more}
    print(json.dumps(line), flush=True)


def archive(data: Path, part: str) -> bytes:
    """Images and class names as NumPy arrays."""
    arrays, buffer = np.load(data / "cifar10.npz"), io.BytesIO()
    np.savez(buffer, images=arrays[f"{part}_x"], labels=np.array([CLASSES[label] for label in arrays[f"{part}_y"]]))
    return buffer.getvalue()


def register(client: Client, data: Path, depth: int) -> str:
    """A classifier with its weights."""
    name = f"cifar-resnet{depth}"
    spec = ModelSpec(
        name=name,
        architecture=f"cifar_resnet{depth}",
        weights=Weights(part="weights"),
        preprocessing=Preprocessing(size=(32, 32), mean=MEAN, std=STD),
        labels=CLASSES,
    )
    client.register_model(spec, weights=data / "weights" / f"cifar_resnet{depth}.safetensors")
    client.wait_for_model(name, timeout=PATIENCE_S)
    return name


def upload(client: Client, data: Path) -> None:
    """Both data sets."""
    for part in ("train", "test"):
        client.register_dataset(f"cifar-{part}", archive(data, part))
        client.wait_for_dataset(f"cifar-{part}", timeout=PATIENCE_S)


def run(client: Client, model: str, dataset: str, **task: Any) -> dict[str, Any]:
    """The report of a task."""
    job = client.submit(model=model, dataset=dataset, task=task, is_fresh=True)
    client.wait(job.id)
    found: dict[str, Any] = client.result(job.id).details["report"]
    return found


def row(client: Client, model: str, paper: dict[str, float]) -> None:
    """The paper's row of one network."""
    fit = run(client, model, "cifar-train", task="fit", n_initial=5, n_features=5)
    digest = fit["fit"]
    evaluated = run(client, model, "cifar-test", task="evaluate", fit=digest)
    report(f"{model}: accuracy of the full network", evaluated["full_accuracy"], paper.get("full"))
    report(
        f"{model}: decomposed to 5 features of 64",
        evaluated["accuracy"],
        paper.get("decomposed"),
        standard_error=round(evaluated["standard_error"], 4),
    )
    report(f"{model}: ratio", round(evaluated["ratio"], 4), paper.get("ratio"))
    head = run(client, model, "cifar-train", task="retrain", fit=digest, validation="cifar-test")
    report(f"{model}: after an epoch of the head (2,500 images)", head["accuracies"][-1])
    whole = run(
        client,
        model,
        "cifar-train",
        task="retrain",
        fit=digest,
        weights=head["weights"],
        scope="all",
        validation="cifar-test",
    )
    report(f"{model}: then an epoch of all", whole["accuracies"][-1])
    for replace in ("influential", "others"):
        ablated = run(client, model, "cifar-test", task="ablate", fit=digest, replace=replace)
        report(f"{model}: {replace} replaced by noise", ablated["accuracy"], paper.get(replace))
    swept = run(
        client,
        model,
        "cifar-train",
        task="sweep",
        validation="cifar-test",
        n_initial=SIZES,
        n_features=WIDTHS,
    )
    ratios = {
        f"n_initial {size}": [round(one, 3) for one in line] for size, line in zip(SIZES, swept["ratio"], strict=True)
    }
    report(f"{model}: ratios of the sweep at {WIDTHS} features", ratios)


def workers(data: Path) -> None:
    """A fit of light shards by one worker, and by two."""
    seconds = {}
    for count in (1, 2):
        with service(workers=count, preload=True) as running, Client(running.url) as client:
            model = register(client, data, 20)
            upload(client, data)
            for warm in (True, False):  # every worker loads the model once
                start = time.perf_counter()
                run(client, model, "cifar-train", task="fit", shard_images=LIGHT_SHARD, n_initial=5 if warm else 6)
            seconds[count] = time.perf_counter() - start
    report(
        f"fit of 25 shards of {LIGHT_SHARD} images: one worker's time over that of two",
        round(seconds[1] / seconds[2], 2),
        seconds={str(count): round(one, 2) for count, one in seconds.items()},
    )


def main() -> None:
    """Reads the options and runs everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("ATTRIBUTION_SHARED_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="development data")
    options = parser.parse_args()
    if not (options.data / "cifar10.npz").exists():
        print(json.dumps({"benchmark": "decomposition_over_http", "skipped": f"{options.data} has no cifar10.npz"}))
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with service(workers=1, preload=True) as running, Client(running.url) as client:
        upload(client, options.data)
        paper = {"full": 0.9117, "decomposed": 0.8859, "ratio": 0.972, "influential": 0.4897, "others": 0.8224}
        row(client, register(client, options.data, 20), paper)
        row(client, register(client, options.data, 56), {})
    workers(options.data)


if __name__ == "__main__":
    main()
