"""A data set explained over HTTP as one task, beside a plain loop, and again with its worker killed twice.

Prints one JSON line a figure: images per second of one worker over those of a loop in this process, which reads the
same files, calls the same engine in batches as large and keeps the same maps; and whether the task whose worker was
killed has every row once and the same bytes. The network is a ResNet-20 with random weights; the images are of
CIFAR's size.
"""

import argparse
import io
import os
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import psutil
import pyarrow.parquet as parquet
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from support.measure import reporter
from support.processes import PATIENCE_S, service

import attribution
from attribution.architectures import cifar_resnet
from attribution_client import Client
from attribution_contracts.models import ModelSpec, Preprocessing, Weights
from attribution_contracts.results import Result

SIDE, CLASSES = 32, 10
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
BATCH = 32
OPTIONS: dict[str, dict[str, int]] = {"integrated_gradients": {"n_steps": 16}, "input_x_gradient": {}}
report = reporter("explain_data_set")


def network() -> torch.nn.Module:
    """The same for everybody."""
    torch.manual_seed(0)
    return cifar_resnet(20).eval()


def pictures(count: int) -> NDArray[np.uint8]:
    """Coloured gratings in noise, no two the same, `(count, SIDE, SIDE, 3)`."""
    dice = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    turn, wave, start = (dice.uniform(low, high, (count, 1, 1)) for low, high in ((0, np.pi), (3, 16), (0, 6)))
    grating = np.sin(2 * np.pi * (across * np.cos(turn) + down * np.sin(turn)) / wave + start)
    colour = dice.uniform(-90, 90, (count, 1, 1, 3))
    noise = dice.normal(0, 20, (count, SIDE, SIDE, 3))
    return np.clip(127 + colour * grating[..., None] + noise, 0, 255).astype(np.uint8)


def loop(files: list[bytes], method: str) -> float:
    """Images per second of a plain loop."""
    model = attribution.Network(network(), (3, SIDE, SIDE))
    explain = getattr(attribution, method)
    if method == "integrated_gradients":
        explain = partial(explain, baseline=torch.zeros(1, 3, SIDE, SIDE), **OPTIONS[method])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    begun, maps = time.perf_counter(), list[NDArray[np.float32]]()
    for start in range(0, len(files), BATCH):
        seen = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files[start : start + BATCH]]
        inputs = torch.stack([(torch.from_numpy(one.copy()).permute(2, 0, 1) / 255 - mean) / std for one in seen])
        found = explain(model, inputs, model.logits(inputs).argmax(1))
        maps.append(found[0].detach().sum(1).numpy())
    np.savez_compressed(io.BytesIO(), attributions=np.concatenate(maps))
    return len(files) / (time.perf_counter() - begun)


def explained(client: Client, method: str, shard: int, disturb: Callable[[str], None]) -> tuple[Result, float]:
    """The result of the task, computed afresh, and its seconds from the first worker on."""
    explanation = {"method": method, **OPTIONS[method]}
    task = {"task": "explain", "explanation": explanation, "shard_images": shard}
    submitted = client.submit(model="net", dataset="gratings", task=task, is_fresh=True)
    disturb(submitted.id)
    job = client.wait(submitted.id)
    assert job.started_at is not None
    assert job.finished_at is not None
    return client.result(job.id), (job.finished_at - job.started_at).total_seconds()


def killed_twice(client: Client, job_id: str) -> None:
    """Kills the process at work once a fifth, and once a half of the images is done."""
    for share in (0.2, 0.5):
        while (job := client.job(job_id)).progress.done < share * max(job.progress.total, 2):
            time.sleep(0.1)
        at_work = [
            child
            for process in psutil.Process().children()
            if "worker" in process.cmdline()
            for child in process.children()
        ]
        at_work[0].kill()


def digests(result: Result) -> dict[str, str]:
    """What identifies the bytes of each file."""
    return {file.name: file.sha256 for file in result.artifacts}


def main() -> None:
    """Reads the options and runs everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--method", choices=sorted(OPTIONS), default="integrated_gradients")
    parser.add_argument("--shard", type=int, default=500, help="images of a part")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    images = pictures(options.images)
    archive = io.BytesIO()
    np.savez(archive, images=images, labels=np.arange(len(images)) % CLASSES)
    some = []
    for one in images[: max(1, options.images // 10)]:
        Image.fromarray(one).save(file := io.BytesIO(), "PNG")
        some.append(file.getvalue())
    more = {"ATTRIBUTION_BATCH_IMAGES": str(BATCH), "ATTRIBUTION_LEASE_S": "5", "ATTRIBUTION_RECONCILE_S": "1"}
    with service(workers=1, preload=True, more=more) as running, Client(running.url) as client:
        spec = ModelSpec(
            name="net",
            architecture="cifar_resnet20",
            weights=Weights(part="weights"),
            preprocessing=Preprocessing(size=(SIDE, SIDE), mean=MEAN, std=STD),
            labels=[str(index) for index in range(CLASSES)],
        )
        client.register_model(spec, weights=save(network().state_dict()))
        client.wait_for_model("net", timeout=PATIENCE_S)
        client.register_dataset("gratings", archive.getvalue())
        client.wait_for_dataset("gratings", timeout=10 * PATIENCE_S)
        before = loop(some, options.method)
        quiet, seconds = explained(client, options.method, options.shard, lambda _job_id: None)
        plain = (before + loop(some, options.method)) / 2
        disturbed, _ = explained(client, options.method, options.shard, lambda job_id: killed_twice(client, job_id))
        [rows] = [client.artifact(file) for file in disturbed.artifacts if file.quantity == "rows"]
    ours = len(images) / seconds
    size = {"images": len(images), "method": options.method, "shard_images": options.shard}
    report(
        "images per second of one worker over HTTP, over those of a plain loop",
        ours / plain,
        0.9,
        "ratio",
        **size,
        per_second=round(ours, 1),
        loop_per_second=round(plain, 1),
    )
    positions = parquet.read_table(io.BytesIO(rows))["position"].to_pylist()
    is_whole = positions == list(range(len(images)))
    is_same = digests(quiet) == digests(disturbed) and quiet.details == disturbed.details
    report("a worker killed twice: every row once", float(is_whole), 1.0, "share", **size)
    report("a worker killed twice: the same bytes", float(is_same), 1.0, "share", **size)


if __name__ == "__main__":
    main()
