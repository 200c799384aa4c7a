"""Files that run: the outputs of the network that was exported, within bounds of memory and time."""

import subprocess
import sys

import numpy as np
import onnxruntime
import psutil
import pytest
import torch
from onnx import TensorProto
from onnx.helper import make_node
from onnx.numpy_helper import from_array
from torch import nn

from attribution import Network
from attribution.errors import NetworkError, OverBudget
from attribution.networks.outputs_only import OutputsOnly
from attribution.quality.occlusion import occlusion_curves, random_maps
from tests.workers.models.onnx_files.files import (
    SHAPE,
    WEIGHTS,
    ChannelsLast,
    classifier,
    constant,
    exported,
    linear,
    loop,
    question,
    spec,
    stored,
)
from workers.models.loading import load_module
from workers.models.onnx_files.loading import judged
from workers.models.onnx_files.outline import MAX_ENTRIES
from workers.problems import InvalidModel


def loaded(content, folder, given=None, **limits):
    return load_module(given or spec(), stored(content, folder), {}, **limits).module


def images(count=3, shape=SHAPE[1:]):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))


def computed(before):
    """A file whose nodes compute a number of a size that no shape tells, and add it to the image."""
    return linear(
        [
            make_node("Shape", ["image"], ["sides"]),
            make_node("Cast", ["sides"], ["cast"], to=TensorProto.FLOAT),
            make_node("Cast", ["cast"], ["back"], to=TensorProto.INT64),
            *before,
            make_node("ReduceMax", ["many"], ["one"], keepdims=0),
            make_node("Add", ["image", "one"], ["sum"]),
        ],
        "sum",
        more=[constant("times", 2**13, 2**5, 2**5, 2**5)],
    )


class TestOutputs:
    @pytest.mark.parametrize("is_dynamic", [False, True])
    @pytest.mark.parametrize("has_softmax", [False, True])
    def test_are_those_of_the_network_that_was_exported(self, tmp_path, is_dynamic, has_softmax):
        module = classifier(has_softmax=has_softmax)
        network = Network(loaded(exported(module, SHAPE, is_dynamic=is_dynamic), tmp_path), SHAPE[1:])
        with torch.no_grad():
            torch.testing.assert_close(network.logits(images()), module(images()), atol=1e-4, rtol=0)
        assert network.link == ("none" if has_softmax else "softmax")

    def test_with_channels_last(self, tmp_path):
        module = classifier()
        content = exported(ChannelsLast(module), (1, 8, 8, 3))
        with torch.no_grad():
            torch.testing.assert_close(loaded(content, tmp_path)(images()), module(images()), atol=1e-4, rtol=0)

    def test_of_a_height_that_is_not_the_width(self, tmp_path):
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 4 * 8, 2)).eval()
        given = spec(preprocessing={"size": [6, 10]})
        content = exported(ChannelsLast(module), (1, 6, 10, 3))
        found = loaded(content, tmp_path, given)(images(2, (3, 6, 10)))
        torch.testing.assert_close(found, module(images(2, (3, 6, 10))).detach(), atol=1e-4, rtol=0)

    def test_of_grey_images(self, tmp_path):
        module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
        given = spec(preprocessing={"color": "grey"})
        found = loaded(exported(module, (1, 1, 8, 8)), tmp_path, given)(images(2, (1, 8, 8)))
        torch.testing.assert_close(found, module(images(2, (1, 8, 8))).detach(), atol=1e-4, rtol=0)

    def test_curves_are_the_same(self, tmp_path):
        module = classifier()
        maps, target = random_maps(images(), torch.Generator().manual_seed(2)), torch.tensor([0, 1, 2])
        one, other = (
            occlusion_curves(Network(given, SHAPE[1:]), images(), maps, target, n_steps=5)
            for given in (module, loaded(exported(module, SHAPE), tmp_path))
        )
        for name in ("prediction", "entropy", "standard_deviation", "prediction_area"):
            torch.testing.assert_close(getattr(other, name), getattr(one, name), atol=1e-4, rtol=0)

    def test_half_precision_inside(self, tmp_path):
        before = [
            make_node("Cast", ["image"], ["half"], to=TensorProto.FLOAT16),
            make_node("Relu", ["half"], ["positive"]),
            make_node("Cast", ["positive"], ["whole"], to=TensorProto.FLOAT),
        ]
        found = loaded(linear(before, "whole"), tmp_path)(images())
        torch.testing.assert_close(found, images().flatten(1) @ torch.from_numpy(WEIGHTS), atol=2e-3, rtol=0)

    def test_nan_comes_back_as_it_is(self, tmp_path):
        before = [make_node("Sub", ["image", "two"], ["less"]), make_node("Log", ["less"], ["log"])]
        found = loaded(linear(before, "log", more=[from_array(np.array(2, np.float32), "two")]), tmp_path)(images())
        assert bool(found.isnan().all())

    def test_a_run_that_fails_says_what_onnxruntime_said(self, tmp_path):
        before = [make_node("Reshape", ["image", "back"], ["other"])]
        model = computed([*before, make_node("Identity", ["other"], ["many"])])
        model.graph.node[3].input[1] = "wrong"
        model.graph.node.insert(3, make_node("Add", ["back", "back"], ["wrong"]))
        with pytest.raises(NetworkError, match=r"fails on inputs of shape \(1, 3, 8, 8\): onnxruntime: "):
            Network(loaded(model, tmp_path), SHAPE[1:])


class TestWhatIsKnown:
    def test_it_has_outputs_only(self, tmp_path):
        found = load_module(spec(), stored(linear(), tmp_path), {})
        assert isinstance(found.module, OutputsOnly)
        assert (found.module.kind, found.classes, found.taken) == ("ONNX", WEIGHTS.shape[1], [])
        network = Network(found.module, SHAPE[1:])
        assert (network.n_parameters, network.n_bytes) == (WEIGHTS.size, WEIGHTS.nbytes)

    def test_another_file_than_was_registered(self, tmp_path):
        given = spec(weights={"sha256": "0" * 64})
        with pytest.raises(InvalidModel, match=r"has the sha256 .* expected 0000"):
            loaded(linear(), tmp_path, given)

    def test_no_file(self):
        with pytest.raises(InvalidModel, match="send the ONNX model"):
            load_module(spec(), None, {})

    def test_the_runtime_has_one_thread(self, tmp_path, monkeypatch):
        made = []
        real = onnxruntime.InferenceSession

        def session(path, options, **given):
            made.append((options.intra_op_num_threads, options.inter_op_num_threads, given["providers"]))
            return real(path, options, **given)

        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        loaded(linear(), tmp_path)
        assert made == [(1, 1, ["CPUExecutionProvider"])]


class TestBounds:
    def test_what_a_run_computes(self, tmp_path):
        """Hundreds of gigabytes, by sides that follow from no shape in the file."""
        before = [make_node("Mul", ["back", "times"], ["far"]), make_node("Expand", ["unit", "far"], ["many"])]
        model = computed(before)
        model.graph.initializer.append(from_array(np.array(1, np.float32), "unit"))
        with pytest.raises(OverBudget, match=r"takes more than the 1.0 GiB that are allowed"):
            Network(loaded(model, tmp_path, max_pass_bytes=2**30), SHAPE[1:])

    def test_one_model_does_not_take_the_bounds_of_another(self, tmp_path):
        before = [
            make_node("Expand", ["image", "times"], ["wide"]),
            make_node("ReduceMax", ["wide"], ["one"], axes=[0]),
            make_node("Add", ["image", "one"], ["sum"]),
        ]
        model = linear(before, "sum", more=[constant("times", 4096, 3, 8, 8)])
        wide = loaded(model, tmp_path, max_pass_bytes=2**26)
        narrow = loaded(linear(), tmp_path, max_pass_bytes=2**20)
        assert bool(wide(images()).isfinite().all())
        assert bool(narrow(images()).isfinite().all())

    def test_what_reading_it_takes(self, tmp_path):
        """Shapes that are put together with themselves: each node doubles what is known of the last one."""
        before = [
            make_node("Shape", ["image"], ["s0"]),
            *(make_node("Concat", [f"s{i}", f"s{i}"], [f"s{i + 1}"], axis=0) for i in range(26)),
        ]
        with pytest.raises(InvalidModel, match=r"onnxruntime refuses|takes more memory or time to read"):
            loaded(linear(before), tmp_path)

    def test_what_follows_from_constants_is_not_computed_as_it_is_loaded(self, tmp_path):
        before = [
            make_node("Tile", ["weights", "times"], ["many"]),
            make_node("ReduceMax", ["many"], ["one"], keepdims=0),
            make_node("Add", ["image", "one"], ["sum"]),
        ]
        model = linear(before, "sum", more=[constant("times", 2**10, 2**10)])
        module = loaded(model, tmp_path, max_pass_bytes=2**32)  # 3.75 GiB, more than the process that judges has
        assert isinstance(module, OutputsOnly)

    def test_time(self, tmp_path):
        """A file that is right, of far more nodes than any network has: each look at it takes seconds."""
        before = [make_node("Relu", [f"x{i}" if i else "image"], [f"x{i + 1}"]) for i in range(50_000)]
        asked = question(linear(before, "x50000"), tmp_path)
        with pytest.raises(InvalidModel, match="takes more memory or time to read"):
            judged(asked, patience_s=0.5)
        assert [child for child in psutil.Process().children() if asked.path in child.cmdline()] == []

    @pytest.mark.parametrize("kind", ["picture", "truncated", "lying", "crowded"])
    def test_what_the_bytes_tell_is_known_before_a_process_starts(self, tmp_path, monkeypatch, kind):
        monkeypatch.setattr("sys.executable", "/nowhere/python")
        content = linear().SerializeToString()
        wrong = {
            "picture": b"\x89PNG\r\n\x1a\n" + bytes(20),
            "truncated": content[:-1],
            "lying": b"\x08\x08\x3a" + b"\xff" * 9 + b"\x01",
            "crowded": content + b"\x32\x00" * (MAX_ENTRIES + 1),
        }
        with pytest.raises(InvalidModel, match=r"is a PNG|truncated|lists more than"):
            judged(question(wrong[kind], tmp_path))
        with pytest.raises(FileNotFoundError):
            judged(question(content, tmp_path))

    def test_the_process_that_judges_loads_no_more_than_it_needs(self):
        told = "import sys, workers.models.onnx_files.judging; print(*sys.modules)"
        modules = subprocess.run(
            [sys.executable, "-c", told], capture_output=True, text=True, check=True
        ).stdout.split()
        assert {"onnx", "onnxruntime"} <= set(modules)
        assert not {"torch", "PIL", "sqlalchemy", "celery", "attribution", "attribution_contracts.models"} & set(
            modules
        )

    def test_refusals_come_from_the_process_that_judged(self, tmp_path):
        with pytest.raises(InvalidModel, match="Loop has a body of its own, which may never end"):
            loaded(linear([loop()], "looped"), tmp_path)
