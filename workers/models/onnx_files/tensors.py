"""The values in an ONNX file: as many as their shapes say, and numbers."""

import math
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from workers.models.onnx_files.outline import Values, broken
from workers.problems import InvalidModel

_KINDS = {
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.DOUBLE,
    TensorProto.BOOL,
    TensorProto.INT8,
    TensorProto.INT16,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
    TensorProto.UINT16,
    TensorProto.UINT32,
    TensorProto.UINT64,
}
_FLOATING = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
_MAX_AXES = 16
_AT_ONCE = 16 * 1024**2
"""Bytes of values that are looked at together."""


def require_tensors(model: ModelProto, values: tuple[Values | None, ...], file: np.ndarray) -> tuple[int, int]:
    """Accepts the initialisers and the constants of a model.

    Args:
        model: From an outline.
        values: Where those of each initialiser lie in the file.
        file: Its bytes.

    Returns:
        How many weights there are, and what all initialisers take in memory.

    Raises:
        InvalidModel: Some lie outside of the file, are of an unusable type or number, or are NaN.
    """
    if model.graph.sparse_initializer:
        raise InvalidModel("the ONNX file has sparse initialisers: export it with dense ones")
    parameters = taken = 0
    for tensor, where in zip(model.graph.initializer, values, strict=True):
        _require_described(tensor)
        size = math.prod(tensor.dims)
        if where is None:
            _require_whole(tensor)
        else:
            _require_values(tensor, size, file[where.start : where.stop])
        parameters += size if tensor.data_type in _FLOATING else 0
        taken += size * _item_bytes(tensor)
    for node in model.graph.node:
        for constant in _constants(node):
            _require_described(constant)
            _require_whole(constant)
    return parameters, taken


def _constants(node: NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            raise InvalidModel(f"the constant {_named(node.output)} is sparse: export it dense")
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors


def _require_described(tensor: TensorProto) -> None:
    if tensor.external_data or tensor.data_location != TensorProto.DEFAULT:
        where = next((entry.value for entry in tensor.external_data if entry.key == "location"), "another file")
        raise InvalidModel(
            f"the values of {tensor.name[:80]!r} are to come from {where[:80]!r}: only what is in the file itself is"
            " read; save it as one file (onnx.save with save_as_external_data=False; torch.onnx.export with"
            " external_data=False)"
        )
    if tensor.data_type not in _KINDS:
        known = tensor.data_type in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(tensor.data_type) if known else str(tensor.data_type)
        raise InvalidModel(f"the tensor {tensor.name[:80]!r} is of the type {name}, which is not taken: export float32")
    if len(tensor.dims) > _MAX_AXES or any(side < 0 for side in tensor.dims):
        raise broken(f"the tensor {tensor.name[:80]!r} has the shape {list(tensor.dims)[:_MAX_AXES]}")


def _require_values(tensor: TensorProto, size: int, content: np.ndarray) -> None:
    """Holds the values that lie in the file against what the tensor says of them."""
    if size * _item_bytes(tensor) != len(content):
        raise _other_size(tensor, len(content))
    if tensor.data_type not in _FLOATING:
        return
    kind = tensor_dtype_to_np_dtype(tensor.data_type)
    step = _AT_ONCE // kind.itemsize * kind.itemsize
    _require_numbers(tensor, (content[at : at + step].view(kind) for at in range(0, len(content), step)))


def _require_whole(tensor: TensorProto) -> None:
    """The same of a tensor whose values are all in the outline."""
    try:
        found = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise _other_size(tensor, len(tensor.raw_data)) from error
    if tensor.data_type in _FLOATING:
        _require_numbers(tensor, [found])


def _require_numbers(tensor: TensorProto, parts: Iterator[np.ndarray] | list[np.ndarray]) -> None:
    count = sum(int(np.isnan(part).sum()) for part in parts)
    if count:
        raise InvalidModel(f"the weights have {count} values in {tensor.name[:80]!r} that are NaN: expected numbers")


def _other_size(tensor: TensorProto, given: int) -> InvalidModel:
    needed = math.prod(tensor.dims) * _item_bytes(tensor)
    return broken(
        f"the tensor {tensor.name[:80]!r} has the shape {list(tensor.dims)}, which takes {needed:,} bytes, and there"
        f" are {given:,}"
    )


def _item_bytes(tensor: TensorProto) -> int:
    return int(tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _named(names: list[str]) -> str:
    return repr(names[0][:80]) if names else "without a name"
