"""A gateway and a worker over one memory: what a client sends is what the worker gets, and the other way round."""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FunctionType
from typing import Any

import httpx
import numpy as np
from PIL import Image
from safetensors.torch import save
from torch import nn

from storage.ledger.claims import claim
from storage.operator_config import OperatorConfig
from tests.service.house import House, running
from tests.workers import own_networks
from tests.workers.own_networks import SIZE
from workers.context import WorkerContext
from workers.jobs.procedure import run_jobs

FACTORIES = {
    name: f"tests.workers.own_networks:{name}"
    for name, value in vars(own_networks).items()
    if isinstance(value, FunctionType) and value.__module__ == own_networks.__name__
}
COLOUR = {"size": [SIZE, SIZE]}


def picture(seed: int = 0, kind: str = "PNG", **options: Any) -> bytes:
    """Noise, as a file."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def weights_of(module: nn.Module) -> bytes:
    """A safetensors file, every name with a tensor of its own."""
    return save({name: value.clone().contiguous() for name, value in module.state_dict().items()})


class Through:
    """What a client does with the two."""

    def __init__(self, house: House, context: WorkerContext) -> None:
        self.house, self.http, self.context = house, house.http, context

    def work(self) -> None:
        """Does jobs until none is left."""
        while taken := claim(self.context.engine, self.context.name, limit=1, lease_s=30.0):
            run_jobs(self.context, taken)

    def register(self, name: str, architecture: str, weights: bytes, **changes: Any) -> dict[str, Any]:
        """A model version once the worker has checked it."""
        spec = {
            "name": name,
            "architecture": architecture,
            "weights": {"part": "w"},
            "preprocessing": COLOUR,
        } | changes
        parts: Any = [("request", (None, json.dumps(spec), "application/json")), ("w", ("w", weights))]
        answer = self.http.post("/v1/models", files=parts)
        assert answer.status_code == 202, answer.text
        self.work()
        return dict(self.http.get(f"/v1/models/{name}/versions/{changes.get('version', '1')}").json())

    def ready(self, name: str, architecture: str, weights: bytes, **changes: Any) -> dict[str, Any]:
        """The report on a model that the worker accepts."""
        version = self.register(name, architecture, weights, **changes)
        assert version["state"] == "ready", version["error"]
        return dict(self.http.get(f"/v1/models/{name}/versions/{version['version']}/report").json())

    def refused(self, name: str, architecture: str, weights: bytes, **changes: Any) -> str:
        """Why the worker refuses a model."""
        version = self.register(name, architecture, weights, **changes)
        assert version["state"] == "refused", version
        return str(version["error"]["detail"])

    def submit(self, **request: Any) -> httpx.Response:
        return self.http.post("/v1/jobs", json=request)

    def ended(self, answer: httpx.Response) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """A job that was accepted, done, and its result."""
        assert answer.status_code in {200, 202}, answer.text
        self.work()
        job = self.http.get(answer.json()["links"]["self"]).json()
        result = self.http.get(job["links"]["result"]) if job["status"] == "succeeded" else None
        return job, None if result is None else result.json()

    def explain(self, model: str, *images: bytes, **request: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Explains images; what is no field of a request is a parameter of the method."""
        fields = {"quality", "render", "seed"}
        explanation = {"method": "integrated_gradients"} | {k: v for k, v in request.items() if k not in fields}
        inputs = [{"data": base64.b64encode(image).decode()} for image in images]
        own = {name: value for name, value in request.items() if name in fields}
        return self.ended(self.submit(model=model, inputs=inputs, explanation=explanation, **own))

    def add_dataset(self, name: str, archive: bytes) -> dict[str, Any]:
        """A data set once the worker has read it."""
        spec = json.dumps({"name": name, "source": {"part": "a"}})
        parts: Any = [("request", (None, spec, "application/json")), ("a", ("a.zip", archive, "application/zip"))]
        answer = self.http.post("/v1/datasets", files=parts)
        assert answer.status_code == 202, answer.text
        self.work()
        found = dict(self.http.get(f"/v1/datasets/{name}/versions/1").json())
        assert found["state"] == "ready", found
        return found


@contextmanager
def through_http(context: WorkerContext, broker: str) -> Iterator[Through]:
    """The two, with the factories of `own_networks` in the operator's file."""
    file = context.settings.resolved_data_dir / "attribution.toml"
    lines = [f'{name} = "{target}"' for name, target in FACTORIES.items()]
    file.write_text("\n".join(["[factories]", *lines, ""]))
    settings = context.settings.model_copy(update={"config_file": file})
    worker = replace(context, settings=settings, config=OperatorConfig(factories=FACTORIES))
    with running(settings, context.engine, context.store, broker) as house:
        yield Through(house, worker)
