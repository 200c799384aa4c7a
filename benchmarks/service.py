"""The service's own time: submitting, asking, a job that does nothing, and what a job adds to its computation.

One uvicorn process, SQLite, a private broker, one worker, one reconciler; the load comes from raw sockets in another
process. Prints one JSON line a claim: measured, target and whether it is met.

Times say little on a machine that others use too. The part `beside` alternates between the service and a plain
prototype on the same broker, burst by burst; its figures are medians of the ratios of neighbouring bursts.

This file has the name of a package of ours, so nothing here may import that one: the service runs as processes.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery
from support.http_load import Connection, get, in_sequence, per_second, percentile, post, require
from support.images import jpegs
from support.measure import seconds as taken
from support.processes import PATIENCE_S, Running, prototype, service

from attribution_contracts.digests import model_digest
from attribution_contracts.models import ModelReport, ModelSpec
from attribution_contracts.states import JobKind
from storage.database import open_database, writing
from storage.ledger.records import NewJob
from storage.registry.models import accept, register
from storage.tables import DEFAULT_TENANT

CONNECTIONS = 8
IMAGE_BYTES = 100_000
BOUNDARY = "8e0a1f5c"
TERMINAL = {"succeeded", "failed", "cancelled", "expired"}


def report(claim: str, measured: float, target: float, unit: str, *, at_least: bool = False, **more: Any) -> None:
    """Prints one line."""
    met = measured >= target if at_least else measured <= target
    line = {"benchmark": "service", "claim": claim, "measured": round(measured, 2), "target": target, "unit": unit}
    print(json.dumps({**line, "met": met, **more}), flush=True)


def multipart(request: dict[str, Any], name: str, content_type: str, content: bytes) -> bytes:
    """A body of a JSON document and one file."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="request"\r\n\r\n{json.dumps(request)}\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        f"Content-Type: {content_type}\r\n\r\n"
    )
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def submission(image: bytes, model: str, *, path: str = "/v1/jobs", **headers: str) -> bytes:
    """The request for integrated gradients of one image."""
    request = {
        "model": model,
        "inputs": [{"part": "image"}],
        "explanation": {"method": "integrated_gradients", "n_steps": 8},
    }
    body = multipart(request, "image", "image/jpeg", image)
    return post(path, f"multipart/form-data; boundary={BOUNDARY}", body, **headers)


def self_test(**headers: str) -> bytes:
    """The request for a job that does nothing."""
    body = json.dumps({"explanation": {"method": "self_test"}}).encode()
    return post("/v1/jobs", "application/json", body, **headers)


def register_ready(running: Running) -> str:
    """A model that the gateway takes for checked: no worker runs while submissions are measured."""
    spec = ModelSpec.model_validate(
        {
            "name": "bench",
            "architecture": "mnist_cnn",
            "weights": {"sha256": "0" * 64},
            "preprocessing": {"size": [28, 28], "color": "grey"},
            "labels": [str(digit) for digit in range(10)],
        }
    )
    found = ModelReport.model_validate(
        {
            "classes": 10,
            "input_shape": [1, 28, 28],
            "parameters": 1,
            "traced": True,
            "linear_head": None,
            "layers": [],
            "methods": {"integrated_gradients": {"applies": True}},
        }
    )
    engine = open_database(running.settings.resolved_database_url, pool_size=1)
    check = NewJob(kind=JobKind.CHECK, request={})
    register(engine, DEFAULT_TENANT, spec, model_digest(spec), check)
    with writing(engine) as connection:
        accept(connection, DEFAULT_TENANT, check.id, found)
    engine.dispose()
    return "bench"


def submitting(jobs: int) -> None:
    """POST with a 100 KB image, GET of a job's status; no worker runs."""
    with service(workers=0) as running:
        model = register_ready(running)
        requests = [submission(image, model) for image in jpegs(2 * jobs, side=224, size=IMAGE_BYTES)]
        in_sequence(running.url, [submission(image, model) for image in jpegs(20, side=200, size=IMAGE_BYTES)], 202)
        latency = in_sequence(running.url, requests[:jobs], 202)
        report("POST with a 100 KB image, p50", percentile(latency, 50), 5, "ms", jobs=jobs)
        report("POST with a 100 KB image, p95", percentile(latency, 95), 15, "ms", jobs=jobs)
        rate = per_second(running.url, requests[jobs:], 202, connections=CONNECTIONS)
        report("POST with a 100 KB image, 8 connections", rate, 250, "per second", at_least=True, jobs=jobs)
        connection = Connection(running.url)
        job = json.loads(connection.ask(submission(jpegs(1, side=100, size=IMAGE_BYTES)[0], model)).body)
        asking = [get(f"/v1/jobs/{job['id']}")] * (4 * jobs)
        latency = in_sequence(running.url, asking[:jobs], 200)
        report("GET of a job, p50", percentile(latency, 50), 5, "ms", requests=jobs)
        rate = per_second(running.url, asking, 200, connections=CONNECTIONS)
        report("GET of a job, 8 connections", rate, 900, "per second", at_least=True, requests=len(asking))


def ending(connection: Connection, request: bytes) -> dict[str, Any]:
    """Submits and polls until the job has ended."""
    job: dict[str, Any] = json.loads(connection.ask(request).body)
    asking = get(f"/v1/jobs/{job['id']}")
    while job["status"] not in TERMINAL:
        time.sleep(0.002)
        job = json.loads(connection.ask(asking).body)
    return job


def waiting(connection: Connection, request: bytes) -> dict[str, Any]:
    """Submits and lets the gateway wait until the job has ended."""
    answer = connection.ask(request)
    require(answer, 200)
    job: dict[str, Any] = json.loads(answer.body)
    return job


def timed(
    connection: Connection, run: Callable[[Connection, bytes], dict[str, Any]], requests: Sequence[bytes]
) -> list[float]:
    """Seconds from each submission to the end of its job."""
    seconds = []
    for request in requests:
        started = time.perf_counter()
        job = run(connection, request)
        seconds.append(time.perf_counter() - started)
        if job["status"] != "succeeded":
            raise RuntimeError(f"a job ended as {job['status']}: {job['error']}")
    return seconds


def no_op(jobs: int) -> None:
    """A job that does nothing, from its submission until its end is seen."""
    with service(workers=1) as running:
        connection = Connection(running.url)
        timed(connection, ending, [self_test()] * 20)
        for how, run, request in (("waiting", waiting, self_test(Prefer="wait=30")), ("polling", ending, self_test())):
            seconds = timed(connection, run, [request] * jobs)
            report(f"no-op job end to end, {how}, p50", percentile(seconds, 50), 20, "ms", jobs=jobs)
            report(f"no-op job end to end, {how}, p95", percentile(seconds, 95), 40, "ms", jobs=jobs)


def overhead(jobs: int) -> None:
    """What a job costs beyond the engine's call and the forward pass of the prediction, at 224 x 224."""
    with service(workers=1, preload=True) as running:
        connection = Connection(running.url)
        register_resnet(connection)
        requests = [submission(image, "resnet18", Prefer="wait=30") for image in jpegs(jobs + 3, side=224, size=1)]
        for request in requests[:3]:
            waiting(connection, request)
        parts: list[dict[str, float]] = []
        totals: list[float] = []
        for request in requests[3:]:
            started = time.perf_counter()
            job = waiting(connection, request)
            total = time.perf_counter() - started
            result = json.loads(connection.ask(get(job["links"]["result"])).body)
            seconds = result["provenance"]["seconds"]
            totals.append(total - seconds["explain"] - seconds["predict"])
            parts.append(seconds | {"all": total})
        median = {name: round(percentile([part[name] for part in parts], 50), 2) for name in parts[0]}
        report("overhead of a job at 224 x 224, p50", percentile(totals, 50), 50, "ms", jobs=jobs, median_ms=median)


def register_resnet(connection: Connection) -> None:
    """A ResNet-18 with random weights, checked by the worker."""
    import torch
    import torchvision
    from safetensors.torch import save

    torch.manual_seed(0)
    weights = save(torchvision.models.resnet18(num_classes=1000).state_dict())
    spec = {
        "name": "resnet18",
        "architecture": "torchvision:resnet18",
        "weights": {"part": "weights"},
        "preprocessing": {"size": [224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    }
    body = multipart(spec, "weights", "application/octet-stream", weights)
    require(connection.ask(post("/v1/models", f"multipart/form-data; boundary={BOUNDARY}", body)), 202)
    deadline = time.monotonic() + PATIENCE_S
    while (state := json.loads(connection.ask(get("/v1/models/resnet18/versions/1")).body))["state"] == "checking":
        if time.monotonic() > deadline:
            raise RuntimeError("the model was not checked in time")
        time.sleep(0.1)
    if state["state"] != "ready":
        raise RuntimeError(f"the model was refused: {state['error']}")


@dataclass(frozen=True)
class Door:
    """Where jobs are submitted and asked for, and the model that they name."""

    url: str
    path: str
    model: str

    def posts(self, images: Sequence[bytes]) -> float:
        """Submissions a second."""
        requests = [submission(image, self.model, path=self.path) for image in images]
        return per_second(self.url, requests, 202, connections=CONNECTIONS)

    def gets(self, count: int) -> float:
        """Looks at a job a second."""
        answer = Connection(self.url).ask(submission(jpegs(1, side=100, size=1)[0], self.model, path=self.path))
        require(answer, 202)
        asking = get(f"{self.path}/{json.loads(answer.body)['id']}")
        return per_second(self.url, [asking] * count, 200, connections=CONNECTIONS)


def beside(rounds: int, burst: int) -> None:
    """The service beside the prototype: submitting and asking without workers, then a job and a bare round trip."""
    with service(workers=0) as running, prototype(running.broker_url, has_worker=False) as plain:
        ours, theirs = Door(running.url, "/v1/jobs", f"{register_ready(running)}@1"), Door(plain, "/jobs", "bench")
        images = jpegs((rounds + 1) * burst, side=224, size=IMAGE_BYTES)
        turns = [images[start : start + burst] for start in range(0, len(images), burst)]
        pairs = _in_turn(lambda turn: ours.posts(turns[turn]), lambda turn: theirs.posts(turns[turn]), rounds)
        _report_ratio("POST with a 100 KB image, 8 connections, over the prototype", pairs, "per second", 1.0)
        pairs = _in_turn(lambda _: ours.gets(10 * burst), lambda _: theirs.gets(10 * burst), rounds)
        _report_ratio("GET of a job, 8 connections, over the prototype", pairs, "per second", 1.0)
    with service(workers=1) as running, prototype(running.broker_url, has_worker=True):
        connection, request = Connection(running.url), self_test(Prefer="wait=30")
        bare = Celery(broker=running.broker_url, backend=running.broker_url, set_as_current=False)
        few = burst // 4

        def jobs(_: int) -> float:
            return percentile(timed(connection, waiting, [request] * few), 50)

        def round_trips(_: int) -> float:
            return percentile([taken(round_trip) for _ in range(few)], 50)

        def round_trip() -> None:
            bare.send_task("support.prototype.nothing").get(timeout=PATIENCE_S)

        pairs = _in_turn(jobs, round_trips, rounds)
        _report_ratio("no-op job end to end over a bare Celery round trip", pairs, "ms", 1.5, at_least=False)


def _in_turn(ours: Callable[[int], float], theirs: Callable[[int], float], rounds: int) -> list[tuple[float, float]]:
    """What both measure in bursts one after the other; a first one of each is not counted, and who begins changes."""
    pairs = []
    for turn in range(rounds + 1):
        measured = {side: side(turn) for side in ((ours, theirs) if turn % 2 else (theirs, ours))}
        pairs.append((measured[ours], measured[theirs]))
    return pairs[1:]


def _report_ratio(
    claim: str, pairs: Sequence[tuple[float, float]], unit: str, target: float, *, at_least: bool = True
) -> None:
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    medians = [round(statistics.median(side), 2) for side in zip(*pairs, strict=True)]
    report(
        claim,
        statistics.median(ratios),
        target,
        "times",
        at_least=at_least,
        rounds=len(pairs),
        lowest=round(ratios[0], 2),
        highest=round(ratios[-1], 2),
        medians={"of": unit, "ours": medians[0], "theirs": medians[1]},
    )


def main() -> None:
    """Runs the parts that are asked for, all of them without arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts: dict[str, Callable[[], None]] = {
        "beside": lambda: beside(given.rounds, 20 if given.quick else 100),
        "submitting": lambda: submitting(given.jobs),
        "no_op": lambda: no_op(given.jobs),
        "overhead": lambda: overhead(min(given.jobs, 30)),
    }
    parser.add_argument("parts", nargs="*", metavar="part", help=f"Of {', '.join(parts)}; all by default.")
    parser.add_argument("--jobs", type=int, default=500, help="Jobs of each measurement (at most 30 of the overhead).")
    parser.add_argument("--rounds", type=int, default=15, help="Bursts of each side of `beside`.")
    parser.add_argument("--quick", action="store_true", help="few jobs, two rounds: a smoke test, no claim")
    given = parser.parse_args()
    if given.quick:
        given.jobs, given.rounds = 20, 2
    if unknown := set(given.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    for name, part in parts.items():
        if not given.parts or name in given.parts:
            part()


if __name__ == "__main__":
    main()
