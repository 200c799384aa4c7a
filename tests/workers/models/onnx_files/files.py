"""ONNX files to be judged: one that is right, and whatever changes of it are asked for."""

import io
import warnings

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array
from torch import nn

from attribution_contracts.models import ModelSpec
from workers.models.onnx_files.verdict import Image, Question

CLASSES, SIDE = 5, 8
SHAPE = (1, 3, SIDE, SIDE)
WEIGHTS = np.random.default_rng(0).normal(size=(3 * SIDE * SIDE, CLASSES)).astype(np.float32) / 10


def spec(side=SIDE, **changes):
    """What such a file is registered with."""
    preprocessing = {"size": [side, side]} | changes.pop("preprocessing", {})
    given = {"name": "m", "architecture": "onnx", "weights": {"part": "w"}, "preprocessing": preprocessing}
    return ModelSpec.model_validate(given | changes)


def linear(
    before: list[NodeProto] | None = None,
    image: str = "image",
    *,
    given=SHAPE,
    found=("batch", CLASSES),
    kind=TensorProto.FLOAT,
    weights=WEIGHTS,
    more=(),
    opset=17,
) -> ModelProto:
    """A linear classifier of the flattened image, after some nodes that give `image`."""
    nodes = [make_node("Flatten", [image], ["flat"]), make_node("MatMul", ["flat", "weights"], ["scores"])]
    inputs = [make_tensor_value_info("image", kind, given)]
    outputs = [make_tensor_value_info("scores", TensorProto.FLOAT, found)]
    graph = make_graph([*(before or []), *nodes], "g", inputs, outputs, [from_array(weights, "weights"), *more])
    return make_model(graph, opset_imports=[make_opsetid("", opset)], ir_version=8)


def constant(name: str, *values: int) -> TensorProto:
    """Whole numbers as an initialiser."""
    return from_array(np.array(values, np.int64), name)


class ChannelsLast(nn.Module):
    """A classifier that takes its channels last."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.module(inputs.permute(0, 3, 1, 2))


def exported(module: nn.Module, shape, *, is_dynamic: bool = False) -> bytes:
    """The file that torch makes of a module."""
    file = io.BytesIO()
    names = {"input_names": ["image"], "output_names": ["scores"]}
    axes = {"dynamic_axes": {"image": {0: "batch"}, "scores": {0: "batch"}}} if is_dynamic else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is the older one
        torch.onnx.export(module.eval(), (torch.zeros(shape),), file, dynamo=False, **names, **axes)
    return file.getvalue()


def classifier(seed: int = 0, *, has_softmax: bool = False) -> nn.Module:
    """A small convolutional classifier with batch normalisation, pooling and two linear layers."""
    torch.manual_seed(seed)
    layers = [
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * (SIDE // 2) ** 2, 12),
        nn.ReLU(),
        nn.Linear(12, CLASSES),
        *([nn.Softmax(1)] if has_softmax else []),
    ]
    return nn.Sequential(*layers).eval()


def loop() -> NodeProto:
    """A node that runs its body for as long as its body says, which is forever."""
    body = make_graph(
        [make_node("Identity", ["on"], ["still"]), make_node("Identity", ["was"], ["is"])],
        "body",
        [
            make_tensor_value_info("count", TensorProto.INT64, []),
            make_tensor_value_info("on", TensorProto.BOOL, []),
            make_tensor_value_info("was", TensorProto.FLOAT, None),
        ],
        [make_tensor_value_info("still", TensorProto.BOOL, []), make_tensor_value_info("is", TensorProto.FLOAT, None)],
    )
    return make_node("Loop", ["", "", "image"], ["looped"], body=body)


def question(content: bytes | ModelProto, folder, given=None, *, max_parameters=10**6, max_bytes=2**30) -> Question:
    """What is asked of a file of these bytes."""
    preprocessing = (given or spec()).preprocessing
    image = Image(size=preprocessing.size, channels=preprocessing.channels)
    path = str(stored(content, folder))
    return Question(path=path, image=image, max_parameters=max_parameters, max_bytes=max_bytes)


def stored(content: bytes | onnx.ModelProto, folder):
    """A file of these bytes."""
    path = folder / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return path
