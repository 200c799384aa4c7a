"""Requests that are wrong are refused, each with the field and what was expected."""

import json

import pytest
from pydantic import ValidationError

from attribution_contracts.base import Wire
from attribution_contracts.hints import told
from attribution_contracts.images import ImageRef
from attribution_contracts.jobs import JobRequest
from attribution_contracts.models import ModelSpec

DIGEST = "a" * 64
IMAGE = {"image": DIGEST}


def job(**values) -> dict:
    return {"model": "digits", "inputs": [IMAGE], "explanation": {"method": "integrated_gradients"}} | values


def explaining(**values) -> dict:
    return job(explanation={"method": "integrated_gradients"} | values)


def self_test(**values) -> dict:
    return {"explanation": {"method": "self_test"} | values}


def spec(**values) -> dict:
    return {
        "name": "digits",
        "architecture": "mnist_cnn",
        "weights": {"sha256": DIGEST},
        "preprocessing": {"size": [28, 28]},
    } | values


def errors(model: type[Wire], body: dict) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    return "; ".join(f"{'/'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in caught.value.errors())


def test_what_is_right_is_taken() -> None:
    asked = JobRequest.model_validate(job())
    assert (asked.seed, asked.priority, asked.explanation.n_steps) == (0, "normal", None)
    assert JobRequest.model_validate(self_test()).inputs == []
    assert ModelSpec.model_validate(spec()).version == "1"
    assert JobRequest.model_validate_json(asked.model_dump_json()) == asked


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (job(unknown=1), "unknown: Extra inputs are not permitted"),
        (explaining(unknown=1), "unknown: Extra inputs"),
        (job(inputs=[IMAGE | {"url": "http://host"}]), "inputs/0/url: Extra inputs"),
        (job(render={"colour": "red"}), "render/colour: Extra inputs"),
        (job(model=None), "missing: model"),
        (job(inputs=[]), "missing: inputs"),
        (job(inputs=[IMAGE] * 257), "inputs: List should have at most 256"),
        (job(model="Digits"), "model: String should match pattern"),
        (job(model="digits@"), "model: String should match pattern"),
        (job(model="digits\n"), "model: String should match pattern"),
        (job(inputs=[{}]), "expected exactly one of data, image, part; given: none"),
        (job(inputs=[IMAGE | {"part": "a"}]), "given: image, part"),
        (job(inputs=[{"image": DIGEST.upper()}]), "inputs/0/image: String should match"),
        (job(inputs=[{"data": "é==="}]), "inputs/0/data: String should match"),
        (job(seed=-1), "seed: Input should be greater than or equal to 0"),
        (job(seed=2**63), "seed: Input should be less than"),
        (job(seed=True), "seed: Input should be a valid integer"),
        (job(seed=1.0), "seed: Input should be a valid integer"),
        (job(seed="1"), "seed: Input should be a valid integer"),
        (job(deadline_s=float("nan")), "deadline_s: Input should be a finite number"),
        (job(deadline_s=float("inf")), "deadline_s: Input should be"),
        (job(deadline_s=0), "deadline_s: Input should be greater than 0"),
        (job(priority="urgent"), "priority: Input should be 'low', 'normal' or 'high'"),
        (job(labels=["cat"]), "the true class of an image is the `label` of its input"),
        (job(labels={"-": "a"}), "labels/-/[key]: String should match"),
        (job(labels={"a": "x" * 201}), "labels/a: String should have at most 200"),
        (job(labels={"a": "nul\x00"}), "labels/a: String should match"),
        (job(labels={"a": "\ud800"}), "labels/a: Input should be a valid string"),
        (job(labels={f"l{i}": "" for i in range(33)}), "labels: Dictionary should have at most 32"),
        (job(render={"opacity": float("nan")}), "render/opacity: Input should be a finite number"),
        (job(render={"clip_percentile": 50}), "render/clip_percentile: Input should be greater than 50"),
        (job(render={"min_side": True}), "render/min_side: Input should be a valid integer"),
        (job(explanation={"method": "magic"}), "explanation: Input tag 'magic'"),
        (job(explanation={}), "explanation: Unable to extract tag"),
    ],
)
def test_a_wrong_job(body: dict, expected: str) -> None:
    assert expected in errors(JobRequest, body)


@pytest.mark.parametrize("steps", [0, -1, 10**9, 1001, float("nan"), 1.5, "32", True, 1e999])
def test_wrong_steps(steps) -> None:
    assert "explanation/integrated_gradients/n_steps" in errors(JobRequest, explaining(n_steps=steps))


@pytest.mark.parametrize("tolerance", [0, 1, -0.1, float("nan"), float("inf"), "small"])
def test_a_wrong_tolerance(tolerance) -> None:
    assert "explanation/integrated_gradients/tolerance" in errors(JobRequest, explaining(tolerance=tolerance))


@pytest.mark.parametrize("also", [{"n_steps": 8}, {"quadrature": "midpoint"}, {"n_steps": 8, "quadrature": "right"}])
def test_two_ways_to_say_how_accurate(also: dict) -> None:
    assert "either tolerance, or n_steps and quadrature" in errors(JobRequest, explaining(tolerance=0.01, **also))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"target": {"classes": []}}, "classes: List should have at least 1"),
        ({"target": {"classes": [True]}}, "Input should be a valid integer"),
        ({"target": {"classes": [-1]}}, "greater than or equal to 0"),
        ({"target": {"classes": [10**6]}}, "less than 1000000"),
        ({"target": {"classes": [1.0]}}, "Input should be a valid integer"),
        ({"target": {"classes": [""]}}, "at least 1 character"),
        ({"target": {"top_k": 0}}, "greater than or equal to 1"),
        ({"target": {"top_k": 1, "classes": [1]}}, "Extra inputs"),
        ({"target": "guess"}, 'expected "predicted", "all", {"classes": [index or name'),
        ({"baselines": []}, "baselines: List should have at least 1"),
        ({"baselines": [{"kind": "pink"}]}, "Input tag 'pink'"),
        ({"baselines": [{"kind": "blur", "sigma": 0}]}, "sigma: Input should be greater than"),
        ({"baselines": [{"kind": "image", "image": IMAGE | {"data": "aaaa"}}]}, "given: data, image"),
        ({"baselines": [{"kind": "background", "images": []}]}, "images: List should have at least 1"),
        ({"smooth": {"noise": 0}}, "noise: Input should be greater than"),
        ({"smoothgrad": {}, "smooth": {}}, "smoothgrad is the former name of smooth"),
        ({"output": "loss"}, "output: Input should be"),
    ],
)
def test_a_wrong_explanation(values: dict, expected: str) -> None:
    assert expected in errors(JobRequest, explaining(**values))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (self_test(children=0), "children: Input should be greater"),
        (self_test(seconds=float("nan")), "seconds: Input should be a finite number"),
        (self_test() | {"model": "digits"}, "self_test takes neither model nor inputs"),
        (self_test() | {"inputs": [IMAGE]}, "self_test takes neither model nor inputs"),
    ],
)
def test_a_wrong_self_test(body: dict, expected: str) -> None:
    assert expected in errors(JobRequest, body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (spec(name="-digits"), "name: String should match"),
        (spec(name="d" * 65), "name: String should match"),
        (spec(version="1/2"), "version: String should match"),
        (spec(architecture="torchvision:../x"), "architecture: String should match"),
        (spec(architecture="pickle"), "architecture: String should match"),
        (spec(options={"weights": "DEFAULT"}), "options may not set weights"),
        (spec(options={"pretrained": True, "progress": False}), "options may not set pretrained, progress"),
        (spec(options={"classes": [1]}), "options/classes"),
        (spec(options={"p": float("nan")}), "options/p"),
        (spec(weights={}), "exactly one of sha256, part, torchvision; given: none"),
        (spec(weights={"sha256": DIGEST, "part": "a"}), "given: sha256, part"),
        (spec(weights={"torchvision": "../x"}), "torchvision: String should match"),
        (spec(preprocessing={"size": [0, 28]}), "two numbers from 1 to 4096"),
        (spec(preprocessing={"size": [28]}), "preprocessing/size"),
        (spec(preprocessing={"size": [28, 28], "resize": 20}), "resize (20) must be at least"),
        (spec(preprocessing={"size": [28, 28], "mean": [0.0, 0.0]}), "mean must have 1 or 3 numbers for color=rgb"),
        (
            spec(preprocessing={"size": [28, 28], "std": [0.0]}),
            "std/0: Input should be greater than or equal to 0.000001",
        ),
        (spec(preprocessing={"size": [28, 28], "mean": [float("inf")]}), "finite number"),
    ],
)
def test_a_wrong_model(body: dict, expected: str) -> None:
    assert expected in errors(ModelSpec, body)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_in_json(number: str) -> None:
    body = json.dumps(job(deadline_s=0)).replace('"deadline_s": 0', f'"deadline_s": {number}')
    with pytest.raises(ValidationError, match=r"deadline_s|Invalid JSON"):
        JobRequest.model_validate_json(body)


def test_a_lone_surrogate_in_json() -> None:
    body = json.dumps(job(labels={"a": "\ud800"}))
    with pytest.raises(ValidationError, match="Invalid JSON"):
        JobRequest.model_validate_json(body)


def test_messages_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ImageRef(image=DIGEST).image = "b" * 64


def test_choices_are_listed_once() -> None:
    for given, said in (("xx", ""), ("norml", "; did you mean 'normal'?")):
        with pytest.raises(ValidationError) as refused:
            JobRequest.model_validate({"model": "digits", "priority": given})
        [error] = [error for error in refused.value.errors() if error["loc"] == ("priority",)]
        assert told(error, given) == f"Input should be 'low', 'normal' or 'high'{said}"


@pytest.mark.parametrize(
    ("model", "body", "hint"),
    [
        (JobRequest, explaining(seed=4), "'seed' belongs beside 'explanation', not in it"),
        (JobRequest, job(inputs=[IMAGE | {"priority": "high"}]), "'priority' belongs beside 'inputs', not in it"),
        (JobRequest, explaining(target={"top_k": 3, "output": "logit"}), "'output' belongs beside 'target', not in it"),
        (
            JobRequest,
            job(n_masks=9),
            "'n_masks' belongs in 'explanation', in each of 'explanations' or in 'task.explanation'",
        ),
        (JobRequest, job(legend=True), "'legend' belongs in 'render'"),
        (JobRequest, job(label=3), "'label' belongs in each of 'inputs'; or did you mean 'labels'?"),
        (JobRequest, explaining(n_masks=9), "did you mean 'n_steps'?"),
        (JobRequest, explaining(colour=9), "known are 'method', "),
        (ModelSpec, spec(mean=[0.5]), "'mean' belongs in 'preprocessing'"),
        (ModelSpec, spec(weights={"sha256": DIGEST, "options": {}}), "'options' belongs beside 'weights', not in it"),
    ],
)
def test_a_field_of_another_level_is_sent_there(model: type[Wire], body: dict, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    [error] = caught.value.errors()
    assert f"Extra inputs are not permitted; {hint}" in told(error, model=model)
