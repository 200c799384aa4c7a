"""The network to explain: a frozen copy with a graph, named layers, and what it was measured to do."""

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import fx, nn

from attribution.checks import require_choice, require_images
from attribution.errors import InvalidInput, NetworkError
from attribution.networks import reports
from attribution.networks.heads import LinearHead
from attribution.networks.lattices import Lattice, Placement
from attribution.networks.layers import Layer
from attribution.networks.link import LINKS, Link, log_probabilities, probabilities
from attribution.networks.measures import Check
from attribution.networks.outputs_only import OutputsOnly
from attribution.networks.prepared import Prepared

Output = Literal["logit", "probability", "log_probability"]


class Network:
    r"""A classifier in evaluation mode with frozen parameters and without in-place operations.

    The module is copied (parameters share their memory) and stays as it was: training flags, hooks, gradients,
    buffers. Load and train before it is wrapped: once the weights have changed, the copy, which has the buffers of
    before, refuses to explain. Its forward pass becomes a ``torch.fx`` graph; a module that cannot be traced is run as
    it is on a copy of the inputs, and ``report()`` says why.

    Before it is believed the network is measured on three probes: that the copy computes what the module computes
    with its hooks, in place; that it is not random; that rows of a batch do not meet; that gradients reach the image
    and are derivatives; what makes probabilities of its outputs. ``report().checks`` has the figures.

    Args:
        module: A classifier that maps float ``(batch, channels, height, width)`` to logits ``(batch, classes)``.
        input_shape: ``(channels, height, width)``; measures now and not at the first call.
        output: What is explained: the raw outputs :math:`f`, their ``"probability"`` or ``"log_probability"``.
        link: What makes probabilities of raw outputs: ``"softmax"``, ``"sigmoid"`` of each, or ``"none"`` where they
            are probabilities. Found out unless told.
        checks: What was measured of the same weights before, by a report; nothing is measured again then but that the
            copy and its graph compute what the module does.
        budget: Bytes that the measures may take for what the network computes; where they would take more they are
            made on smaller images, if it takes those. Nothing: as many as they need.

    Raises:
        OverBudget: Not even a pass of one image fits into the budget.
        OutOfMemory: One does not fit into memory.
        NetworkError: The module cannot be copied, does not return logits, is random, or its rows meet.
        InvalidOption: ``output`` or ``link`` is none of the three.

    Cost:
        One trace; with ``input_shape``, or else at the first call, some 40 forward and 10 backward passes of one
        image; with ``checks`` 10 forward passes.

    >>> network = Network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten()), (1, 4, 4))
    >>> [(layer.name, layer.kind, layer.shape) for layer in network.layers]
    [('0', 'conv', (2, 2, 2)), ('1', 'activation', (2, 2, 2)), ('2', 'flatten', (8,))]
    >>> network(torch.zeros(1, 1, 4, 4)).shape
    torch.Size([1, 8])
    """

    def __init__(
        self,
        module: nn.Module,
        input_shape: Sequence[int] | None = None,
        output: Output = "logit",
        link: Link | None = None,
        checks: Sequence[Check] | None = None,
        budget: int | None = None,
    ) -> None:
        """Copies, freezes, traces and measures the module."""
        require_choice(output, "output", get_args(Output))
        if link is not None:
            require_choice(link, "link", LINKS)
        self.output: Output = output
        self._prepared = Prepared(module, link, checks, budget)
        if input_shape is not None:
            self._prepared.meet(tuple(input_shape), self.dtype, self.device)

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the explained outputs ``(batch, classes)``: raw ones, probabilities or log-probabilities."""
        return self.explained(self.logits(inputs))

    def explained(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns what is explained of raw outputs ``(batch, classes)``: themselves, or (log-)probabilities."""
        if self.output == "probability":
            return probabilities(logits, self.link)
        return log_probabilities(logits, self.link) if self.output == "log_probability" else logits

    def likelihoods(self, explained: torch.Tensor) -> torch.Tensor:
        """Returns the probabilities ``(batch, classes)`` that belong to explained outputs."""
        if self.output == "logit":
            return probabilities(explained, self.link)
        return explained if self.output == "probability" else explained.exp()

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the raw outputs ``(batch, classes)``; differentiable with respect to the inputs.

        A module that fails on them, or returns something else, ends in a :class:`NetworkError`.
        """
        has_values = self.device is None or self.device.type != "meta"
        require_images(inputs, "inputs", self.dtype, self.device if has_values else None)
        self.class_count(inputs)
        return self._prepared.run(inputs)

    def explaining(self, output: Output) -> "Network":
        """Returns the same network with another output explained; parameters and graph are shared."""
        require_choice(output, "output", get_args(Output))
        other = copy.copy(self)
        other.output = output
        return other

    @property
    def module(self) -> nn.Module:
        """The frozen copy of the caller's module, over the same parameters."""
        return self._prepared.module

    @property
    def dtype(self) -> torch.dtype | None:
        """Of the first parameter, or what a module known by its outputs takes; nothing where there is none."""
        return self._prepared.dtype

    @property
    def device(self) -> torch.device | None:
        """Of the first parameter; nothing where there is none."""
        return self._prepared.device

    @property
    def link(self) -> Link:
        """What makes probabilities of the raw outputs; softmax as long as nothing else was told or found out."""
        return self._prepared.link or "softmax"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every call of the forward pass, in its order; empty where the module does not trace.

        Shapes are those for inputs of the size that the network has met last.
        """
        return tuple(self._prepared.form.layers.values())

    def lattices(self) -> Mapping[str, Lattice]:
        """Returns where the units of each layer lie in the image, by the layer's name; ``input`` is the image.

        Layers without such places are not there. Measured once for each size of images, by a forward pass and a
        backward pass for each stride.
        """
        return {name: one.lattice for name, one in self._prepared.placements().items()}

    def placements(self) -> Mapping[str, Placement]:
        """Returns the same with which values of a layer they are: channels first or last, or tokens behind others."""
        return self._prepared.placements()

    @property
    def graph(self) -> fx.GraphModule | None:
        """The graph without in-place operations, or nothing where the module does not trace."""
        return self._prepared.form.graph

    @property
    def nodes(self) -> MappingProxyType[str, fx.Node]:
        """The graph's node of each layer, by the layer's name."""
        return self._prepared.form.nodes

    @property
    def layers_by_node(self) -> MappingProxyType[fx.Node, Layer]:
        """The layer that each node of the graph is, in forward order, where it is one."""
        return self._prepared.form.layers

    @property
    def head(self) -> LinearHead | None:
        """The linear layer that the output is made of, score by score, where there is one."""
        return self._prepared.form.head

    @property
    def n_classes(self) -> int | None:
        """The number of classes, known once the network has run or where it ends in a linear layer."""
        known = self._prepared.form.n_classes
        return len(self.head.scores.weight) if known is None and self.head is not None else known

    @property
    def n_parameters(self) -> int:
        """How many weights it has."""
        if isinstance(self.module, OutputsOnly):
            return self.module.n_parameters
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def n_bytes(self) -> int:
        """What its parameters and buffers take in memory."""
        if isinstance(self.module, OutputsOnly):
            return self.module.n_bytes
        return sum(tensor.nbytes for tensor in [*self.module.parameters(), *self.module.buffers()])

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of the images that the network has met last, without the batch."""
        return self._prepared.form.shape

    @property
    def no_gradients(self) -> str | None:
        """Why there are no gradients to explain with, where the measures say so."""
        return self._prepared.no_gradients

    def report(self) -> reports.Report:
        """Returns the pre-flight check: what was found."""
        form, checks = self._prepared.form, self._prepared.checks or ()
        return reports.Report(
            traced=form.graph is not None,
            reason=form.reason,
            in_place=form.in_place,
            reused=reports.reused_modules(form.layers),
            functional=reports.functional_activations(form.layers),
            linear_head=reports.head_size(form.head, form.layers),
            n_classes=self.n_classes,
            layers=self.layers,
            link=self._prepared.link,
            checks=checks,
            warnings=reports.warnings_of(self._prepared.copied, checks, form.reason),
        )

    def examples(self) -> torch.Tensor:
        """Returns the images ``(3, channels, height, width)`` that it was measured on last."""
        return self._prepared.examples()

    def require_images(self, inputs: torch.Tensor, name: str = "inputs") -> torch.Tensor:
        """Returns the inputs, detached; :class:`InvalidInput` where they do not fit the network."""
        require_images(inputs, name, self.dtype, self.device)
        return inputs.detach()

    def class_count(self, inputs: torch.Tensor) -> int:
        """Returns the number of classes; meets inputs of a size that it does not know by running probes of it."""
        count = self._prepared.meet(tuple(inputs.shape[1:]), inputs.dtype, inputs.device).n_classes
        assert count is not None  # noqa: S101 - it has run
        return count

    def require_gradients(self, inputs: torch.Tensor) -> int:
        """Returns the number of classes of a network whose gradients are derivatives of its outputs.

        Raises:
            NetworkError: They are not, or do not reach the image.
        """
        count = self.class_count(inputs)
        if self.no_gradients is not None:
            raise NetworkError(f"no gradients to explain with: {self.no_gradients}")
        return count


def require_network(given: object) -> Network:
    """Returns a network.

    Raises:
        InvalidInput: It is something else, such as the module itself.
    """
    if not isinstance(given, Network):
        wrap = ": wrap it once, attribution.Network(module)" if isinstance(given, nn.Module) else ""
        raise InvalidInput(f"network is a {type(given).__name__}, expected an attribution.Network{wrap}")
    return given
