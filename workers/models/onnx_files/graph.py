"""The graph of an ONNX file: its operators, its one input and output, and how large what it computes becomes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, defs
from onnx.checker import ValidationError
from onnx.helper import make_tensor_value_info, tensor_dtype_to_np_dtype
from onnx.shape_inference import InferenceError, infer_shapes

from workers.models.onnx_files.outline import broken
from workers.models.onnx_files.verdict import Image
from workers.problems import InvalidModel

STANDARD = frozenset({"", "ai.onnx"})
"""The operators that ONNX itself defines; what a node of them does is written down, and no library comes with it."""
_BODIES = frozenset({defs.OpSchema.AttrType.GRAPH, defs.OpSchema.AttrType.GRAPHS})
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_SHOWN = 10
_COLOURS = {1: "grey", 3: "rgb"}


class Graph(NamedTuple):
    """What is known of a graph before it runs: its ``classes`` only where its shapes tell."""

    input: str
    is_channels_last: bool
    classes: int | None


def parsed(content: bytes) -> ModelProto:
    """The model of an outline.

    Raises:
        InvalidModel: The bytes are none.
    """
    try:
        model: ModelProto = ModelProto.FromString(content)
    except DecodeError as error:
        raise broken(str(error)) from error
    if not model.HasField("graph") or not model.graph.node:
        raise broken("it has no graph with nodes")
    return model


def require_classifier(model: ModelProto, image: Image, max_bytes: int) -> Graph:
    """Accepts a graph that maps one image to the outputs of its classes.

    Args:
        model: From an outline: without the values of its large initialisers.
        image: What it is given.
        max_bytes: Of one thing that it computes.

    Raises:
        InvalidModel: Other operators, inputs or outputs than expected, or something too large.
    """
    _require_operators(model)
    given, found = _the_input(model), _the_output(model)
    is_channels_last = _is_channels_last(given, image)
    inferred = _inferred(model, given, _shape(image, is_channels_last=is_channels_last))
    _require_modest(inferred, max_bytes)
    # Where nothing follows from the nodes, the file's own word has to do.
    shape = _sides(inferred.graph.output[0]) or _sides(found)
    if shape is not None and (len(shape) != 2 or shape[0] not in {1, None}):
        raise InvalidModel(
            f"the ONNX output {found.name[:80]!r} has the shape {_shown(shape)} for one image, expected (1, classes)"
        )
    return Graph(given.name, is_channels_last, None if shape is None else shape[1])


def _require_operators(model: ModelProto) -> None:
    """Refuses what is not of ONNX's own operators, has a body of its own, or is random."""
    if model.functions:
        raise InvalidModel(
            f"the ONNX file defines operators of its own ({_listed(one.name for one in model.functions)}): only those"
            " of ONNX itself are taken; export it with functions inlined (onnx.inliner)"
        )
    domains = {f"{node.domain}:{node.op_type}" for node in model.graph.node if node.domain not in STANDARD}
    if domains:
        raise InvalidModel(
            f"the ONNX file uses custom operators ({_listed(domains)}): only those of ONNX itself (the domain ai.onnx)"
            " are taken; export it without, and not as a runtime optimised it"
        )
    opset = next((one.version for one in model.opset_import if one.domain in STANDARD), None)
    if opset is None or not 1 <= opset <= defs.onnx_opset_version():
        raise InvalidModel(
            f"the ONNX file is of operator set {opset}, expected 1 to {defs.onnx_opset_version()}: export"
            " it for one of those"
        )
    why = {node.op_type: reason for node in model.graph.node if (reason := _why_not(node, opset)) is not None}
    if why:
        shown = "; ".join(f"{name[:80]} {reason}" for name, reason in sorted(why.items())[:_SHOWN])
        raise InvalidModel(f"the ONNX file has operators that are not taken: {shown}; export it for inference, without")


def _why_not(node: NodeProto, opset: int) -> str | None:
    if not defs.has(node.op_type, opset, ""):
        return f"is not in operator set {opset}"
    schema = defs.get_schema(node.op_type, opset, "")
    if any(attribute.type in _BODIES for attribute in schema.attributes.values()):
        return "has a body of its own, which may never end"
    return "is random" if node.op_type in _RANDOM else None


def _the_input(model: ModelProto) -> ValueInfoProto:
    stored = {tensor.name for tensor in model.graph.initializer}
    return _only([one for one in model.graph.input if one.name not in stored], "inputs", "one, an image")


def _the_output(model: ModelProto) -> ValueInfoProto:
    return _only(list(model.graph.output), "outputs", "one, of the classes")


def _only(given: Sequence[ValueInfoProto], what: str, expected: str) -> ValueInfoProto:
    """The one that there is, which is of float32."""
    if len(given) != 1:
        named = f" ({_listed((one.name for one in given), is_sorted=False)})" if given else ""
        raise InvalidModel(f"the ONNX file has {len(given)} {what}{named}, expected {expected}: export it with one")
    [one] = given
    kind = one.type.tensor_type.elem_type if one.type.HasField("tensor_type") else None
    if kind != TensorProto.FLOAT:
        known = kind in TensorProto.DataType.values()
        said = TensorProto.DataType.Name(kind).lower() if known and kind is not None else "no tensor"
        raise InvalidModel(
            f"the ONNX file has {what[:-1]} {one.name[:80]!r} of {said}, expected float32: export it so, with a cast"
            " inside where it computes in another type"
        )
    return one


def _is_channels_last(given: ValueInfoProto, image: Image) -> bool:
    """Whether images go in as `(batch, height, width, channels)`, by the shape that the file declares."""
    sides, name = _sides(given), given.name[:80]
    if sides is None or len(sides) != 4:
        said = "no shape" if sides is None else f"the shape {_shown(sides)}"
        raise InvalidModel(
            f"the ONNX input {name!r} has {said}, expected (batch, channels, height, width), or channels last"
        )
    if sides[0] not in {1, None}:
        raise InvalidModel(
            f"the ONNX input {name!r} takes batches of {sides[0]} alone: export it with a batch of 1, or a dynamic one"
        )
    first, last = (_fits(sides, _shape(image, is_channels_last=last)) for last in (False, True))
    if not first and not last:
        raise InvalidModel(f"{_unfitting(name, sides, image)}")
    # Where both fit the one that the file pins the channels of is meant.
    return last and (not first or (sides[1] is None and sides[3] is not None))


def _shape(image: Image, *, is_channels_last: bool) -> tuple[int, ...]:
    height, width = image.size
    channels = image.channels
    return (1, height, width, channels) if is_channels_last else (1, channels, height, width)


def _fits(sides: Sequence[int | None], image: Sequence[int]) -> bool:
    return all(side in {None, given} for side, given in zip(sides, image, strict=True))


def _unfitting(name: str, sides: Sequence[int | None], image: Image) -> str:
    height, width = image.size
    said = (
        f"the ONNX input {name!r} is {_shown(sides)}, and preprocessing gives {image.channels} channels of"
        f" {height} x {width}"
    )
    order = next((order for order in ((1, 2, 3), (3, 1, 2)) if sides[order[0]] in _COLOURS), None)
    if order is None:
        return f"{said}: expected 1 or 3 channels"
    channels, *size = (sides[axis] for axis in order)
    options = [] if None in size else [f"--size {size[0]} {size[1]}"]
    options += [f"--color {_COLOURS[channels]}"] if channels in _COLOURS else []
    return f"{said}: register it with {' '.join(options)}"


def _inferred(model: ModelProto, given: ValueInfoProto, image: Sequence[int]) -> ModelProto:
    """The checked model with the shapes of all that it computes for one image, as far as they are known."""
    one = ModelProto()
    one.CopyFrom(model)
    graph = one.graph
    whole = [tensor for tensor in model.graph.initializer if not _is_without_values(tensor)]
    apart = [tensor for tensor in model.graph.initializer if _is_without_values(tensor)]
    del graph.input[:], graph.value_info[:], graph.initializer[:]
    graph.initializer.extend(whole)
    graph.input.append(make_tensor_value_info(given.name, TensorProto.FLOAT, image))
    graph.input.extend(make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in apart)
    one.ir_version = max(one.ir_version, 4)  # from here on initialisers need not be inputs as well
    try:
        for output in graph.output:
            output.type.tensor_type.shape.SetInParent()  # the checker asks for one, exporters may have none
        onnx.checker.check_model(one)
        for output in graph.output:
            output.type.tensor_type.ClearField("shape")  # what the graph gives, not what the file says of it
        return infer_shapes(one, check_type=True, strict_mode=True)
    except (ValidationError, InferenceError) as error:
        raise broken(" ".join(str(error).split())[:400]) from error


def _is_without_values(tensor: TensorProto) -> bool:
    kept = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    return 0 not in tensor.dims and not any(getattr(tensor, name) for name in kept)


def _require_modest(model: ModelProto, max_bytes: int) -> None:
    for one in [*model.graph.value_info, *model.graph.output]:
        sides = _sides(one)
        if sides is None or None in sides:
            continue
        needed = math.prod(side or 0 for side in sides) * _item_bytes(one)
        if needed > max_bytes:
            raise InvalidModel(
                f"the ONNX file computes {one.name[:80]!r} of the shape {_shown(sides)}, which takes"
                f" {needed / 2**30:.1f} GiB; {max_bytes / 2**30:.1f} are allowed (ATTRIBUTION_CHECK_BYTES): use a"
                " smaller size"
            )


def _item_bytes(one: ValueInfoProto) -> int:
    kind = one.type.tensor_type.elem_type
    return int(tensor_dtype_to_np_dtype(kind).itemsize) if kind in TensorProto.DataType.values() and kind else 1


def _sides(one: ValueInfoProto) -> list[int | None] | None:
    """The sides of a tensor, nothing for those that are dynamic; nothing where no shape is known."""
    kind = one.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [side.dim_value if side.HasField("dim_value") and side.dim_value > 0 else None for side in kind.shape.dim]


def _shown(sides: Sequence[int | None]) -> str:
    return f"({', '.join('dynamic' if side is None else str(side) for side in sides[:_SHOWN])})"


def _listed(names: Iterator[str] | set[str] | Mapping[str, object], *, is_sorted: bool = True) -> str:
    given = sorted(names) if is_sorted else list(names)
    more = f" and {len(given) - _SHOWN} more" if len(given) > _SHOWN else ""
    return ", ".join(name[:80] for name in given[:_SHOWN]) + more
