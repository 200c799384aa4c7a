"""A worker's context over a real ledger, store and broker, and jobs put into its hands."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import SecretStr
from safetensors.torch import save
from sqlalchemy import Engine

import attribution
from attribution.architectures import cifar_resnet
from attribution_contracts.digests import model_digest
from attribution_contracts.identity import ModelIdentity
from attribution_contracts.jobs import Job, JobRequest
from attribution_contracts.models import ModelSpec, Preprocessing, Weights
from attribution_contracts.results import Result
from attribution_contracts.states import JobKind
from storage.artifacts.store import ArtifactStore
from storage.broker.queue import Queue, celery_app
from storage.database import open_database
from storage.ledger.claims import Succeeded, claim, finish
from storage.ledger.jobs import find, result_of, submit
from storage.ledger.records import Claim, NewJob
from storage.operator_config import OperatorConfig
from storage.registry.models import find_model, register
from storage.settings import Settings
from storage.tables import DEFAULT_TENANT
from tests.workers.pictures import SIDE, png
from tests.workers.through_http import Through, through_http
from workers.context import WorkerContext
from workers.jobs.procedure import run_jobs
from workers.kinds.check import accept


@pytest.fixture
def context(settings: Settings, engine: Engine, store: ArtifactStore, broker: str) -> Iterator[WorkerContext]:
    settings = settings.model_copy(update={"broker_url": SecretStr(broker), "batch_images": 3})
    queue = Queue(celery_app(broker, settings))
    context = WorkerContext(settings, engine, store, queue, OperatorConfig(), name="worker under test")
    yield context
    queue.close()


@pytest.fixture
def through(context: WorkerContext, broker: str) -> Iterator[Through]:
    """A gateway before the same worker."""
    with through_http(context, broker) as both:
        yield both


@pytest.fixture
def claimed(context: WorkerContext) -> Callable[..., Claim]:
    """Submits a job and claims it."""

    def submit_and_claim(explanation: dict[str, Any], **options: Any) -> Claim:
        body = {name: options.pop(name) for name in ("model", "inputs", "render", "quality", "seed") if name in options}
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


LABELS = ["north", "east", "south", "west"]


@pytest.fixture(scope="session")
def checked(tmp_path_factory, migrated_ledger, broker):
    """A small ResNet with random weights, and what a worker's check finds of it: made once, for it takes a second."""
    torch.manual_seed(0)
    module = cifar_resnet(20, num_classes=4).eval()
    weights = save({name: tensor.contiguous() for name, tensor in module.state_dict().items()})
    settings = Settings(data_dir=tmp_path_factory.mktemp("checked"), broker_url=SecretStr(broker))
    shutil.copy(migrated_ledger, settings.resolved_data_dir / "ledger.sqlite")
    engine, store = open_database(settings.resolved_database_url), ArtifactStore(settings.resolved_artifact_url)
    queue = Queue(celery_app(broker, settings))
    context = WorkerContext(settings, engine, store, queue, OperatorConfig(), name="worker that checks")
    spec = ModelSpec(
        name="tiny",
        architecture="cifar_resnet20",
        options={"num_classes": 4},
        weights=Weights(sha256=store.put(weights)),
        preprocessing=Preprocessing(size=(SIDE, SIDE), mean=[0.5], std=[0.25]),
        labels=LABELS,
    )
    check = NewJob(kind=JobKind.CHECK, request=spec.model_dump(mode="json"))
    register(engine, DEFAULT_TENANT, spec, model_digest(spec), check)
    run_jobs(context, claim(engine, context.name, limit=1, lease_s=30.0))
    assert find_model(engine, DEFAULT_TENANT, "tiny").state == "ready"
    body = result_of(engine, DEFAULT_TENANT, check.id)
    queue.close()
    engine.dispose()
    network = attribution.Network(module, (3, SIDE, SIDE))
    return SimpleNamespace(spec=spec, network=network, weights=weights, body=body)


@pytest.fixture
def classifier(context, checked):
    """The same, registered and ready."""
    spec, digest = checked.spec, model_digest(checked.spec)
    assert context.store.put(checked.weights) == spec.weights.sha256
    check = NewJob(kind=JobKind.CHECK, request=spec.model_dump(mode="json"))
    register(context.engine, DEFAULT_TENANT, spec, digest, check)
    [claimed] = claim(context.engine, context.name, limit=1, lease_s=30.0)
    outcome = Succeeded(checked.body)
    accepting = partial(accept, claimed=claimed, outcome=outcome)
    assert finish(context.engine, claimed, outcome, also=accepting).accepted
    assert find_model(context.engine, DEFAULT_TENANT, "tiny").state == "ready"
    identity = ModelIdentity(name="tiny", version="1", sha256=digest)
    return SimpleNamespace(spec=spec, network=checked.network, identity=identity)


@pytest.fixture
def images(context):
    """Puts random pictures into the store."""

    def put(count, seed=0):
        generator = np.random.default_rng(seed)
        return [context.store.put(png(generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8))) for _ in range(count)]

    return put


@pytest.fixture
def explained(context, claimed, classifier, job_now):
    """Runs one explanation and returns its job and result."""

    def run(inputs, **options):
        given = [{"image": item} if isinstance(item, str) else item for item in inputs]
        asked = {"method": "integrated_gradients", "n_steps": 4} | options.pop("explanation", {})
        explanation = {name: value for name, value in asked.items() if value is not None}
        options = {"max_attempts": 1, "identity": classifier.identity} | options
        taken = claimed(explanation, model="tiny@1", inputs=given, **options)
        run_jobs(context, [taken])
        body = result_of(context.engine, DEFAULT_TENANT, taken.job_id)
        return job_now(taken), None if body is None else Result.model_validate(body)

    return run
