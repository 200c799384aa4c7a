"""Does a worker's memory stay flat? A thousand mixed jobs in one worker over HTTP, failing ones among them.

The jobs go round all methods that explain an image by itself, with every choice of classes, on the demonstration's
classifier of planted evidence; every seventh fails: a file cut off in the middle, a self-test that raises, a deadline
in the past, a cancelled one. Prints one JSON line a claim: how much the worker's processes hold at the end more than
after the first jobs, as medians over a fifth of the jobs each.
"""

import argparse
import io
import random
import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Any

from PIL import Image
from support.measure import reporter
from support.processes import PATIENCE_S, service, worker_bytes

from attribution_client import Client
from attribution_contracts.methods import METHODS
from cli.demo import planted

report = reporter("mixed_jobs")

FAILS_EVERY, TOGETHER, MAY_GROW = 7, 20, 0.05
TARGETS: list[Any] = ["predicted", "all", {"classes": [1]}, {"top_k": 2}, {"against": "runner_up"}]


def explanations(client: Client) -> list[dict[str, Any]]:
    """Each method that applies, with each choice of classes that it takes."""
    applies = client.model_report(planted.SPEC.name).methods
    found = list[dict[str, Any]]()
    for method, params in METHODS.items():
        is_usable = method in applies and applies[method].applies and "fit" not in params.model_fields
        if is_usable and params.takes == "images":
            targets = TARGETS if params.class_field() == "target" else [None]
            found += [{"method": method} | ({} if target is None else {"target": target}) for target in targets]
    return found


def picture(seed: int, *, is_whole: bool = True) -> bytes:
    """One of the planted pictures, or the half of its file."""
    buffer = io.BytesIO()
    Image.fromarray(planted.sample(planted.HELD_OUT_FROM + seed % 50).image).save(buffer, "PNG")
    content = buffer.getvalue()
    return content if is_whole else content[: len(content) // 2]


def jobs(client: Client, count: int) -> Iterator[str]:
    """Submits them, and yields their ids."""
    ways, drawn = explanations(client), random.Random(0)
    for number in range(count):
        request: dict[str, Any] = {"model": planted.SPEC.name, "seed": number, "inputs": [{"part": "image"}]}
        content = picture(number)
        fault = number // FAILS_EVERY % 4 if number % FAILS_EVERY == 0 else None
        if fault == 0:
            content = picture(number, is_whole=False)
        elif fault == 1:
            yield client.submit(explanation={"method": "self_test", "action": "fail"}, seed=number).id
            continue
        elif fault == 2:
            request["deadline_s"] = 1e-6
        explanation = drawn.choice(ways)
        job = client.submit(**request, explanation=explanation, images={"image": content}, is_fresh=True)
        if fault == 3:
            client.cancel(job.id)
        yield job.id


def main() -> None:
    """Runs the jobs a few at a time, and looks at the worker after each few."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    count = parser.parse_args().jobs
    held, ended, waiting = list[int](), Counter[str](), list[str]()
    with service(workers=1, preload=True) as running, Client(running.url) as client:
        client.register_model(planted.SPEC, weights=planted.WEIGHTS)
        client.wait_for_model(planted.SPEC.name, timeout=PATIENCE_S)
        for job in jobs(client, count):
            waiting.append(job)
            if len(waiting) == TOGETHER:
                ended.update(client.wait(one, timeout=10 * PATIENCE_S).status for one in waiting)
                waiting.clear()
                held.append(worker_bytes())
    fifth = max(len(held) // 5, 1)
    early, late = (statistics.median(part) for part in (held[fifth : 2 * fifth] or held, held[-fifth:]))
    report(
        f"{count} mixed jobs in one worker: growth of its memory from the second fifth to the last",
        late / early - 1,
        MAY_GROW,
        "share",
        at_least=False,
        early_mib=round(early / 2**20),
        late_mib=round(late / 2**20),
        ended=dict(ended),
    )


if __name__ == "__main__":
    main()
