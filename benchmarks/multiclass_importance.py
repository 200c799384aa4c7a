"""Multi-class importance over 1000 classes at 224 x 224, against Captum's InputXGradient in a loop over the classes.

Prints one JSON line a claim; everything in one process, ours and Captum's in turn, but for the memory, which is the
peak of a fresh process each. Captum's loop is timed on a sample of classes and extrapolated; where ours is
extrapolated from a sample of directions, the line says so.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from captum.attr import InputXGradient
from support.classifiers import mobilenet, photographs, squeezenet
from support.measure import peak, reporter, seconds
from torch import nn

import attribution

report = reporter("multiclass_importance")

SHAPE, N_CLASSES = (3, 224, 224), 1000


def maps(network: attribution.Network, inputs: torch.Tensor, mode: str, **options: Any) -> Any:
    """Ours; the mode is typed by the engine."""
    return attribution.multiclass_importance(network, inputs, mode=mode, **options)  # type: ignore[arg-type]


def loop_seconds(module: nn.Module, image: torch.Tensor, n_sampled: int) -> float:
    """Captum over all classes of one image, from a sample of them."""
    peer = InputXGradient(module)
    classes = torch.linspace(0, N_CLASSES - 1, n_sampled).long().tolist()
    peer.attribute(image.clone().requires_grad_(), target=0)
    return seconds(lambda: [peer.attribute(image.clone().requires_grad_(), target=one) for one in classes]) * (
        N_CLASSES / n_sampled
    )


def against_the_loop(name: str, module: nn.Module, *, n_sampled: int, rounds: int, whole: bool) -> None:
    """Claims (a) and (b): importance and exact individual effects, over Captum's loop."""
    network, image = attribution.Network(module, SHAPE), torch.randn(1, *SHAPE)
    maps(network, image, "importance")
    turns = [
        (loop_seconds(module, image, n_sampled), seconds(lambda: maps(network, image, "importance")))
        for _ in range(rounds)
    ]
    loop, ours = (statistics.median(column) for column in zip(*turns, strict=True))
    more = {"seconds": round(ours, 3), "captum_seconds": round(loop, 1), "captum_extrapolated_from_classes": n_sampled}
    report(
        f"(a) {name}: Captum's loop over our importance of all classes",
        statistics.median(theirs / our for theirs, our in turns),
        100,
        "ratio",
        **more,
        rounds=rounds,
    )
    exact, loop, n_rows, how = exact_seconds(network, module, image, n_sampled, whole=whole)
    report(
        f"(b) {name}: Captum's loop over our exact std",
        loop / exact,
        2,
        "ratio",
        **{**more, "seconds": round(exact, 1), "captum_seconds": round(loop, 1)},
        n_rows=n_rows,
        ours=how,
    )


def exact_seconds(
    network: attribution.Network, module: nn.Module, image: torch.Tensor, n_sampled: int, *, whole: bool
) -> tuple[float, float, int, str]:
    """Seconds of the exact mode and of Captum's loop, and how they were found: whole, or from sketches in turn."""
    n_rows = min(N_CLASSES - 1, network.report().linear_head.in_features)  # type: ignore[union-attr]
    if whole:
        before = loop_seconds(module, image, n_sampled)
        exact = seconds(lambda: maps(network, image, "exact"))
        return exact, (before + loop_seconds(module, image, n_sampled)) / 2, n_rows, "timed whole"
    turns = []
    for _ in range(3):
        loop = loop_seconds(module, image, n_sampled)
        few, many = (seconds(lambda n=n: maps(network, image, "sketch", n_directions=n, n_signs=0)) for n in (16, 48))
        turns.append((few + (many - few) / 32 * (n_rows - 16), loop))
    exact, loop = sorted(turns, key=lambda turn: turn[1] / turn[0])[1]
    return exact, loop, n_rows, "extrapolated from 16 and 48 of its rows, middle of three turns"


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    """Pearson's."""
    return float(torch.corrcoef(torch.stack([first.flatten().double(), second.flatten().double()]))[0, 1])


def sketches(name: str, module: nn.Module, images: torch.Tensor) -> None:
    """Claim (c): the default sketch against the exact map, and against the paper's top 300 classes."""
    network = attribution.Network(module, SHAPE)
    maps(network, images[:1], "importance")
    times: dict[str, list[float]] = {"exact": [], "sketch": [], "top_300": []}
    found: dict[str, list[float]] = {"sketch": [], "top_300": [], "estimated": [], "error": [], "estimated_error": []}
    for image in images.split(1):
        results: dict[str, Any] = {}
        runs: dict[str, Callable[[], Any]] = {
            "exact": lambda image=image: maps(network, image, "exact"),
            "sketch": lambda image=image: maps(network, image, "sketch"),
            "top_300": lambda image=image: maps(network, image, "exact", classes=attribution.TopK(300)),
        }
        for run, work in runs.items():
            times[run].append(seconds(lambda run=run, work=work, results=results: results.update({run: work()})))
        exact, sketch = results["exact"].std, results["sketch"]
        found["sketch"].append(correlation(sketch.std, exact))
        found["top_300"].append(correlation(results["top_300"].std, exact))
        found["estimated"].append(float(sketch.correlation))
        found["error"].append(float((sketch.std - exact).norm() / exact.norm()))
        found["estimated_error"].append(float(sketch.relative_error))
    means = {name: round(statistics.mean(values), 5) for name, values in found.items()}
    more = {
        "images": len(images),
        "rows": {run: int(result.n_rows) for run, result in results.items()},
        "seconds": {run: round(statistics.mean(values), 2) for run, values in times.items()},
    }
    worst = {name: round(min(found[name]), 5) for name in ("sketch", "top_300")}
    report(f"(c) {name}: smallest correlation of the sketch's std", worst["sketch"], 0.995, "Pearson", **more)
    ahead = statistics.mean(a - b for a, b in zip(found["sketch"], found["top_300"], strict=True))
    report(
        f"(c) {name}: correlation of the sketch less that of the top 300 classes",
        ahead,
        0.0,
        "Pearson",
        means=means,
        worst=worst,
        better_on=sum(a > b for a, b in zip(found["sketch"], found["top_300"], strict=True)),
    )
    speed = statistics.median(whole / part for whole, part in zip(times["exact"], times["sketch"], strict=True))
    report(f"(c) {name}: exact over sketch", speed, 12, "ratio", **more)


def peak_bytes(work: str, chunk_size: int, results: Any) -> None:
    """Peak of a process over what it holds before the work; puts it into the queue."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, image = attribution.Network(torchvision.models.resnet18().eval(), SHAPE), torch.randn(1, *SHAPE)
    maps(network, image[..., :32, :32], "importance")
    before = peak(reset=True)
    if work == "backward":
        points = image.repeat(chunk_size, 1, 1, 1).contiguous(memory_format=torch.channels_last).requires_grad_()
        outputs = network(points)
        torch.autograd.grad(outputs, points, torch.ones_like(outputs))
    else:
        with contextlib.suppress(attribution.errors.Cancelled):
            maps(network, image, "exact", chunk_size=chunk_size, progress=_stop_after(40 * chunk_size))
    results.put(peak() - before)


def _stop_after(n_rows: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:  # noqa: ARG001 - a progress callback's form
        if done > n_rows:
            raise attribution.errors.Cancelled

    return progress


def peaks(chunk_size: int) -> dict[str, list[int]]:
    """Peaks of five fresh processes for each kind of work, in turn."""
    context = multiprocessing.get_context("spawn")
    found: dict[str, list[int]] = {"backward": [], "exact": []}
    for work in [*found] * 5:
        results: Any = context.Queue()
        process = context.Process(target=peak_bytes, args=(work, chunk_size, results))
        process.start()
        found[work].append(results.get())
        process.join()
    return found


def memory(chunk_size: int) -> None:
    """Claim (d): the exact mode's peak over that of one backward pass of its chunk.

    Counted is what is in use: the processes give back what they free at once. What glibc's allocator, left to itself,
    keeps of it for later is different in every process; that is told beside it, and judged by nobody.
    """
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "131072"
    in_use = peaks(chunk_size)
    del os.environ["MALLOC_MMAP_THRESHOLD_"]
    kept = peaks(chunk_size)
    report(
        "(d) ResNet-18: peak memory of the exact mode over one backward pass of its chunk",
        _ratio(in_use),
        1.5,
        "ratio",
        at_least=False,
        mebibytes=_mebibytes(in_use),
        median_of=5,
        chunk_size=chunk_size,
        ours="stopped after 40 passes of the chunk",
        with_what_the_allocator_keeps=round(_ratio(kept), 2),
        mebibytes_with_what_it_keeps=_mebibytes(kept),
    )


def _ratio(found: dict[str, list[int]]) -> float:
    return statistics.median(found["exact"]) / statistics.median(found["backward"])


def _mebibytes(found: dict[str, list[int]]) -> dict[str, list[int]]:
    return {work: [round(size / 2**20) for size in sizes] for work, sizes in found.items()}


def main() -> None:
    """Reads the options and runs every claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("ATTRIBUTION_SHARED_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help="development data with weights and images")
    parser.add_argument("--quick", action="store_true", help="few classes, rounds and images: a smoke test, no claim")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--claims", type=set, default=set("abcd"), help="some of the letters abcd")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    n_sampled, rounds = (3, 1) if options.quick else (10, 3)
    if options.claims & {"a", "b"}:
        resnet, vgg = torchvision.models.resnet18().eval(), torchvision.models.vgg16().eval()
        against_the_loop("ResNet-18", resnet, n_sampled=n_sampled, rounds=rounds, whole=not options.quick)
        against_the_loop("VGG-16", vgg, n_sampled=n_sampled, rounds=rounds, whole=False)
    if "d" in options.claims:
        memory(chunk_size=8)
    if "c" in options.claims and not (options.data / "weights").is_dir():
        reason = f"{options.data} has no weights"
        print(json.dumps({"benchmark": "multiclass_importance", "skipped": "(c)", "reason": reason}))
    elif "c" in options.claims:
        sketches("MobileNetV2", mobilenet(options.data), photographs(options.data, 1 if options.quick else 10))
        sketches("SqueezeNet", squeezenet(options.data), photographs(options.data, 1 if options.quick else 3))


if __name__ == "__main__":
    main()
