"""Layers with weights of their own (convolutions, linear layers), and batch normalisations merged into them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.func import functional_call

from attribution.networks.graph import tensor_nodes
from attribution.networks.operations import Kind, operation_kinds, sources

_MODULES = re.compile(r"conv(transpose)?[123]d|linear")
_FUNCTIONS = re.compile(r"conv[123]d|convtranspose[123]d|convolution|linear")
#: Whose first axis of the weight are the channels that come out, so that a batch normalisation scales its rows.
_MERGED = re.compile(r"conv[123]d|linear")
_NORMS = re.compile(r"batchnorm([123]d)?")


class Weighted(NamedTuple):
    """A layer's node, and that of the batch normalisation merged into it, where its values are seen."""

    layer: fx.Node
    norm: fx.Node | None

    @property
    def end(self) -> fx.Node:
        """The node whose result is the layer's."""
        return self.layer if self.norm is None else self.norm


class Parts(NamedTuple):
    """What a layer computes from ``inputs``: ``apply(weight, inputs)``, plus a bias that has the output's axes."""

    inputs: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None
    apply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def weighted_layers(graph: fx.GraphModule) -> dict[fx.Node, Weighted]:
    """Returns the layers with weights of a graph, by their own node.

    A batch normalisation with stored statistics is merged into a layer that it alone reads.
    """
    nodes, kinds = tensor_nodes(graph), operation_kinds(graph)
    modules = dict(graph.named_modules())
    found: dict[fx.Node, Weighted] = {}
    for node, name in nodes.items():
        plain = _plain(name)
        if kinds.get(node) != "affine" or len(sources(node, kinds)) != 1 or not _has_weights(node, plain, modules):
            continue
        user = next(iter(node.users)) if len(node.users) == 1 else None
        is_norm = (
            user is not None
            # The channels of a linear layer come last, those of a normalisation second: one axis is both.
            and (not plain.startswith("linear") or node.meta.get("width") is not None)
            and kinds.get(user) == "affine"
            and bool(_NORMS.fullmatch(_plain(nodes[user])))
            and sources(user, kinds) == [node]
        )
        found[node] = Weighted(node, user if is_norm and _MERGED.fullmatch(plain) else None)
    return found


def parts_of(run: fx.Interpreter, node: fx.Node, kinds: Mapping[fx.Node, Kind | None]) -> Parts:
    """Returns what a layer is made of, while a pass is at its node."""
    [source] = sources(node, kinds)
    inputs: torch.Tensor = run.env[source]
    if node.op == "call_module":
        module = run.submodules[str(node.target)]
        return _of_module(module, inputs)
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda other: run.env[other])
    names = {"weight": 1, "bias": 2}
    given: list[Any] = [kwargs.get(name, args[at] if len(args) > at else None) for name, at in names.items()]
    weight, bias = given
    is_linear = _plain(str(getattr(node.target, "__name__", node.target))).startswith("linear")

    def apply(other: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        own = {"weight": other, "bias": None}
        all_args = [points, *(own[name] for name, at in names.items() if len(args) > at), *args[3:]]
        rest = {name: own.get(name, value) for name, value in kwargs.items() if name != "input"}
        result: torch.Tensor = run.call_function(node.target, tuple(all_args), rest)
        return result

    return Parts(inputs, weight, None if bias is None else _laid(bias, weight, is_linear=is_linear), apply)


def merged(parts: Parts, norm: Callable[[torch.Tensor], torch.Tensor]) -> Parts:
    """Returns the parts of a layer followed by a batch normalisation, which is a scale and a shift of each channel."""
    scale, shift = _scale_and_shift(parts, norm)
    return Parts(
        parts.inputs,
        parts.weight * scale.reshape(-1, *[1] * (parts.weight.dim() - 1)),
        shift if parts.bias is None else shift + scale * parts.bias.reshape(scale.shape),
        parts.apply,
    )


def merged_bias(parts: Parts, norm: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Returns the bias of the same."""
    scale, shift = _scale_and_shift(parts, norm)
    return shift if parts.bias is None else shift + scale * parts.bias.reshape(scale.shape)


def _scale_and_shift(parts: Parts, norm: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    channels, axes = len(parts.weight), parts.weight.dim() - 2
    at = torch.zeros(1, channels, *[1] * axes, dtype=parts.weight.dtype, device=parts.weight.device)
    with torch.enable_grad():
        shift = norm(at.requires_grad_())
        (scale,) = torch.autograd.grad(shift.sum(), at)
    return scale, shift.detach()


def positive_part(parts: Parts) -> torch.Tensor:
    """Returns the sum of the positive contributions of all inputs to each output, without the bias."""
    found = parts.apply(parts.weight.clamp(min=0), parts.inputs.clamp(min=0))
    if bool((parts.inputs.detach() < 0).any()):
        found = found + parts.apply(parts.weight.clamp(max=0), parts.inputs.clamp(max=0))
    return found


def _has_weights(node: fx.Node, plain: str, modules: Mapping[str, nn.Module]) -> bool:
    if node.op == "call_module":
        module = modules[str(node.target)]
        return bool(_MODULES.fullmatch(plain)) and isinstance(getattr(module, "weight", None), torch.Tensor)
    is_first = node.args[:1] == (node.all_input_nodes[0],) or "input" in node.kwargs
    return node.op == "call_function" and bool(_FUNCTIONS.fullmatch(plain)) and is_first


def _of_module(module: nn.Module, inputs: torch.Tensor) -> Parts:
    weight, bias = module.weight, getattr(module, "bias", None)
    assert isinstance(weight, torch.Tensor)  # noqa: S101 - it is a layer with weights
    none = {} if bias is None else {"bias": torch.zeros_like(bias)}

    def apply(other: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = functional_call(module, {"weight": other, **none}, (points,))
        return result

    return Parts(inputs, weight, None if bias is None else _laid(bias, weight, isinstance(module, nn.Linear)), apply)


def _laid(bias: torch.Tensor, weight: torch.Tensor, is_linear: bool) -> torch.Tensor:
    """Returns a bias with the axes of the output: channels first, or last of a linear layer."""
    return bias if is_linear else bias.reshape(1, -1, *[1] * (weight.dim() - 2))


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
