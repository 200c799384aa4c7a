"""What kind of function each operation of a graph is, for rules that treat kinds differently."""

import re
from collections.abc import Mapping
from typing import Literal

from torch import fx, nn
from torch.nn import functional

from attribution.networks.graph import tensor_nodes

#: ``copy``: every output is one input, or one times a constant. ``affine``: a sum of inputs times constants, and a
#: constant. ``activation``: elementwise. ``maximum``: of a window. ``product``: of two tensors that both depend on
#: the input.
Kind = Literal["copy", "affine", "activation", "maximum", "product"]

_COPIES = re.compile(
    r"view|viewas|reshape|reshapeas|flatten|unflatten|ravel|permute|transpose|t|mt|h|mh|real|squeeze|unsqueeze"
    r"|expand|expandas|contiguous"
    r"|clone|identity|getitem|select|narrow|chunk|split|unbind|tensorsplit|movedim|swapaxes|roll|flip|cat|concat"
    r"|concatenate|stack|to|type|float|double|half|bfloat16|(alpha|featurealpha)?dropout|dropout[123]d"
    r"|stochasticdepth|pixel(un)?shuffle|channelshuffle|zeropad2d|upsamplingnearest2d|neg"
)
_AFFINE = re.compile(
    r"conv[123]d|convolution|convtranspose[123]d|(adaptive)?avgpool[123]d|mean|sum|add|sub|rsub|upsamplingbilinear2d"
)
_NORMS = re.compile(r"batchnorm([123]d)?")
_MATRIX_PRODUCTS = re.compile(r"linear|addmm|matmul|mm")
_ACTIVATIONS = re.compile(
    r"relu|relu6|leakyrelu|prelu|rrelu|elu|celu|selu|gelu|silu|mish|sigmoid|logsigmoid|hardsigmoid|tanh|hardtanh"
    r"|hardswish|softplus|softsign|hardshrink|softshrink|tanhshrink|threshold|clamp|clip|abs|exp|square|sqrt"
)
_MAXIMA = re.compile(r"(adaptive)?maxpool2d")
_SCALINGS = frozenset({"mul", "div", "truediv", "pow"})
_RESAMPLINGS = frozenset({"interpolate", "upsample", "pad"})
_COPYING_MODES = frozenset({"nearest", "nearest-exact", "constant", None})
_AFFINE_MODES = frozenset({"bilinear", "bicubic", "linear", "area"})


def operation_kinds(graph_module: fx.GraphModule) -> dict[fx.Node, Kind | None]:
    """Returns the kind of each operation on what depends on the input; nothing for one that is of none of them."""
    nodes = tensor_nodes(graph_module)
    modules = dict(graph_module.named_modules())
    return {
        node: _kind(node, name.replace("_", "").lower(), nodes, modules)
        for node, name in nodes.items()
        if node.op != "placeholder"
    }


def sources(node: fx.Node, kinds: Mapping[fx.Node, Kind | None]) -> list[fx.Node]:
    """Returns an operation's arguments that depend on the input."""
    return [other for other in node.all_input_nodes if other in kinds or other.op == "placeholder"]


def _kind(node: fx.Node, name: str, nodes: Mapping[fx.Node, str], modules: Mapping[str, nn.Module]) -> Kind | None:
    n_sources = sum(other in nodes for other in node.all_input_nodes)
    if name in _SCALINGS:
        return _scaling_kind(node, name, n_sources, nodes)
    if name in _RESAMPLINGS:
        return _resampling_kind(node, modules)
    is_affine = (
        _AFFINE.fullmatch(name)
        or (_NORMS.fullmatch(name) and _uses_stored_statistics(node, modules))
        or (_MATRIX_PRODUCTS.fullmatch(name) and n_sources == 1)
    )
    if is_affine:
        return "affine"
    if _COPIES.fullmatch(name):
        return "copy"
    if n_sources != 1:
        return None
    if _ACTIVATIONS.fullmatch(name):
        return "activation"
    return "maximum" if _MAXIMA.fullmatch(name) and not _returns_indices(node, name, modules) else None


def _returns_indices(node: fx.Node, name: str, modules: Mapping[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return bool(getattr(modules[str(node.target)], "return_indices", False))
    place = 2 if name.startswith("adaptive") else 6
    return bool(node.args[place] if len(node.args) > place else node.kwargs.get("return_indices", False))


def _scaling_kind(node: fx.Node, name: str, n_sources: int, nodes: Mapping[fx.Node, str]) -> Kind | None:
    if n_sources == 2:
        return "product" if name == "mul" else None
    squares = len(node.args) == 2 and node.args[0] is node.args[1]
    scales = name == "mul" or (name != "pow" and node.args[0] in nodes)
    return "copy" if scales and not squares else "activation"


def _uses_stored_statistics(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return getattr(modules[str(node.target)], "running_mean", None) is not None
    # The flag `training` has the same place in torch's three functions of that name.
    return not (node.args[5] if len(node.args) > 5 else node.kwargs.get("training", False))


def _resampling_kind(node: fx.Node, modules: Mapping[str, nn.Module]) -> Kind | None:
    if node.op == "call_module":
        mode, value = getattr(modules[str(node.target)], "mode", None), None
    else:
        place = 2 if node.target is functional.pad else 3
        mode = node.args[place] if len(node.args) > place else node.kwargs.get("mode")
        value = node.args[3] if node.target is functional.pad and len(node.args) > 3 else node.kwargs.get("value")
    if value:
        return "affine"
    return "copy" if mode in _COPYING_MODES else ("affine" if mode in _AFFINE_MODES else None)
