"""A worker's context over a real ledger, store and broker, and jobs put into its hands."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from contracts.jobs import Job, JobRequest
from contracts.states import JobKind
from storage.artifacts import ArtifactStore
from storage.claims import claim
from storage.config import OperatorConfig
from storage.jobs import find, submit
from storage.queue import Queue, celery_app
from storage.records import Claim, NewJob
from storage.settings import Settings
from storage.tables import DEFAULT_TENANT
from workers.context import WorkerContext


@pytest.fixture
def context(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> Iterator[WorkerContext]:
    settings = settings.model_copy(update={"broker_url": SecretStr(broker), "batch_images": 3})
    queue = Queue(celery_app(broker, settings))
    context = WorkerContext(settings, engine, store, queue, OperatorConfig(), name="worker under test")
    yield context
    queue.close()


@pytest.fixture
def claimed(context: WorkerContext) -> Callable[..., Claim]:
    """Submits a job and claims it."""

    def submit_and_claim(explanation: dict[str, Any], **options: Any) -> Claim:
        body = {name: options.pop(name) for name in ("model", "inputs", "render", "seed") if name in options}
        request = JobRequest.model_validate({"explanation": explanation, **body}).model_dump(mode="json")
        kind = JobKind.SELF_TEST if explanation["method"] == "self_test" else JobKind.EXPLAIN
        seed, identity = int(request["seed"]), options.pop("identity", None)
        new = NewJob(
            kind=kind,
            method=explanation["method"],
            request=request,
            resolved=request,
            seed=seed,
            model=identity,
            **options,
        )
        submit(context.engine, new)
        [taken] = claim(context.engine, context.name, limit=1, lease_s=30.0)
        assert taken.job_id == new.id
        return taken

    return submit_and_claim


@pytest.fixture
def job_now(engine: Engine) -> Callable[[Claim], Job]:
    """The job of a claim as it stands."""

    def look(claimed: Claim) -> Job:
        job = find(engine, DEFAULT_TENANT, claimed.job_id)
        assert job is not None
        return job

    return look
