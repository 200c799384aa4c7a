"""Every method on transformers and ConvNeXt at full size, over HTTP, and why others do not apply.

Starts the service with one worker. Weights are random, as none of ImageNet's are in reach; biases, scales and
statistics are drawn as well, so that no part of a network is the identity. Two images are explained: a photograph, and
the same with a small square of noise in its upper right; where the second map differs from the first must lie around
that square. Prints one JSON line a model and one a method: seconds, passes, memory, how complete the map is, and the
share of the difference in the square's quadrant, where a map that ignores places has 0.25. With `--table FILE...` it
prints these lines as the tables of docs/transformers.md.
"""

import argparse
import io
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from support.applied_table import tables
from support.processes import PATIENCE_S, service, worker_bytes
from support.random_networks import draw_constants
from torch import nn

from attribution_client import Client
from attribution_contracts.methods import METHODS
from attribution_contracts.models import ModelReport, ModelSpec, Preprocessing, Weights
from attribution_contracts.results import ArtifactRef, ImageResult, Result

ROOT = Path(__file__).parents[1]
SIDES = {"swin_v2_t": 256, "vit_wee_patch16_reg1_gap_256": 256}
NETWORKS = {
    **dict.fromkeys(("vit_b_16", "swin_t", "swin_v2_t", "maxvit_t", "convnext_tiny"), "torchvision"),
    **dict.fromkeys(
        ("deit_tiny_patch16_224", "vit_wee_patch16_reg1_gap_256", "swin_tiny_patch4_window7_224", "convnext_atto"),
        "timm",
    ),
}
WITH_CLASS_TOKEN = ("vit_b_16", "deit_tiny_patch16_224")
#: What keeps a run short where a default is made for a person who waits.
SMALL: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 16},
    "layer_shapley": {"n_steps": 16},
    "multiclass_importance": {"mode": "importance"},
    "occlusion": {"window": [64, 64], "stride": [64, 64]},
    "rise": {"n_masks": 32},
    "segment_shapley": {"segments": {"kind": "grid", "rows": 2, "columns": 2}},
    "xrai": {"n_steps": 4, "scales": [250, 500]},
}
SQUARE = 3 / 16
"""Of the side: the square's, whose middle lies an eighth from the top and a quarter from the right."""


def built(library: str, name: str) -> nn.Module:
    """A network with random weights, all of whose parts matter."""
    torch.manual_seed(0)
    make = torchvision.models.get_model if library == "torchvision" else timm.create_model
    module: nn.Module = make(name).eval()
    draw_constants(module)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return module


def spec(library: str, name: str) -> ModelSpec:
    """What is registered."""
    side = SIDES.get(name, 224)
    return ModelSpec(
        name=name,
        architecture=f"torchvision:{name}" if library == "torchvision" else "factory:timm",
        options={} if library == "torchvision" else {"name": name},
        weights=Weights(part="weights"),
        preprocessing=Preprocessing(size=(side, side), mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    )


def pictures(side: int) -> dict[str, bytes]:
    """A photograph, and the same with the square."""
    photograph = Image.fromarray(skimage.data.chelsea()).resize((side, side))
    noise = np.random.default_rng(0).integers(0, 256, (round(SQUARE * side), round(SQUARE * side), 3), dtype=np.uint8)
    planted = photograph.copy()
    planted.paste(Image.fromarray(noise), (round(side * (3 / 4 - SQUARE / 2)), round(side * (1 / 8 - SQUARE / 2) + 6)))
    found = dict[str, bytes]()
    for name, picture in (("plain", photograph), ("planted", planted)):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        found[name] = buffer.getvalue()
    return found


@contextmanager
def peak() -> Iterator[list[int]]:
    """The most that the worker's processes hold in memory meanwhile."""
    found, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            found[0] = max(found[0], worker_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def gap(image: ImageResult) -> float | None:
    """The worst completeness error of an image's maps as a share of what they add up to, where a method has one."""
    found = [abs(one.relative) for one in image.completeness if one.relative is not None]
    found += [abs(one.relative) for one in image.layers if one.relative is not None]
    found += [abs(one.missing) / max(abs(one.explained), 1e-12) for one in image.conservation]
    if (one := image.class_variation) is not None:
        found.append(abs(one.completeness_delta) / (one.attributed_variation - one.completeness_delta))
    return max(found, default=None)


def quadrant_share(client: Client, result: Result) -> tuple[float, str] | None:
    """The share of the difference between both images' maps in the square's quadrant: the least of all raw maps."""
    plain, planted = ({key(one): one for one in image.artifacts if is_map(one)} for image in result.images)
    shares = []
    for name in plain.keys() & planted.keys():
        one, other = (client.map(of[name]).astype(np.float64) for of in (plain, planted))
        if one.shape != other.shape or one.ndim < 2 or min(one.shape[-2:]) < 4:
            continue
        change = np.abs(other - one).reshape(-1, *one.shape[-2:]).sum(0)
        rows, columns = change.shape
        # Each place as four, so that an odd number of them has a middle too.
        halves = change.repeat(2, 0).repeat(2, 1)[:rows, -columns:]
        if change.sum() > 0:
            shares.append((float(halves.sum() / change.sum() / 4), str(name)))
    return min(shares, default=None)


def is_map(artifact: ArtifactRef) -> bool:
    """Whether a file holds a map's values."""
    return artifact.name.endswith(".npy") and artifact.quantity not in ("standard_error", "layer_values", "labels")


def key(artifact: ArtifactRef) -> str:
    """What a map is of, whichever image."""
    return f"{artifact.quantity} {artifact.layer or ''}".strip()


def explain(client: Client, name: str, method: str, report: ModelReport, kept: Path | None) -> dict[str, Any]:
    """Runs one method on both images; what is left of it as a line."""
    side = SIDES.get(name, 224)
    small = SMALL.get(method, {})
    if method == "attention":
        small = {"variants": ["rollout", "legrad"] if name in WITH_CLASS_TOKEN else ["legrad"]}
    own = {"target": {"classes": [3]}} if METHODS[method].class_field() == "target" else {}
    explanation = {"method": method, **small, **own}
    inputs = [{"part": one} for one in ("plain", "planted")]
    start = time.perf_counter()
    with peak() as most:
        job = client.submit(model=name, explanation=explanation, inputs=inputs, images=pictures(side), is_fresh=True)
        job = client.wait(job.id, timeout=20 * PATIENCE_S)
    line: dict[str, Any] = {"seconds": round(time.perf_counter() - start, 1), "peak_mib": most[0] >> 20}
    if job.status != "succeeded":
        return {**line, "failed": str(job.error)}
    result = client.result(job.id)
    if kept is not None:
        client.download(result, kept / name / method)
    seconds = result.provenance.seconds
    line["explain_seconds"] = round(seconds.get("explain", 0.0), 1)
    if report.speed is not None:
        line["worth_passes"] = round(seconds.get("explain", 0.0) / len(inputs) / report.speed.a_pass)
    gaps = [found for image in result.images if (found := gap(image)) is not None]
    line["relative_gap"] = max(gaps, default=None)
    share = quadrant_share(client, result)
    line["in_quadrant"], line["map"] = (None, None) if share is None else (round(share[0], 3), share[1])
    line["warnings"] = sorted({one.code for image in result.images for one in image.warnings})
    line["errors"] = [image.error.detail for image in result.images if image.error is not None]
    return line


def register(client: Client, library: str, name: str) -> ModelReport:
    """Registers a network as a newcomer would, and returns its report."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        module = built(library, name)
        save_file({key: value.contiguous() for key, value in module.state_dict().items()}, path)
        client.register_model(spec(library, name), weights=path.read_bytes())
    version = client.wait_for_model(name, timeout=20 * PATIENCE_S)
    if version.error is not None:
        raise RuntimeError(f"{name}: {version.error.detail}")
    return client.model_report(name)


def say(**line: Any) -> None:
    """Prints one line."""
    print(json.dumps({"benchmark": "transformers", **line}), flush=True)


def measure(name: str, methods: list[str], kept: Path | None) -> None:
    """Registers one network and runs every method that applies."""
    library = NETWORKS[name]
    with service(workers=1) as running, Client(running.url) as client:
        start = time.perf_counter()
        with peak() as most:
            report = register(client, library, name)
        default = None if report.default is None else report.default.model_dump()
        say(
            model=name,
            library=library,
            check_seconds=round(time.perf_counter() - start, 1),
            peak_mib=most[0] >> 20,
            parameters=report.parameters,
            layers=len(report.layers),
            default=default,
            speed=None if report.speed is None else report.speed.model_dump(),
            warnings=report.warnings,
            unsound=[one.model_dump() for one in report.checks if one.verdict in ("refused", "noted")],
        )
        for method, applies in report.methods.items():
            if method not in (methods or METHODS) or "fit" in METHODS[method].model_fields:
                continue
            if METHODS[method].takes != "images":
                continue
            if not applies.applies:
                say(model=name, method=method, reason=applies.reason)
            else:
                say(model=name, method=method, **explain(client, name, method, report, kept))


def main() -> None:
    """Measures the networks one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--keep", type=Path, help="folder for every file of every result")
    parser.add_argument("--table", type=Path, nargs="*", help="print the tables of these lines, and measure nothing")
    given = parser.parse_args()
    if given.table:
        print(tables([json.loads(line) for file in given.table for line in file.read_text().splitlines()]))
        return
    os.environ["ATTRIBUTION_CONFIG_FILE"] = str(ROOT / "examples" / "timm.toml")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "examples"), *filter(None, [os.environ.get("PYTHONPATH")])])
    for name in given.networks:
        try:
            measure(name, given.methods, given.keep)
        except (RuntimeError, OSError) as error:
            say(model=name, failed=str(error))
            print(error, file=sys.stderr)


if __name__ == "__main__":
    main()
