"""Passes of images whose windows are hidden: by boxes where a network allows that, whole everywhere else."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import fx

from attribution.errors import OutOfMemory
from attribution.memory import fitted_chunk, is_out_of_memory
from attribution.networks.agreement import agreement
from attribution.networks.network import Network
from attribution.passes.gradients import default_chunk, laid_out
from attribution.perturbation.boxes import Boxed, whole
from attribution.perturbation.recomputation import Plan, State, Unchanged
from attribution.perturbation.windows import Windows


class Hidden(NamedTuple):
    """What comes of an image as windows are hidden: explained outputs, and the values of layers.

    Attributes:
        outputs: ``(n, classes)``, in the network's unit.
        states: Of each layer, whole or as boxes.
        unchanged: The same of the image as it is, ``(1, ...)``.
    """

    outputs: torch.Tensor
    states: dict[str, State]
    unchanged: dict[str, torch.Tensor]

    def channel(self, layer: str, number: int) -> torch.Tensor:
        """Returns a channel of a layer for each window, ``(n, ...)``."""
        state, before = self.states[layer], self.unchanged[layer][:, number : number + 1]
        if isinstance(state, Boxed):
            return whole(Boxed(state.values[:, number : number + 1], state.at), before)[:, 0]
        return state[:, number]


class WindowPasses:
    """Passes of one image after another, each with windows hidden.

    What boxes give is held against whole passes of two windows of each image; where it differs by more than rounding,
    and for a network without a graph, all passes are whole.

    Args:
        network: To run.
        windows: Over its images.
        layers: By name, whose values are wanted as well; they need the graph.
    """

    def __init__(self, network: Network, windows: Windows, layers: Sequence[str] = ()) -> None:
        """Starts without an image."""
        self.network, self.windows = network, windows
        self._layers: dict[str, fx.Node] = {name: network.nodes[name] for name in layers}
        self._plan: Plan | None = None
        self._image: torch.Tensor
        self._unchanged: Unchanged | None = None

    @property
    def is_local(self) -> bool:
        """Whether boxes are computed."""
        return self._plan is not None and bool(self._plan.local)

    def take(self, image: torch.Tensor, fill: torch.Tensor) -> Hidden:
        """Goes over to an image.

        Args:
            image: Of the windows' size, ``(1, channels, height, width)``.
            fill: What will be put into windows first, ``(channels, height, width)``.

        Returns:
            What comes of it with nothing hidden.

        Raises:
            OutOfMemory: A single pass does not fit.
        """  # noqa: DOC501 - other failures go on as they are
        self._image, self._unchanged = image, None
        try:
            return self._take(image, fill)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        raise OutOfMemory(
            "what the network computes of one image does not fit into memory; use smaller images, or another device"
        )

    def _take(self, image: torch.Tensor, fill: torch.Tensor) -> Hidden:
        graph = self.network.graph
        if graph is None:
            return Hidden(self.network(image), {}, {})
        if self._plan is None:
            self._plan = Plan(graph, self.windows, image, self._layers.values())
        self._unchanged = Unchanged(self._plan, image)
        if self.is_local and not self._agrees(fill):
            self._plan = Plan(graph, self.windows, image, self._layers.values(), is_local=False)
            self._unchanged = Unchanged(self._plan, image)
        before = {name: self._unchanged.layers[node] for name, node in self._layers.items()}
        return Hidden(self.network.explained(self._unchanged.output), dict(before), before)

    def _agrees(self, fill: torch.Tensor) -> bool:
        """Returns whether boxes give what whole passes give, at the first window and one in the middle."""
        assert self._unchanged is not None  # noqa: S101 - it was taken just now
        two = torch.tensor([0, self.windows.total // 2])
        found, _ = self._unchanged.run(two, fill)
        figure, bound = agreement(found, self.network.logits(self._filled(two, fill)))
        return figure <= bound

    def _filled(self, numbers: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
        hidden = self.windows.hidden(numbers).to(self._image.device)
        return laid_out(torch.where(hidden, fill, self._image))

    def run(self, numbers: torch.Tensor, fill: torch.Tensor) -> Hidden:
        """Returns what comes of the image with each of some windows hidden.

        Args:
            numbers: Of windows, ``(n,)``.
            fill: What takes the place of their pixels, ``(channels, height, width)``.
        """
        if self._unchanged is None:
            return Hidden(self.network(self._filled(numbers, fill)), {}, {})
        logits, states = self._unchanged.run(numbers, fill)
        before = {name: self._unchanged.layers[node] for name, node in self._layers.items()}
        own = {name: states[node] for name, node in self._layers.items()}
        return Hidden(self.network.explained(logits), own, before)

    def fitting(self) -> int:
        """Returns how many windows of the image to run together."""
        if self._plan is None or not self.is_local:
            return default_chunk(self.network, self._image)
        return fitted_chunk(self._plan.bytes_of_a_window(), self._image.device)

    def order(self, together: int) -> torch.Tensor:
        """Returns the numbers of all windows in the order in which to run so many together."""
        return torch.arange(self.windows.total) if self._plan is None else self._plan.order(together)
