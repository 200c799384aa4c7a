"""A planted fault over HTTP: whether `strategies` gives away a mark that a classifier learnt.

Three in ten pictures of one class have a mark in a corner, and hardly anything else to be told by. Classifiers that
learnt from such pictures, and others that learnt from pictures without, are registered, and the task `strategies` runs
over pictures that they did not see. Prints one JSON line a classifier: how the class falls apart, the share of marked
pictures in the cluster that has most of them (asked: at least 0.9), and the share of all marked ones that it holds; of
a sound one, whether there is any cluster. Sheets go to `--out`.
"""

import argparse
import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from support.marked import CLASSES, PREPROCESSING, Marked, learnt, pictures
from support.processes import service

from attribution_client import Client
from attribution_contracts.models import ModelSpec, Weights
from cli.demo.training import save

COUNT, TAUGHT = 600, 800
PURE = 0.9
CONFIGURATION = '[factories]\nmarked = "support.marked:network"\n'


def main() -> None:
    """Reads the options and runs every classifier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="classifiers of each kind")
    parser.add_argument("--share", type=float, default=0.3, help="of the class that have the mark")
    parser.add_argument("--out", type=Path, default=Path("build/strategies"), help="where the sheets go")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    configuration = options.out / "attribution.toml"
    configuration.write_text(CONFIGURATION)
    more = {
        "ATTRIBUTION_CONFIG_FILE": str(configuration.resolve()),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
    }
    with service(workers=1, more=more) as running, Client(running.url) as client:
        for share in (options.share, 0.0):
            for seed in range(options.seeds):
                line = _found(client, share, seed, options.out)
                print(json.dumps({"benchmark": "strategies", "marked_share": share, "seed": seed, **line}), flush=True)


def _found(client: Client, share: float, seed: int, out: Path) -> dict[str, Any]:
    name = f"{'marked' if share else 'sound'}-{seed}"
    seen, held_out = pictures(TAUGHT, share, seed), pictures(COUNT, share, 1000 + seed)
    module, accuracy = learnt(seen, held_out, seed)
    weights = out / f"{name}.safetensors"
    save(module, weights)
    spec = ModelSpec(
        name=name,
        architecture="factory:marked",
        weights=Weights(part="weights"),
        preprocessing=PREPROCESSING,
        labels=list(CLASSES),
    )
    client.register_model(spec, weights=weights)
    client.wait_for_model(f"{name}@1")
    client.register_dataset(name, _archive(held_out), version="1")
    client.wait_for_dataset(f"{name}@1")
    job = client.wait(client.submit(model=name, dataset=name, task={"task": "strategies"}).id)
    if job.error is not None:
        raise RuntimeError(job.error.detail)
    result = client.result(job.id)
    files = {file.quantity: client.artifact(file) for file in result.artifacts if file.quantity == "decisions"}
    for at, file in enumerate(file for file in result.artifacts if file.quantity == "class_strategies"):
        (out / f"{name}-{at}.png").write_bytes(client.artifact(file))
    report = result.details["report"]
    by_class = {one["name"]: [part["images"] for part in one["strategies"]] for one in report["by_class"]}
    told = {
        "right": round(accuracy, 3),
        "strategies": by_class,
        "seconds": round(sum(result.provenance.seconds.values()), 1),
    }
    return told | (_purity(files["decisions"], held_out) if share else {"none": max(map(len, by_class.values())) == 1})


def _purity(table: bytes, held_out: Marked) -> dict[str, Any]:
    """Of the cluster that has most of the marked pictures."""
    rows = [row for row in csv.DictReader(io.StringIO(table.decode())) if row["class"] == "0"]
    marked = np.array([held_out.marked[int(row["image"].split("/")[-1].split(".")[0])] for row in rows])
    strategies = np.array([int(row["strategy"]) for row in rows])
    own = max(set(strategies.tolist()), key=lambda number: int((marked & (strategies == number)).sum()))
    inside = strategies == own
    purity = float(marked[inside].mean())
    return {
        "purity": round(purity, 3),
        "recall": round(float(inside[marked].mean()), 3),
        "target": PURE,
        "met": purity >= PURE,
    }


def _archive(held_out: Marked) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, images=held_out.images, labels=np.array([CLASSES[label] for label in held_out.labels]))
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
