"""Files that are judged before they run: what is right, what is not, and what wants to do harm."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from onnx.helper import make_function, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

from tests.workers.models.onnx_files.files import (
    CLASSES,
    SHAPE,
    SIDE,
    WEIGHTS,
    classifier,
    constant,
    exported,
    linear,
    loop,
    question,
    spec,
)
from workers.models.onnx_files import outline
from workers.models.onnx_files.judging import judged
from workers.models.onnx_files.outline import outline_of
from workers.problems import InvalidModel

GiB = 2**30


def found(content, folder, given=None, *, max_parameters=10**6, max_bytes=GiB):
    return judged(question(content, folder, given, max_parameters=max_parameters, max_bytes=max_bytes))


def refused(content, folder, given=None, **limits):
    with pytest.raises(InvalidModel) as error:
        found(content, folder, given, **limits)
    return str(error.value)


class TestRight:
    def test_what_is_known_before_it_runs(self, tmp_path):
        known = found(linear(), tmp_path)
        assert (known.input, known.is_channels_last, known.classes) == ("image", False, CLASSES)
        assert (known.parameters, known.n_bytes) == (WEIGHTS.size, WEIGHTS.nbytes)

    def test_of_an_exported_network(self, tmp_path):
        module = classifier()
        known = found(exported(module, SHAPE), tmp_path)
        assert known.classes == CLASSES
        merged = sum(p.numel() for p in module.parameters()) - 2 * 8  # batch normalisation goes into the convolution
        assert known.parameters == merged

    @pytest.mark.parametrize(
        ("given", "is_last"),
        [
            (SHAPE, False),
            (("b", 3, SIDE, SIDE), False),
            (("b", 3, "h", "w"), False),
            (("b", "c", "h", "w"), False),
            ((1, SIDE, SIDE, 3), True),
            (("b", "h", "w", 3), True),
        ],
    )
    def test_where_the_channels_are(self, tmp_path, given, is_last):
        assert found(linear(given=given), tmp_path).is_channels_last == is_last

    def test_three_rows_of_three_colours_are_channels_first_unless_only_the_last_is_pinned(self, tmp_path):
        weights = np.ones((27, CLASSES), np.float32)
        for given, is_last in [((1, 3, 3, 3), False), (("b", "h", "w", 3), True)]:
            assert found(linear(given=given, weights=weights), tmp_path, spec(3)).is_channels_last == is_last

    @pytest.mark.parametrize("kind", ["float_data", "raw_data"])
    def test_values_in_either_form(self, tmp_path, kind):
        model = linear()
        if kind == "float_data":
            model.graph.initializer[0].ClearField("raw_data")
            model.graph.initializer[0].float_data.extend(WEIGHTS.flatten().tolist())
        assert found(model, tmp_path).parameters == WEIGHTS.size

    def test_a_shape_that_is_computed_leaves_the_classes_to_what_the_file_says(self, tmp_path):
        before = [
            make_node("Shape", ["image"], ["shape"]),
            make_node("Cast", ["shape"], ["cast"], to=TensorProto.FLOAT),
            make_node("Cast", ["cast"], ["back"], to=TensorProto.INT64),
            make_node("Reshape", ["image", "back"], ["same"]),
        ]
        assert found(linear(before, "same"), tmp_path).classes == CLASSES

    def test_an_operator_set_that_no_node_uses_does_no_harm(self, tmp_path):
        model = linear()
        model.opset_import.append(make_opsetid("ai.onnx.ml", 2))
        assert found(model, tmp_path).classes == CLASSES

    def test_initialisers_that_are_inputs_as_well(self, tmp_path):
        model = linear()
        model.ir_version = 3
        model.graph.input.append(make_tensor_value_info("weights", TensorProto.FLOAT, WEIGHTS.shape))
        assert found(model, tmp_path).input == "image"


class TestInputsAndOutputs:
    def test_another_size_says_which(self, tmp_path):
        said = refused(linear(given=("b", 240, 200, 3)), tmp_path)
        assert said.endswith(
            "is (dynamic, 240, 200, 3), and preprocessing gives 3 channels of 8 x 8: register it with --size 240 200 "
            "--color rgb"
        )

    def test_another_colour_says_which(self, tmp_path):
        assert "--size 8 8 --color grey" in refused(linear(given=(1, 1, SIDE, SIDE)), tmp_path)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"given": (8, 3, SIDE, SIDE)}, "takes batches of 8 alone"),
            ({"given": (1, 192)}, "has the shape (1, 192), expected (batch, channels, height, width)"),
            ({"given": None}, "has no shape"),
            ({"given": (1, 7, SIDE, SIDE)}, "expected 1 or 3 channels"),
            ({"kind": TensorProto.FLOAT16}, "has input 'image' of float16, expected float32"),
            ({"kind": TensorProto.UINT8}, "has input 'image' of uint8, expected float32"),
        ],
    )
    def test_inputs(self, tmp_path, changes, said):
        assert said in refused(linear(**changes), tmp_path)

    def test_several_inputs_are_named(self, tmp_path):
        model = linear()
        model.graph.input.append(make_tensor_value_info("mask", TensorProto.FLOAT, SHAPE))
        assert "has 2 inputs (image, mask), expected one, an image" in refused(model, tmp_path)

    def test_several_outputs_are_named(self, tmp_path):
        model = linear()
        model.graph.output.append(make_tensor_value_info("flat", TensorProto.FLOAT, (1, 192)))
        assert "has 2 outputs (scores, flat), expected one, of the classes" in refused(model, tmp_path)

    def test_outputs_that_are_no_row_of_classes(self, tmp_path):
        model = linear()
        model.graph.node.append(make_node("Unsqueeze", ["scores", "axes"], ["more"]))
        model.graph.initializer.append(constant("axes", 2))
        model.graph.output[0].name = "more"
        assert "the ONNX output 'more' has the shape (1, 5, 1) for one image" in refused(model, tmp_path)


class TestOperators:
    @pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", "my.own"])
    def test_custom_ones(self, tmp_path, domain):
        before = [make_node("Gelu", ["image"], ["own"], domain=domain)]
        assert f"uses custom operators ({domain}:Gelu)" in refused(linear(before, "own"), tmp_path)

    def test_functions_of_a_file(self, tmp_path):
        model = linear()
        own = make_function("", "Own", ["x"], ["y"], [make_node("Relu", ["x"], ["y"])], [make_opsetid("", 17)])
        model.functions.append(own)
        assert "defines operators of its own (Own)" in refused(model, tmp_path)

    def test_one_that_is_not_in_the_operator_set(self, tmp_path):
        before = [make_node("Gelu", ["image"], ["own"])]
        assert "Gelu is not in operator set 17" in refused(linear(before, "own"), tmp_path)

    @pytest.mark.parametrize("opset", [0, 999])
    def test_an_operator_set_that_nobody_knows(self, tmp_path, opset):
        assert f"is of operator set {opset}, expected 1 to" in refused(linear(opset=opset), tmp_path)

    def test_a_loop_that_never_ends(self, tmp_path):
        assert "Loop has a body of its own, which may never end" in refused(linear([loop()], "looped"), tmp_path)

    def test_random_ones(self, tmp_path):
        before = [
            make_node("RandomNormalLike", ["image"], ["noise"]),
            make_node("Add", ["image", "noise"], ["noisy"]),
        ]
        assert "RandomNormalLike is random" in refused(linear(before, "noisy"), tmp_path)

    def test_attributes_that_an_operator_does_not_have(self, tmp_path):
        before = [make_node("Relu", ["image"], ["own"], speed=3)]
        assert "Unrecognized attribute: speed" in refused(linear(before, "own"), tmp_path)

    def test_nodes_in_a_circle(self, tmp_path):
        before = [make_node("Add", ["image", "b"], ["a"]), make_node("Relu", ["a"], ["b"])]
        assert "not valid ONNX" in refused(linear(before, "b"), tmp_path)

    def test_shapes_that_do_not_fit_each_other(self, tmp_path):
        assert "not valid ONNX" in refused(linear(weights=WEIGHTS[1:]), tmp_path)


class TestTensors:
    @pytest.mark.parametrize("location", ["../../../etc/passwd", "/etc/passwd", "weights.bin"])
    def test_external_data(self, tmp_path, location):
        model = linear()
        [tensor] = model.graph.initializer
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        assert f"are to come from {location!r}: only what is in the file itself is read" in refused(model, tmp_path)

    def test_external_data_of_a_constant(self, tmp_path):
        far = from_array(np.ones(SHAPE, np.float32), "far")
        far.ClearField("raw_data")
        far.external_data.add(key="location", value="/etc/passwd")
        far.data_location = TensorProto.EXTERNAL
        before = [make_node("Constant", [], ["far"], value=far), make_node("Add", ["image", "far"], ["sum"])]
        assert "'/etc/passwd'" in refused(linear(before, "sum"), tmp_path)

    @pytest.mark.parametrize("value", [np.nan])
    @pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
    def test_nan(self, tmp_path, value, kind):
        weights = WEIGHTS.astype(kind)
        weights[-1, -1] = value
        cast = [make_node("Cast", ["halves"], ["weights"], to=TensorProto.FLOAT)]
        model = linear(cast, more=[from_array(weights, "halves")])
        del model.graph.initializer[0]
        assert "1 values in 'halves' that are NaN" in refused(model, tmp_path)

    def test_nan_in_a_constant(self, tmp_path):
        value = from_array(np.array([np.nan], np.float32), "none")
        before = [make_node("Constant", [], ["none"], value=value), make_node("Add", ["image", "none"], ["sum"])]
        assert "1 values in 'none' that are NaN" in refused(linear(before, "sum"), tmp_path)

    def test_a_huge_shape_without_values(self, tmp_path):
        model = linear()
        model.graph.initializer[0].dims[:] = [2**40, 2**20]
        said = refused(model, tmp_path)
        assert f"takes {2**62:,} bytes, and there are {WEIGHTS.nbytes:,}" in said
        model.graph.initializer[0].ClearField("raw_data")
        assert f"takes {2**62:,} bytes, and there are 0" in refused(model, tmp_path)

    @pytest.mark.parametrize("dims", [[-1, 5], [1] * 20])
    def test_odd_shapes(self, tmp_path, dims):
        model = linear()
        model.graph.initializer[0].dims[:] = dims
        assert "the tensor 'weights' has the shape" in refused(model, tmp_path)

    def test_types(self, tmp_path):
        model = linear(more=[onnx.helper.make_tensor("words", TensorProto.STRING, [1], [b"a"])])
        assert "the tensor 'words' is of the type STRING" in refused(model, tmp_path)

    def test_sparse_ones(self, tmp_path):
        model = linear()
        model.graph.sparse_initializer.add()
        assert "sparse initialisers" in refused(model, tmp_path)

    def test_values_twice(self, tmp_path):
        content = linear().SerializeToString()
        tensor = linear().graph.initializer[0].SerializeToString()
        raw = tensor[tensor.index(WEIGHTS.tobytes()) - 3 :][: WEIGHTS.nbytes + 3]
        doubled = _field(5, tensor + raw)
        graph = linear().graph
        del graph.initializer[:]
        model = linear()
        model.ClearField("graph")
        said = refused(model.SerializeToString() + _field(7, graph.SerializeToString() + doubled), tmp_path)
        assert "values twice" in said, content[:8]

    def test_more_parameters_than_allowed(self, tmp_path):
        said = refused(linear(), tmp_path, max_parameters=100)
        assert said == f"the network has {WEIGHTS.size} parameters, at most 100 are allowed"


class TestSizes:
    def test_what_is_computed_is_bounded(self, tmp_path):
        before = [
            make_node("Tile", ["image", "times"], ["many"]),
            make_node("ReduceMax", ["many"], ["one"]),
            make_node("Add", ["image", "one"], ["sum"]),
        ]
        model = linear(before, "sum", more=[constant("times", 1, 1, 2**15, 2**15)])
        assert "computes 'many' of the shape (1, 3, 262144, 262144), which takes 768.0 GiB" in refused(model, tmp_path)

    def test_a_graph_of_a_million_nodes(self, tmp_path):
        node = _field(1, make_node("Relu", ["image"], ["more"]).SerializeToString())
        said = refused(_model_of(linear(), node * 10**6), tmp_path)
        assert f"lists more than {outline.MAX_ENTRIES:,} nodes" in said

    def test_a_node_of_a_million_attributes(self, tmp_path):
        node = make_node("Relu", ["image"], ["more"]).SerializeToString()
        said = refused(_model_of(linear(), _field(1, node + b"\x2a\x00" * 10**6)), tmp_path)
        assert f"lists more than {outline.MAX_ENTRIES:,} nodes" in said

    def test_more_beside_the_weights_than_any_graph_has(self, tmp_path):
        said = refused(_model_of(linear(), _field(10, b"a" * (outline.MAX_BYTES + 1))), tmp_path)
        assert f"more than {outline.MAX_BYTES:,} bytes beside the weights" in said

    def test_graphs_in_graphs_without_end(self, tmp_path):
        inner = b""
        for _ in range(400):  # a node with an attribute with a graph
            inner = _field(1, _field(5, _field(6, inner)))
        assert "not valid ONNX" in refused(_model_of(linear(), inner), tmp_path)

    def test_a_truncated_file(self, tmp_path):
        content = linear().SerializeToString()
        for length in (3, 20, 100, len(content) // 2, len(content) - 1):
            assert "not valid ONNX, or truncated" in refused(content[:length], tmp_path), length

    def test_lying_sizes(self, tmp_path):
        for size in (b"\xff\xff\xff\xff\x07", b"\xff" * 9 + b"\x01", b"\xff" * 11):
            said = refused(b"\x08\x08\x3a" + size + linear().graph.SerializeToString(), tmp_path)
            assert "not valid ONNX, or truncated" in said

    def test_noise_after_a_right_beginning(self, tmp_path):
        for seed in range(100):
            noise = np.random.default_rng(seed).bytes(2000)
            assert "ONNX" in refused(b"\x08\x08\x12" + noise, tmp_path), seed

    def test_single_bytes_that_are_others(self, tmp_path):
        content = bytearray(exported(classifier(), SHAPE))
        for at in np.random.default_rng(0).integers(3, len(content), 150):
            changed = content.copy()
            changed[at] ^= 0x5A
            try:
                found(bytes(changed), tmp_path)
            except InvalidModel:
                continue

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"\x89PNG\r\n\x1a\n" + bytes(20), "is a PNG: expected an ONNX model in one file"),
            ((2).to_bytes(8, "little") + b"{}", "is in safetensors format, of tensors alone"),
            (b"PK\x03\x04" + bytes(20), "is a pickle or an archive, which can run code"),
        ],
    )
    def test_other_files(self, tmp_path, content, said):
        assert said in refused(content, tmp_path)


class TestOutline:
    def test_it_is_the_file_without_large_values(self):
        model = linear(more=[constant("axes", 1, 2)])
        content = model.SerializeToString()
        got = outline_of(memoryview(content))
        [values, none] = got.values
        assert (content[values.start : values.stop], none) == (WEIGHTS.tobytes(), None)
        model.graph.initializer[0].ClearField("raw_data")
        assert onnx.ModelProto.FromString(got.content) == model

    def test_a_large_file_has_a_small_one(self):
        content = exported(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4000)), SHAPE)
        assert len(outline_of(memoryview(content)).content) < 1000 < len(content) // 1000


def _field(number: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size >= 0x80:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def _model_of(model: onnx.ModelProto, more: bytes) -> bytes:
    """A file whose graph goes on with more bytes."""
    graph = model.graph.SerializeToString() + more
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    return rest.SerializeToString() + _field(7, graph)
