"""A running gateway, and the hands that a worker would lend it."""

import base64
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from sqlalchemy import Engine, func, select

from attribution_contracts.digests import model_digest
from attribution_contracts.jobs import Job
from attribution_contracts.models import LayerInfo, MethodApplies, ModelReport, ModelSpec
from attribution_contracts.problems import Problem
from attribution_contracts.results import ArtifactRef, Counts, ImageResult, Provenance, Result
from attribution_contracts.states import JobKind
from service.app import create_app
from service.server import GatewayServer
from storage.artifacts.store import ArtifactStore
from storage.broker.queue import Queue, celery_app
from storage.database import reading
from storage.ledger import claims
from storage.ledger.claims import Succeeded
from storage.ledger.liveness import show
from storage.ledger.records import Claim, NewJob, StoredArtifact
from storage.registry import models
from storage.settings import Settings
from storage.tables import DEFAULT_TENANT, artifacts, jobs
from storage.tables import models as models_table

LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
IG = {"method": "integrated_gradients"}
SELF_TEST = {"explanation": {"method": "self_test"}}


class House:
    """A gateway over its memory."""

    def __init__(self, settings: Settings, engine: Engine, store: ArtifactStore, http: httpx.Client) -> None:
        self.settings = settings
        self.engine = engine
        self.store = store
        self.http = http

    def counts(self) -> dict[str, int]:
        """What lies in the ledger and in the store."""
        with reading(self.engine) as connection:
            rows = {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (jobs, artifacts, models_table)
            }
        folder = Path(self.settings.resolved_artifact_url)
        return rows | {"files": sum(path.is_file() for path in folder.rglob("*"))}

    def submit(self, **request: Any) -> httpx.Response:
        return self.http.post("/v1/jobs", json=request)

    def show_worker(self) -> None:
        """Makes a worker be there, as one that has just started."""
        show(self.engine, "host:1")

    def claim(self) -> Claim:
        """The job that a worker would get next."""
        [taken] = claims.claim(self.engine, "a worker", limit=1, lease_s=60)
        return taken

    def succeed(self, claimed: Claim, files: dict[str, bytes] | None = None) -> Result:
        """Ends a job as a worker would, with the files as its artefacts."""
        result = result_of(claimed, {name: (self.store.put(data), len(data)) for name, data in (files or {}).items()})
        stored = [StoredArtifact(ref.sha256, ref.media_type, ref.size) for ref in result.artifacts]
        finish = claims.finish(self.engine, claimed, Succeeded(result.model_dump(mode="json"), stored))
        assert finish.accepted
        return result

    def finish(self, claimed: Claim, outcome: claims.Outcome) -> None:
        assert claims.finish(self.engine, claimed, outcome).accepted

    def wait_ended(self, job_id: str, timeout_s: float = 10.0) -> Job:
        deadline = time.monotonic() + timeout_s
        while not (job := Job.model_validate(self.http.get(f"/v1/jobs/{job_id}").json())).status.is_terminal:
            assert time.monotonic() < deadline, job
            time.sleep(0.01)
        return job

    def add_model(
        self, name: str = "digits", version: str = "1", *, report: ModelReport | None = None, **changes: Any
    ) -> ModelSpec:
        """A model version that is ready, as if a worker had checked it."""
        spec, check = self.register(name, version, **changes)
        claimed = claims.claim(self.engine, "a worker", limit=100, lease_s=60)
        [ours] = [found for found in claimed if found.job_id == check.id]
        report = report or report_of(len(spec.labels) or 10)
        accepted = claims.finish(
            self.engine,
            ours,
            Succeeded(result_of(ours, {}, kind="check").model_dump(mode="json")),
            also=lambda connection: models.accept(connection, DEFAULT_TENANT, check.id, report),
        )
        assert accepted.accepted
        return spec

    def register(self, name: str = "digits", version: str = "1", **changes: Any) -> tuple[ModelSpec, NewJob]:
        """A model version that is still to be checked."""
        spec = ModelSpec.model_validate(model_spec(name, version, **changes))
        check = NewJob(kind=JobKind.CHECK, request=spec.model_dump(mode="json", exclude_none=True))
        models.register(self.engine, DEFAULT_TENANT, spec, model_digest(spec), check)
        return spec, check


@contextmanager
def running(settings: Settings, engine: Engine, store: ArtifactStore, broker: str, **options: Any) -> Iterator[House]:
    """A gateway under uvicorn in a thread of its own."""
    queue = Queue(celery_app(broker, settings))
    server = GatewayServer(create_app(settings, engine=engine, store=store, queue=queue), port=0, log_level="warning")
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the gateway does not start"
            time.sleep(0.002)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, **options) as http:
            yield House(settings, engine, store, http)
    finally:
        server.should_exit = True
        thread.join()
        queue.close()


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, str]:
    """The wrong fields of a problem, which must be one in every respect."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate(answer.json())
    assert problem.code == code
    assert problem.type == f"/problems/{code}"
    assert problem.status == status
    assert problem.instance == answer.request.url.path
    return {error.pointer: error.detail for error in problem.errors}


def model_spec(name: str = "digits", version: str = "1", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "version": version,
        "architecture": "mnist_cnn",
        "weights": {"torchvision": "NONE"},
        "preprocessing": {"color": "grey", "size": [28, 28]},
        "labels": LABELS,
        **changes,
    }


def report_of(classes: int) -> ModelReport:
    return ModelReport(
        classes=classes,
        input_shape=[1, 28, 28],
        parameters=100,
        traced=True,
        linear_head="fc",
        features=500,
        layers=[LayerInfo(name="fc", kind="Linear", shape=[classes], cuts=True)],
        methods={"integrated_gradients": MethodApplies(applies=True)},
    )


_MEDIA_TYPES = {".png": "image/png", ".html": "text/html"}


def result_of(claimed: Claim, files: dict[str, tuple[str, int]], kind: Any = None) -> Result:
    return Result(
        job=claimed.job_id,
        kind=kind or claimed.kind.value,
        counts=Counts(images=1, succeeded=1, failed=0),
        images=[ImageResult(index=0, custom_id=None, sha256="0" * 64)],
        artifacts=[
            ArtifactRef(
                name=name,
                image=None,
                target=None,
                quantity="heatmap",
                media_type=_MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream"),
                href=f"/v1/artifacts/{sha256}",
                sha256=sha256,
                size=size,
            )
            for name, (sha256, size) in files.items()
        ],
        provenance=Provenance(
            model_name=None,
            model_version=None,
            model_sha256=None,
            method="self_test",
            method_version=1,
            parameters={},
            seed=0,
            torch=None,
            device="cpu",
            threads=1,
            worker=claimed.worker,
            attempt=claimed.attempt,
            seconds={},
        ),
    )


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 8), mode: str = "RGB", **options: Any) -> bytes:
    """A small image file."""
    target = io.BytesIO()
    Image.new(mode, size, 1 if mode == "I;16" else "red" if mode == "RGB" else None).save(target, kind, **options)
    return target.getvalue()


def sent(image: bytes | None = None) -> dict[str, str]:
    """An image as a request holds it."""
    return {"data": base64.b64encode(picture() if image is None else image).decode()}
