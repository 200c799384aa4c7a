"""A service of one file that speaks the contract over real HTTP and misbehaves as a test tells it to."""

import hashlib
import itertools
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from attribution_contracts.health import VersionInfo
from attribution_contracts.images import UploadedImage
from attribution_contracts.jobs import Job, JobLinks, JobList, Progress
from attribution_contracts.methods import MethodInfo, MethodList
from attribution_contracts.models import ModelList, ModelReport, ModelSpec, ModelVersion
from attribution_contracts.problems import ErrorCode, FieldError, problem
from attribution_contracts.results import ArtifactRef, Counts, ImageResult, Provenance, Result
from attribution_contracts.states import JobKind, JobStatus, ModelState, Priority

START = datetime(2026, 1, 1, tzinfo=UTC)


class TinyService:
    """What the service holds, what it was sent, and how it is to misbehave."""

    def __init__(self) -> None:
        self.jobs: dict[str, list[Job]] = {}
        self.by_key: dict[str, str] = {}
        self.next_job: str | None = None
        """What submissions are answered with, instead of new jobs."""
        self.files: dict[str, bytes] = {}
        self.results: dict[str, Result] = {}
        self.models: dict[str, list[ModelVersion]] = {}
        self.requests: list[Request] = []
        self.bodies: list[dict[str, Any]] = []
        self.answers: deque[Response] = deque()
        """Sent instead of what was asked for."""
        self.has_events = True
        self.events_per_stream: int | None = None
        self.seconds_per_state = 0.02
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add_job(self, *statuses: JobStatus, error: Any = None) -> str:
        """A job that goes from state to state as time goes by, from the first look at it."""
        job_id = f"job-{len(self.jobs)}"
        self.jobs[job_id] = [job_in(job_id, status, version, error) for version, status in enumerate(statuses, 1)]
        return job_id

    def add_result(self, job_id: str, files: dict[str, bytes]) -> Result:
        references = [self.add_file(name, content) for name, content in files.items()]
        self.results[job_id] = result_with(job_id, references)
        return self.results[job_id]

    def add_file(self, name: str, content: bytes) -> ArtifactRef:
        digest = hashlib.sha256(content).hexdigest()
        self.files[digest] = content
        return ArtifactRef(
            name=name,
            image=0,
            target=0,
            quantity="heatmap",
            media_type="image/png",
            href=f"/v1/artifacts/{digest}",
            sha256=digest,
            size=len(content),
        )

    def now(self, job_id: str) -> Job:
        """The job as it stands; each look moves the clock on where the stream of events does not."""
        states = self.jobs[job_id]
        return states.pop(0) if len(states) > 1 else states[0]

    @contextmanager
    def running(self) -> Iterator["TinyService"]:
        config = uvicorn.Config(_app(self), port=self.port, log_level="error", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the tiny service did not start"
            time.sleep(0.005)
        self.port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


def job_in(job_id: str, status: JobStatus, version: int, error: Any = None) -> Job:
    return Job(
        id=job_id,
        kind=JobKind.EXPLAIN,
        status=status,
        method="integrated_gradients",
        model=None,
        priority=Priority.NORMAL,
        labels={},
        progress=Progress(done=version, total=9, stage=status.value),
        attempt=1,
        max_attempts=3,
        cancel_requested=False,
        cached=False,
        children=None,
        created_at=START,
        queued_at=START,
        started_at=None,
        finished_at=None,
        deadline_at=None,
        error=error if status.is_terminal else None,
        version=version,
        links=JobLinks(
            self=f"/v1/jobs/{job_id}",
            events=f"/v1/jobs/{job_id}/events",
            result=f"/v1/jobs/{job_id}/result",
            cancel=f"/v1/jobs/{job_id}/cancel",
        ),
    )


def result_with(job_id: str, references: list[ArtifactRef]) -> Result:
    return Result(
        job=job_id,
        kind="explain",
        counts=Counts(images=1, succeeded=1, failed=0),
        images=[ImageResult(index=0, custom_id=None, sha256="0" * 64, artifacts=references)],
        provenance=Provenance(
            model_name="digits",
            model_version="1",
            model_sha256="1" * 64,
            method="integrated_gradients",
            method_version=1,
            parameters={},
            seed=0,
            torch="2",
            device="cpu",
            threads=1,
            worker="w",
            attempt=1,
            seconds={},
        ),
    )


def refusal(code: ErrorCode, status: int, detail: str, *errors: FieldError, **headers: str) -> Response:
    content = problem(code, detail, errors=list(errors)).model_dump_json()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(content, status, named, "application/problem+json")


def _json(message: Any, status: int = 200, **headers: str) -> Response:
    return Response(message.model_dump_json(), status, headers, "application/json")


def _app(service: TinyService) -> FastAPI:  # noqa: C901 - each route is a function, all of them short
    app = FastAPI()

    @app.middleware("http")
    async def misbehave(request: Request, proceed: Any) -> Response:
        service.requests.append(request)
        return service.answers.popleft() if service.answers else await proceed(request)

    async def received(request: Request) -> dict[str, Any]:
        """The document and the files of a body."""
        if not request.headers["content-type"].startswith("multipart/form-data"):
            return {"request": await request.body()}
        async with request.form() as form:
            return {
                name: value.encode() if isinstance(value, str) else await value.read() for name, value in form.items()
            }

    @app.post("/v1/jobs")
    async def submit(request: Request) -> Response:
        service.bodies.append(await received(request))
        key = request.headers["idempotency-key"]
        if key not in service.by_key:
            service.by_key[key] = service.next_job or service.add_job(JobStatus.QUEUED)
        job_id = service.by_key[key]
        return _json(service.jobs[job_id][0], 202, location=f"/v1/jobs/{job_id}")

    @app.get("/v1/jobs")
    def list_jobs(cursor: int = 0, limit: int = 2) -> Response:
        found = [states[0] for states in service.jobs.values()][cursor : cursor + limit]
        following = str(cursor + limit) if cursor + limit < len(service.jobs) else None
        return _json(JobList(jobs=found, next_cursor=following))

    @app.get("/v1/jobs/{job_id}")
    def look_up(job_id: str) -> Response:
        if job_id not in service.jobs:
            return refusal(ErrorCode.NOT_FOUND, 404, f"there is no job {job_id}")
        return _json(service.now(job_id), **{"retry-after": "0.05"})

    @app.get("/v1/jobs/{job_id}/events")
    async def follow(job_id: str) -> Response:
        if not service.has_events:
            return refusal(ErrorCode.NOT_FOUND, 404, "no events here")

        async def events() -> AsyncIterator[str]:
            yield ": here\n\n"
            for _ in itertools.islice(itertools.count(), service.events_per_stream):
                await anyio.sleep(service.seconds_per_state)
                job = service.now(job_id)
                yield f"id: {job.version}\ndata: {job.model_dump_json()}\n\n"
                if job.status.is_terminal:
                    return

        return StreamingResponse(events(), media_type="text/event-stream")

    @app.post("/v1/jobs/{job_id}/cancel")
    def cancel(job_id: str) -> Response:
        service.jobs[job_id] = [job_in(job_id, JobStatus.CANCELLED, 99)]
        return _json(service.jobs[job_id][0])

    @app.delete("/v1/jobs/{job_id}")
    def delete(job_id: str) -> Response:
        del service.jobs[job_id]
        return Response(status_code=204)

    @app.get("/v1/jobs/{job_id}/result")
    def result(job_id: str) -> Response:
        if job_id in service.results:
            return _json(service.results[job_id])
        if service.jobs[job_id][0].status.is_terminal:
            return refusal(ErrorCode.JOB_ENDED_WITHOUT_RESULT, 410, "it failed")
        return refusal(ErrorCode.RESULT_NOT_READY, 409, "it is queued", retry_after="1")

    @app.get("/v1/artifacts/{digest}")
    def artifact(digest: str) -> Response:
        return Response(service.files[digest], media_type="application/octet-stream")

    @app.post("/v1/images")
    async def upload(request: Request) -> Response:
        content = await request.body()
        digest = hashlib.sha256(content).hexdigest()
        return _json(UploadedImage(sha256=digest, media_type="image/png", width=1, height=1, size=len(content)), 201)

    @app.post("/v1/models")
    async def register(request: Request) -> Response:
        service.bodies.append(await received(request))
        spec = ModelSpec.model_validate_json(service.bodies[-1]["request"])
        checking = ModelVersion(
            name=spec.name,
            version=spec.version,
            state=ModelState.CHECKING,
            sha256="2" * 64,
            architecture=spec.architecture,
            preprocessing=spec.preprocessing,
            labels=spec.labels,
            classes=None,
            created_at=START,
            error=None,
            check_job="job-check",
        )
        service.models[f"{spec.name}@{spec.version}"] = [
            checking,
            checking.model_copy(update={"state": ModelState.READY, "classes": 10}),
        ]
        return _json(checking, 202)

    @app.get("/v1/models")
    def models(cursor: int = 0, limit: int = 2) -> Response:
        found = [states[-1] for states in service.models.values()][cursor:]
        limit = min(limit, 2)
        return _json(ModelList(models=found[:limit], next_cursor=str(cursor + limit) if len(found) > limit else None))

    @app.get("/v1/models/{name}")
    def newest(name: str) -> Response:
        return _json([states[-1] for ref, states in service.models.items() if ref.startswith(f"{name}@")][-1])

    @app.get("/v1/models/{name}/versions/{version}")
    def one_version(name: str, version: str) -> Response:
        states = service.models[f"{name}@{version}"]
        return _json(states.pop(0) if len(states) > 1 else states[0])

    @app.get("/v1/models/{name}/versions/{version}/report")
    def report(name: str, version: str) -> Response:
        found = ModelReport(
            classes=10,
            input_shape=[1, 28, 28],
            parameters=5,
            traced=True,
            linear_head=version,
            layers=[],
            methods={},
        )
        return _json(found)

    @app.get("/v1/methods")
    def methods() -> Response:
        one = MethodInfo(id="saliency", version=1, summary="s", guarantee="g", cost_class="c", parameters={"a": 1})
        return _json(MethodList(methods=[one]))

    @app.get("/v1/version")
    def version() -> Response:
        return _json(VersionInfo(version="9.9.9", ledger_revision="0001"))

    return app
