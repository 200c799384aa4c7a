"""Real images through the real API, queue, worker and database."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

import attribution
from attribution_client import Client
from attribution_contracts.models import ModelSpec
from attribution_contracts.problems import ErrorCode
from attribution_contracts.states import JobStatus
from cli.demo import digits
from cli.demo.pictures import png
from tests.shared_data import shared_data
from workers.images.preprocessing import preprocess
from workers.models.loading import load

METHOD = {"method": "integrated_gradients"}


@pytest.fixture(scope="module")
def model(served, digits_weights):
    with Client(served.url) as client:
        client.register_model(digits.SPEC, weights=digits_weights)
        version = client.wait_for_model("digits@1", timeout=120)
        assert version.state == "ready", version.error
    return "digits@1"


@pytest.fixture(scope="module")
def pictures():
    return [png(image) for image in digits.held_out().images[:16]]


def finished(client, timeout=180, **request):
    return client.wait(client.submit(**request).id, timeout=timeout)


def test_the_service_computes_what_the_engine_computes(client, model, pictures, digits_weights):
    job = finished(client, model=model, images=pictures[:3], explanation=METHOD)
    result = client.result(job.id)
    network = attribution.Network(load(digits.SPEC, digits_weights, {}))
    inputs = torch.stack(
        [preprocess(Image.open(io.BytesIO(data)), digits.SPEC.preprocessing).tensor for data in pictures[:3]]
    )
    target = network.logits(inputs).argmax(1)
    expected = attribution.integrated_gradients(
        network, inputs, target, baseline=torch.zeros(1, 1, 28, 28), tolerance=0.02
    )
    for image, values, delta in zip(result.images, expected.attributions, expected.convergence_delta, strict=True):
        served = client.map(image.artifacts[0])
        assert np.abs(served - values.numpy()).max() <= 1e-5 * values.abs().max()
        assert image.completeness[0].convergence_delta == pytest.approx(float(delta), abs=1e-5)


def test_a_batch_of_sixteen_is_a_batch_of_one(client, model, pictures):
    explanation = METHOD | {"baselines": [{"kind": "uniform"}], "n_steps": 8}
    together = client.result(finished(client, model=model, images=pictures, explanation=explanation, seed=3).id)
    alone = client.result(finished(client, model=model, images=[pictures[11]], explanation=explanation, seed=3).id)
    ours, theirs = client.map(alone.images[0].artifacts[0]), client.map(together.images[11].artifacts[0])
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


def test_the_same_question_is_answered_from_the_cache(client, served, model, pictures):
    request = {"model": model, "images": [pictures[4]], "explanation": METHOD | {"n_steps": 5}}
    first = finished(client, **request)
    again = client.submit(**request)
    assert (first.cached, again.cached, again.status) == (False, True, JobStatus.SUCCEEDED)
    ours, theirs = client.result(first.id), client.result(again.id)
    assert theirs.images == ours.images
    assert theirs.job == again.id
    with Client(served.url, headers={"Cache-Control": "no-cache"}) as impatient:
        anew = finished(impatient, **request)
        assert not anew.cached
        assert [item.sha256 for item in impatient.result(anew.id).images[0].artifacts] == [
            item.sha256 for item in ours.images[0].artifacts
        ]


def test_a_truncated_image_is_its_own_error(client, model, pictures):
    job = finished(client, model=model, images=[pictures[0], pictures[1][:150], pictures[2]], explanation=METHOD)
    result = client.result(job.id)
    assert (result.counts.succeeded, result.counts.failed) == (2, 1)
    assert result.images[1].error.code == ErrorCode.INVALID_IMAGE


def test_a_running_explanation_is_cancelled_within_a_chunk(client, model, pictures):
    slow = METHOD | {"n_steps": 1000, "smooth": {"n_samples": 200}}
    job = client.submit(model=model, images=pictures[:8], explanation=slow)
    running = next(now for now in _changes(client, job.id) if now.progress.stage == "explaining")
    assert running.status == JobStatus.RUNNING
    client.cancel(job.id)
    assert client.cancel(job.id).cancel_requested
    ended = [now for now in _changes(client, job.id) if now.status.is_terminal]
    assert ended[0].status == JobStatus.CANCELLED


def test_a_worker_killed_in_the_middle_costs_an_attempt_and_nothing_else(client, served, model, pictures):
    slow = METHOD | {"n_steps": 1000, "smooth": {"n_samples": 4}}
    job = client.submit(model=model, images=pictures[:4], explanation=slow)
    next(now for now in _changes(client, job.id) if now.progress.stage == "explaining")
    workers = [process for process in served.family() if "worker" in process.cmdline()]
    assert workers
    for worker in workers:
        worker.kill()
    done = client.wait(job.id, timeout=300)
    assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 2)
    assert client.result(job.id).provenance.attempt == 2


def test_weights_of_another_architecture_are_refused_with_every_reason(client, served, digits_weights):
    spec = digits.SPEC.model_copy(update={"name": "wrong", "architecture": "cifar_resnet20"})
    client.register_model(spec, weights=digits_weights)
    version = client.wait_for_model("wrong@1", timeout=120)
    assert version.state == "refused"
    assert "missing" in version.error.detail
    image = {"data": base64.b64encode(png(digits.held_out().images[0])).decode()}
    answer = served.http.post("/v1/jobs", json={"model": "wrong", "inputs": [image], "explanation": METHOD})
    assert (answer.status_code, answer.json()["code"]) == (409, ErrorCode.MODEL_NOT_READY)


@pytest.mark.shared_data
def test_a_cifar_image_is_explained_with_real_weights(client):
    weights, data = shared_data("weights/cifar_resnet20.safetensors"), np.load(shared_data("cifar10.npz"))
    spec = ModelSpec.model_validate(
        {
            "name": "cifar",
            "architecture": "cifar_resnet20",
            "weights": {"part": "weights"},
            "preprocessing": {"size": [32, 32], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        }
    )
    client.register_model(spec, weights=weights)
    assert client.wait_for_model("cifar", timeout=120).state == "ready"
    images = [png(image) for image in data["test_x"][:8]]
    job = finished(client, model="cifar", images=images, explanation=METHOD | {"tolerance": 0.01})
    result = client.result(job.id)
    right = sum(image.prediction[0].index == label for image, label in zip(result.images, data["test_y"], strict=False))
    assert right >= 7
    assert result.quality.max_relative_gap <= 0.01


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "architecture", "file"),
    [
        ("squeezenet", "torchvision:squeezenet1_1", "weights/squeezenet1_1.fp16.safetensors"),
        ("mobilenet", "factory:mobilenet", "weights/mobilenet_v2.fp16.safetensors"),
    ],
)
def test_a_photograph_is_explained_with_imagenet_weights(client, name, architecture, file):
    classes = shared_data("imagenet/classes.txt").read_text().splitlines()
    spec = ModelSpec.model_validate(
        {
            "name": name,
            "architecture": architecture,
            "weights": {"part": "weights"},
            "preprocessing": {
                "size": [224, 224],
                "resize": 256,
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
            },
        }
    )
    client.register_model(spec, weights=shared_data(file))
    version = client.wait_for_model(name, timeout=120)
    assert version.state == "ready", version.error
    photographs = sorted(shared_data("imagenet_flickr").glob("*.jp*g"))[:2]
    job = finished(client, model=name, images=photographs, explanation=METHOD | {"n_steps": 8, "target": {"top_k": 2}})
    result = client.result(job.id)
    assert (version.classes, result.counts.succeeded) == (len(classes), len(photographs))
    for image in result.images:
        assert [item.shape for item in image.artifacts if item.media_type == "application/x-npy"] == [[3, 224, 224]] * 2


def _changes(client, job_id):
    """The job each time it changes, until it ends."""
    version = 0
    while True:
        job = client.job(job_id)
        if job.version > version:
            version = job.version
            yield job
        if job.status.is_terminal:
            return
