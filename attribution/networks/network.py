"""The network to explain: a frozen copy with a graph, named layers and a pre-flight report."""

import copy
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import fx, nn

from attribution.checks import require_choice, require_images
from attribution.errors import NetworkError
from attribution.memory import is_out_of_memory
from attribution.networks import reports
from attribution.networks.copies import frozen_copy
from attribution.networks.graph import NotTraceable, tolerate_layouts, traced
from attribution.networks.inplace import make_out_of_place
from attribution.networks.layers import Layer, layer_shapes, named_layers

Output = Literal["logit", "probability", "log_probability"]

#: What a forward pass raises over inputs or weights that do not fit it.
_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class Network:
    r"""A classifier in evaluation mode with frozen parameters and without in-place operations.

    The module is copied (parameters share their memory) and stays as it was: training flags, hooks, gradients,
    buffers. Its forward pass becomes a ``torch.fx`` graph; a module that cannot be traced is run as it is on a copy
    of the inputs, and ``report()`` says why.

    Args:
        module: A classifier that maps float ``(batch, channels, height, width)`` to logits ``(batch, classes)``.
        input_shape: ``(channels, height, width)``; gives the layers their shapes now and not at the first call.
        output: What is explained: the raw logits :math:`f`, ``"probability"`` :math:`\mathrm{softmax} f` or
            ``"log_probability"`` :math:`\log \mathrm{softmax} f`.

    Raises:
        NetworkError: The module cannot be copied, or does not return logits.
        InvalidOption: ``output`` is none of the three.

    Cost:
        One trace; with ``input_shape``, or else at the first call, two forward passes of one image, which note the
        shapes and check that the graph computes what the module does.

    >>> network = Network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten()), (1, 4, 4))
    >>> [(layer.name, layer.kind, layer.shape) for layer in network.layers]
    [('0', 'conv', (2, 2, 2)), ('1', 'activation', (2, 2, 2)), ('2', 'flatten', (8,))]
    >>> network(torch.zeros(1, 1, 4, 4)).shape
    torch.Size([1, 8])
    """

    def __init__(self, module: nn.Module, input_shape: Sequence[int] | None = None, output: Output = "logit") -> None:
        """Copies, freezes and traces the module."""
        self.output: Output = output
        require_choice(output, "output", get_args(Output))
        self._plain, self._n_hooks = frozen_copy(module)
        self._reason: str | None = None
        self._graph: fx.GraphModule | None = None
        self._layers: dict[fx.Node, Layer] = {}
        self._in_place: tuple[str, ...] = ()
        self._n_classes: int | None = None
        first = next((tensor for tensor in self._plain.parameters() if tensor.is_floating_point()), None)
        self.dtype: torch.dtype | None = None if first is None else first.dtype
        self.device: torch.device | None = None if first is None else first.device
        self._trace(module)
        if input_shape is not None:
            self._n_classes = self._probe(self._example(tuple(input_shape)))

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the explained outputs ``(batch, classes)``: logits, probabilities or log-probabilities."""
        return self.explained(self.logits(inputs))

    def explained(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns what is explained of raw outputs ``(batch, classes)``: themselves, or their softmax or its log."""
        if self.output == "probability":
            return logits.softmax(dim=1)
        return logits.log_softmax(dim=1) if self.output == "log_probability" else logits

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the raw outputs ``(batch, classes)``; differentiable with respect to the inputs.

        A module that fails on them, or returns something else, ends in a :class:`NetworkError`.
        """
        self.class_count(inputs)
        if self._graph is not None:
            return _require_logits(_outputs(self._graph.forward, inputs), inputs)
        # In-place operations must not reach the caller's tensor, and views may need its ordinary layout.
        own = inputs.clone(memory_format=torch.contiguous_format)
        return _require_logits(_outputs(self._plain, own), inputs)

    def explaining(self, output: Output) -> "Network":
        """Returns the same network with another output explained; parameters and graph are shared."""
        other = copy.copy(self)
        require_choice(output, "output", get_args(Output))
        other.output = output
        return other

    @property
    def module(self) -> nn.Module:
        """The frozen copy of the caller's module, over the same parameters."""
        return self._plain

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every call of the forward pass, in its order; empty where the module does not trace."""
        return tuple(self._layers.values())

    @property
    def graph(self) -> fx.GraphModule | None:
        """The graph without in-place operations, or nothing where the module does not trace."""
        return self._graph

    @property
    def nodes(self) -> MappingProxyType[str, fx.Node]:
        """The graph's node of each layer, by the layer's name."""
        return MappingProxyType({layer.name: node for node, layer in self._layers.items()})

    @property
    def n_classes(self) -> int | None:
        """The number of classes, known once the network has run or where it ends in a linear layer."""
        head = reports.head_of(self._graph, self._layers)
        return self._n_classes if self._n_classes is not None or head is None else head.out_features

    def report(self) -> reports.Report:
        """Returns the pre-flight check: what was found."""
        return reports.Report(
            traced=self._graph is not None,
            reason=self._reason,
            in_place=self._in_place,
            reused=reports.reused_modules(self._layers),
            functional=reports.functional_activations(self._layers),
            linear_head=reports.head_of(self._graph, self._layers),
            n_classes=self.n_classes,
            layers=self.layers,
            warnings=reports.warnings_of(self._graph, self._n_hooks, self._reason),
        )

    def require_images(self, inputs: torch.Tensor, name: str = "inputs") -> torch.Tensor:
        """Returns the inputs, detached; :class:`InvalidInput` where they do not fit the network."""
        require_images(inputs, name, self.dtype, self.device)
        return inputs.detach()

    def class_count(self, inputs: torch.Tensor) -> int:
        """Returns the number of classes; runs the first image once where the layers' shapes are not known yet."""
        if self._n_classes is None:
            self._n_classes = self._probe(inputs.detach()[:1])
        return self._n_classes

    def _trace(self, module: nn.Module) -> None:
        # A second copy, for tracing changes flags and rewriting changes what in-place modules do.
        try:
            graph = traced(frozen_copy(module).module)
            rewritten = make_out_of_place(graph)
        except NotTraceable as error:
            self._reason = str(error)
            return
        self._graph = graph
        self._layers = named_layers(graph)
        tolerate_layouts(graph)
        names = {node.name: layer.name for node, layer in self._layers.items()}
        self._in_place = tuple(names.get(name, name) for name in rewritten)

    def _example(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Returns values that exercise positive and negative parts alike and need no random state."""
        count = torch.Size(shape).numel()
        ramp = torch.linspace(-2.0, 2.0, count, dtype=self.dtype, device=self.device)
        return torch.sin(1e3 * ramp).reshape(1, *shape)

    def _probe(self, probe: torch.Tensor) -> int:
        """Notes the shapes, and gives the graph up where it computes something else.

        Returns:
            The number of classes.
        """
        with torch.no_grad():
            expected = _require_logits(_outputs(self._plain, probe.clone()), probe)
            if self._graph is not None and not _agree(_outputs(self._graph.forward, probe), expected):
                self._reason = "the traced graph gives other outputs than the module"
                self._graph, self._layers, self._in_place = None, {}, ()
        if self._graph is not None:
            shapes = layer_shapes(self._graph, probe)
            self._layers = {node: layer._replace(shape=shapes.get(node)) for node, layer in self._layers.items()}
        return expected.shape[1]


def _outputs(forward: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    try:
        return forward(inputs)
    except _FAILURES as error:
        if is_out_of_memory(error):
            raise
        raise NetworkError(f"the network fails on inputs of shape {tuple(inputs.shape)}: {error}") from error


def _require_logits(outputs: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    if not isinstance(outputs, torch.Tensor):
        raise NetworkError(
            f"the network returns a {type(outputs).__name__}, expected one tensor of logits; wrap the module in one"
            " whose forward returns only them"
        )
    if outputs.dim() != 2 or outputs.shape[0] != inputs.shape[0]:
        raise NetworkError(
            f"the network returns shape {tuple(outputs.shape)} for a batch of {inputs.shape[0]}, expected"
            f" ({inputs.shape[0]}, classes)"
        )
    return outputs


def _agree(given: torch.Tensor, expected: torch.Tensor) -> bool:
    if not isinstance(given, torch.Tensor) or given.shape != expected.shape:
        return False
    tolerance = torch.finfo(expected.dtype).eps ** 0.5
    scale = float(expected.abs().max())
    return torch.allclose(given, expected, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
