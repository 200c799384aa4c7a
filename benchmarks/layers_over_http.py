"""All layers of VGG-19 at 224 x 224 in one job over HTTP: memory of the worker, progress, and how fast it cancels.

Starts the service with one worker. The weights are random: they matter neither to memory nor to time. Prints one JSON
line a claim.
"""

import argparse
import io
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from support.processes import PATIENCE_S, service, worker_bytes

from attribution_client import Client
from attribution_contracts.jobs import Job
from attribution_contracts.models import ModelSpec, Preprocessing, Weights

SPEC = ModelSpec(
    name="vgg19",
    architecture="torchvision:vgg19",
    weights=Weights(part="weights"),
    preprocessing=Preprocessing(size=(224, 224), mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
)
TICK_S = 0.02


def report(claim: str, measured: float, target: float, unit: str, **more: Any) -> None:
    """Prints one line; less is better."""
    line = {"benchmark": "layers_over_http", "claim": claim, "measured": round(measured, 3), "target": target}
    print(json.dumps({**line, "unit": unit, "met": measured <= target, **more}), flush=True)


def weights() -> bytes:
    """Random ones of half precision."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vgg19.safetensors"
        save_file(torchvision.models.vgg19(weights=None).half().state_dict(), path)
        return path.read_bytes()


def picture() -> bytes:
    """A photograph of noise."""
    buffer = io.BytesIO()
    Image.effect_noise((224, 224), 60).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def submit(client: Client, n_steps: int) -> Job:
    """All layers, computed afresh."""
    explanation = {"method": "layer_shapley", "n_steps": n_steps, "target": {"classes": [3]}}
    return client.submit(
        model="vgg19", explanation=explanation, inputs=[{"part": "image"}], images={"image": picture()}, is_fresh=True
    )


def watch(client: Client, job: Job) -> tuple[Job, list[float], int]:
    """Follows a job to its end: the times at which its progress moved, and the worker's peak."""
    moved, peak, last = [], 0, -1
    while not job.status.is_terminal:
        peak = max(peak, worker_bytes())
        if job.status == "running" and job.progress.done != last:
            moved.append(time.monotonic())
            last = job.progress.done
        time.sleep(TICK_S)
        job = client.job(job.id)
    return job, moved, peak


def cancelled_after(client: Client, n_steps: int) -> float:
    """Seconds from the request to cancel a job in the middle of its computation to its end."""
    job = submit(client, n_steps)
    while job.progress.done < job.progress.total / 3 or job.progress.total < n_steps:
        time.sleep(TICK_S)
        job = client.job(job.id)
    start = time.monotonic()
    client.cancel(job.id)
    ended = client.wait(job.id, timeout=PATIENCE_S)
    if ended.status != "cancelled":
        raise RuntimeError(f"the job ended as {ended.status}")
    return time.monotonic() - start


def main() -> None:
    """Runs one job to the end, and cancels another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=32)
    n_steps = parser.parse_args().steps
    torch.manual_seed(0)
    with service(workers=1) as running, Client(running.url) as client:
        client.register_model(SPEC, weights=weights())
        client.wait_for_model("vgg19", timeout=PATIENCE_S)
        job, moved, peak = watch(client, submit(client, n_steps))
        result = client.result(job.id)
        chunk = max(later - earlier for earlier, later in pairwise(moved))
        layers = len(result.images[0].layers)
        report(
            "VGG-19, all layers: peak of the worker's processes", peak / 2**30, 3.0, "GiB", layers=layers, steps=n_steps
        )
        report("the same: longest time without progress", chunk, 10.0, "s", moves=len(moved))
        waits = [cancelled_after(client, n_steps) for _ in range(3)]
        report("the same: longest of three waits for a cancelled job over that", max(waits) / chunk, 1.0, "ratio")


if __name__ == "__main__":
    main()
