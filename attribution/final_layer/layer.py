"""The layer that turns features into one score a class, and the parts of the network before and behind it."""

import copy
import operator
from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import fx, nn
from torch.nn import functional

from attribution.checks import require_choice
from attribution.errors import NetworkError
from attribution.final_layer.decomposed_head import DecomposedHead
from attribution.networks.heads import Scores, scores_of, with_shift
from attribution.networks.layers import Layer
from attribution.networks.network import Network

Precision = Literal["full", "bfloat16"]

_IN_PLACE = {
    nn.ReLU: functional.relu,
    nn.ReLU6: functional.relu6,
    nn.SiLU: functional.silu,
    nn.Hardswish: functional.hardswish,
}
#: Modules that return memory of their own.
_FRESH = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)


class FinalLayer:
    """The last linear layer or pointwise convolution of a network, found in its graph.

    Its input are the *features* ``(n, d)``: after global pooling where a linear layer follows it. A convolutional head
    (SqueezeNet) takes them at every position, ``(n, d, height, width)``, and is pooled afterwards; there a feature's
    value is the mean over the positions, and what the class makes of it goes through what follows the convolution.

    Args:
        network: One with a graph.
        precision: ``"full"``, or ``"bfloat16"`` for what torch's autocast computes in it up to the features; the
            features, the logits that follow from them and the weights stay in the network's precision, for in 8 bits
            the two largest logits are often equal.

    Attributes:
        name: Of the layer.
        path: Of the submodule that is this layer and nothing else; nothing where it is a function among others.
        weight: ``(classes, d)``, detached.
        bias: ``(classes,)`` or nothing.
        is_spatial: Whether it is a convolution.

    >>> final = FinalLayer(Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 3))))
    >>> final.path, tuple(final.weight.shape), final.is_spatial
    ('1', (3, 4), False)
    """

    def __init__(self, network: Network, precision: Precision = "full") -> None:
        """Finds the layer and cuts the graph at it.

        Raises:
            NetworkError: There is no such layer; the message says why.
            InvalidOption: An unknown precision.
        """  # noqa: DOC502 - the check that it calls raises it
        require_choice(precision, "precision", get_args(Precision))
        self._is_narrow = precision == "bfloat16"
        graph, layer = _last(network)
        scores = _scores(graph, network.nodes[layer.name], layer)
        _require_alone(graph, scores.node, layer)
        scores = with_shift(graph, scores)
        self.network = network
        self.name, self.path = layer.name, scores.path
        self.node, self.features_node = scores.node, scores.features
        self.is_spatial = scores.is_spatial
        self.weight, self.bias = scores.weight, scores.bias
        if network.n_classes not in (None, self.n_classes):
            raise NetworkError(
                f"no decomposition: layer {layer.name} has {self.n_classes} outputs, the network {network.n_classes};"
                " expected one a class"
            )
        self._forward = with_outputs(graph, (self.features_node,))
        self._behind = _behind(graph, scores.node)
        self._is_ordered = network.head is not None and bool((network.head.scale > 0).all())
        self._require_order(layer.shape)

    @property
    def n_classes(self) -> int:
        """Outputs of the layer."""
        return len(self.weight)

    @property
    def n_features(self) -> int:
        """Features ``d`` that a score is computed from."""
        return self.weight.shape[1]

    def run(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the features ``(n, d)``, or ``(n, d, height, width)``, and the logits ``(n, classes)`` of images.

        Raises:
            NetworkError: The layer does not give one output a class, or its input has another shape or is not finite.

        Cost:
            One forward pass; no gradients.
        """
        self.network.class_count(inputs)
        if not self._is_ordered:
            self._require_order(next(layer.shape for layer in self.network.layers if layer.name == self.name))
        with torch.no_grad(), torch.autocast(self.weight.device.type, torch.bfloat16, enabled=self._is_narrow):
            features, logits = self._forward(inputs)
        if self._is_narrow:
            features = features.to(self.weight.dtype)
            logits = self.logits(features)
        self.require_features(features)
        if logits.shape[1:] != (self.n_classes,):
            raise NetworkError(
                f"no decomposition: the last layer with weights, {self.name}, has {self.n_classes} outputs, the network"
                f" {tuple(logits.shape[1:])}; expected one a class"
            )
        return features, logits

    def require_features(self, features: torch.Tensor) -> None:
        """Accepts features of the shape that the layer takes.

        Raises:
            NetworkError: They have another shape, or are not finite.
        """
        expected = 4 if self.is_spatial else 2
        if features.dim() != expected or features.shape[1] != self.n_features:
            raise NetworkError(
                f"no decomposition: the input of {self.name} has shape {tuple(features.shape)}, expected {expected}"
                f" dimensions with {self.n_features} features"
            )
        if not bool(torch.isfinite(features).all()):
            raise NetworkError(f"the features before {self.name} contain NaN or infinity; check the weights")

    def _require_order(self, shape: tuple[int, ...] | None) -> None:
        """Accepts what follows the layer if the larger of two scores makes the larger output.

        Args:
            shape: Of the layer's scores without the batch; nothing is known yet where it is none.

        Raises:
            NetworkError: It is not so: outputs may be in another order than scores.
        """
        if shape is None or self._is_ordered:
            return
        draw = 1 + torch.randperm(self.n_classes, generator=torch.Generator().manual_seed(0)).to(self.weight)
        by_class = draw.view(-1, *[1] * (len(shape) - 1)) if self.is_spatial else draw
        with torch.no_grad():
            outputs = self._behind((by_class / self.n_classes).expand(1, *shape))
        if outputs.shape != (1, self.n_classes):
            return  # whoever runs it says so
        # A head that was read has a scale of its own for each score, some of them below zero.
        if self.network.head is not None or not torch.equal(outputs[0].argsort(), draw.argsort()):
            raise NetworkError(
                f"no decomposition: what follows the last layer {self.name} changes the order of its scores, or mixes"
                " them; expected output c to be made of score c"
            )
        self._is_ordered = True

    def logits(self, features: torch.Tensor, head: nn.Module | None = None) -> torch.Tensor:
        """Returns the logits ``(n, classes)`` of features as ``run`` returns them, by this layer or another head."""
        with torch.no_grad():
            found: torch.Tensor = self._behind(self._own(features) if head is None else head(features))
        return found

    def _own(self, features: torch.Tensor) -> torch.Tensor:
        if self.is_spatial:
            return functional.conv2d(features, self.weight[:, :, None, None], self.bias)
        return functional.linear(features, self.weight, self.bias)

    def pooled(self, features: torch.Tensor) -> torch.Tensor:
        """Returns each feature's value ``(n, d)``."""
        return features.mean((2, 3)) if self.is_spatial else features


def obstacle(network: Network) -> str | None:
    """Returns why a network cannot be decomposed, or nothing where it can.

    >>> obstacle(Network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())))
    'no decomposition: the last layer with weights, 0, is a 3 x 3 convolution, expected a linear layer or a 1 x 1 one'
    """
    try:
        FinalLayer(network)
    except NetworkError as error:
        return str(error)
    return None


def _last(network: Network) -> tuple[fx.GraphModule, Layer]:
    if any(isinstance(part, DecomposedHead) for part in network.module.modules()):
        raise NetworkError("no decomposition: the network is a decomposed one already; give the full one")
    if network.graph is None:
        why = network.report().reason
        raise NetworkError(f"no decomposition: its last layer is unknown without a graph; tracing stopped: {why}")
    head = None if network.head is None else network.head.scores.node
    for layer in reversed(network.layers):
        if network.nodes[layer.name] is head or layer.kind in ("linear", "conv", "attention"):
            return network.graph, layer
    raise NetworkError("no decomposition: the network has no linear layer")


def _scores(graph: fx.GraphModule, node: fx.Node, layer: Layer) -> Scores:
    found = scores_of(graph, node)
    if found is not None:
        return found
    module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    if isinstance(module, nn.Conv2d):
        height, width = module.kernel_size
        grouped = "grouped " if module.groups != 1 else ""
        more = f" with stride {module.stride}" if module.stride != (1, 1) else ""
        raise NetworkError(
            f"no decomposition: the last layer with weights, {layer.name}, is a {grouped}{height} x {width}"
            f" convolution{more}, expected a linear layer or a 1 x 1 one"
        )
    kind = layer.name.rpartition(".")[2] if module is None else type(module).__name__
    raise NetworkError(
        f"no decomposition: the last layer with weights, {layer.name}, is a {kind}, expected a linear layer or a"
        " convolution of size 1 x 1"
    )


def _require_alone(graph: fx.GraphModule, node: fx.Node, layer: Layer) -> None:
    calls = Counter(str(other.target) for other in graph.graph.nodes if other.op == "call_module")
    if node.op == "call_module" and calls[str(node.target)] > 1:
        raise NetworkError(f"no decomposition: the last layer {node.target} is called more than once")
    if not layer.cuts:
        raise NetworkError(f"no decomposition: there are paths to the output beside the last layer {layer.name}")


def with_outputs(graph: fx.GraphModule, nodes: Sequence[fx.Node]) -> fx.GraphModule:
    """Returns the graph, for passes without gradients, with what some nodes give as outputs before the logits."""
    more = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    logits = more.graph_copy(graph.graph, copies)
    more.output((*(copies[node] for node in nodes), logits))
    found = fx.GraphModule(graph, more)
    _overwrite(found)
    return found


def _overwrite(graph: fx.GraphModule) -> None:
    """Lets activations overwrite values that nobody else reads: a pass without gradients is some 5 % faster for it."""
    modules = dict(graph.named_modules())
    for node in [node for node in graph.graph.nodes if node.op == "call_module"]:
        function = _IN_PLACE.get(type(modules[str(node.target)]))
        source = node.all_input_nodes[0]
        fresh = source.op == "call_module" and isinstance(modules[str(source.target)], _FRESH)
        if function is not None and len(source.users) == 1 and (fresh or source.target is operator.add):
            node.op, node.target, node.kwargs = "call_function", function, {"inplace": True}
    graph.recompile()


def _behind(graph: fx.GraphModule, node: fx.Node) -> fx.GraphModule:
    """Returns what computes the logits from the layer's output.

    Raises:
        NetworkError: It asks for more than that.
    """
    part = fx.Graph()
    copies = {node: part.placeholder("scores")}
    for other in graph.graph.nodes:
        known = all(source in copies for source in other.all_input_nodes)
        if other.op == "get_attr" or (other.op.startswith("call_") and other.all_input_nodes and known):
            copies[other] = part.node_copy(other, copies.__getitem__)
    output = graph.graph.output_node().args[0]
    if output not in copies:
        raise NetworkError(f"no decomposition: what follows {node.target} needs more than its output")
    part.output(copies[output])  # type: ignore[index]  # it is a node, as it was found
    behind = fx.GraphModule(graph, part)
    behind.graph.eliminate_dead_code()
    behind.recompile()
    return behind


def replaced(module: nn.Module, path: str, head: nn.Module) -> nn.Module:
    """Returns a copy of a module, weights included, with another submodule at a path; all of it can be trained."""
    own = copy.deepcopy(module)
    if not path:
        return head
    own.set_submodule(path, head)
    return own.requires_grad_(True)


def require_path(final: FinalLayer) -> str:
    """Returns the path of the submodule that is the final layer.

    Raises:
        NetworkError: It is a function among others, and cannot be replaced by a module.
    """
    if final.path is None:
        raise NetworkError(
            f"the last layer {final.name} is a function in a forward pass that does more than that, so no other head"
            " can take its place; give it a module of its own (nn.Linear)"
        )
    return final.path
