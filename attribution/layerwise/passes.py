"""One forward and k backward passes that hand on the values and gradients of many layers, a layer at a time."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from attribution.networks.layers import Layer, has_rows
from attribution.networks.network import Network
from attribution.networks.selection import graph_of_layers, layer_node
from attribution.passes.gradients import laid_out
from attribution.targets import Targets

#: Called with a layer's name, the number of the class among the k, and the layer's values and gradients ``(n, ...)``.
Receive = Callable[[str, int, torch.Tensor, torch.Tensor], None]


class LayerPass(fx.Interpreter):
    """Runs a graph and keeps what chosen layers give, where it has a row for each point.

    Args:
        network: One with a graph, and whose layers have shapes.
        layers: The layers to keep, by name.

    After ``run(points)`` they are in ``values``, detached. ``on_value`` may take the place of a value, and is where
    hooks are put on it.
    """

    def __init__(
        self,
        network: Network,
        layers: Mapping[str, Layer],
        on_value: Callable[[str, torch.Tensor], torch.Tensor] = lambda _, value: value,
    ) -> None:
        """Prepares a pass."""
        super().__init__(graph_of_layers(network))
        self._layers = {layer_node(network, name): (name, layer.shape) for name, layer in layers.items()}
        self._on_value = on_value
        self._n_points = 0
        self.values: dict[str, torch.Tensor] = {}

    def run(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - torch.fx's signature
        """Returns the logits at points ``(n, *features)``."""
        self._n_points = len(args[0])
        return super().run(*args, **kwargs)

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 - torch.fx's signature
        """Returns what one operation gives."""
        result = super().run_node(n)
        if n in self._layers:
            name, shape = self._layers[n]
            if has_rows(result, self._n_points, shape):
                # A view of its own: what an identity returns is the tensor that a shortcut reads as well.
                result = self._on_value(name, result.view_as(result))
                self.values[name] = result.detach()
        return result


def layer_gradients(
    network: Network, points: torch.Tensor, target: Targets, layers: Mapping[str, Layer], receive: Receive
) -> tuple[torch.Tensor, dict[str, torch.Size]]:
    """Runs points ``(n, *features)`` forward once and backward for each of the k targets.

    ``receive`` is called during the backward passes, as soon as a layer's gradient is there, which is dropped right
    after: the gradients of all layers are never held together.

    Returns:
        The explained outputs ``(n, k)``, and the shape ``(n, ...)`` of each layer's values; layers whose values have
        no row for each point are missing.

    Cost:
        One forward and k backward passes of n points, which end at the first of the layers if all others follow it;
        the memory of a backward pass.
    """
    hooks = GradientHooks(receive, target.k)
    starts = [laid_out(points.detach())]

    def on_value(name: str, value: torch.Tensor) -> torch.Tensor:
        # Asking the pass itself would tie it to this function, and both would outlive the chunk.
        if not hooks.has_any and layers[name].cuts:
            # Nothing before the first layer needs a gradient, if everything else is behind it.
            starts[0] = value = value.detach().requires_grad_()
        hooks.put(name, value)
        return value

    run = LayerPass(network, layers, on_value)
    with torch.enable_grad():
        values = target.of(network.explained(run.run(starts[0].requires_grad_())))
        shapes = {name: value.shape for name, value in run.values.items()}
        hooks.backward(values, starts[0], run.values)
    return values.detach(), shapes


class GradientHooks:
    """Hooks on the values of layers, which hand on what is known of a layer together with its gradient.

    Args:
        receive: Called with the layer, the number of the class, what is known and the gradient.
        k: Classes.
    """

    def __init__(self, receive: Receive, k: int) -> None:
        """Starts without hooks."""
        self._receive, self._k, self._number = receive, k, 0
        self.has_any = False
        # A hook that knew the value itself would keep it, and itself, alive for ever.
        self._known: dict[str, torch.Tensor] = {}

    def put(self, name: str, value: torch.Tensor) -> None:
        """Puts a hook on a layer's value, where gradients flow through it."""
        self.has_any = True
        if value.requires_grad:
            value.register_hook(lambda gradient: self._hand_on(name, gradient))  # type: ignore[no-untyped-call]  # torch

    def backward(self, outputs: torch.Tensor, start: torch.Tensor, known: dict[str, torch.Tensor]) -> None:
        """Goes back from each of the outputs ``(n, k)`` to ``start``; empties what is known as it is handed on."""
        self._known = known
        for number in range(self._k):
            self._number = number
            # Rows do not meet in evaluation mode, so the gradient of the sum holds each row's own.
            torch.autograd.grad(outputs[:, number].sum(), start, retain_graph=number < self._k - 1)

    def _hand_on(self, name: str, gradient: torch.Tensor) -> None:
        is_last = self._number == self._k - 1
        known = self._known.pop(name) if is_last else self._known[name]
        self._receive(name, self._number, known, gradient)
