"""Outputs of an image whose windows are hidden one at a time, by computing again only what a window changes.

A window changes a box of each layer's output: its own, grown by each kernel and divided by each stride. Of local
operations (:mod:`attribution.perturbation.locality`) the box alone is computed, from what was kept of the unchanged
image around it; boxes that stick out are shifted inside, and of windows that run together all have the size of the
largest. From where a box fills most of a map, and behind anything that is not local, whole tensors are computed.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import reduce
from typing import Any

import torch
from torch import fx

from attribution.networks.graph import tensor_nodes
from attribution.passes.gradients import laid_out
from attribution.perturbation.boxes import Box, Boxed, crops, paste, whole
from attribution.perturbation.locality import Local, local_operations
from attribution.perturbation.windows import Spans, Windows

_MOST = 0.8
"""Of a map: boxes that fill more of it are not worth their copies."""

State = Boxed | torch.Tensor
Known = dict[tuple[int, int, torch.Size], Box | None]


class Plan:
    """What windows change of a graph's tensors, for all images of one size.

    Args:
        graph_module: The graph.
        windows: Over the image.
        image: One of the images, ``(1, channels, height, width)``.
        layers: Nodes whose values are wanted beside the output.
        is_local: Whether boxes are looked for; whole tensors everywhere otherwise.

    Cost:
        One forward pass.
    """

    def __init__(
        self,
        graph_module: fx.GraphModule,
        windows: Windows,
        image: torch.Tensor,
        layers: Collection[fx.Node] = (),
        *,
        is_local: bool = True,
    ) -> None:
        """Finds the local operations, and what each row and column of windows changes of them."""
        self.graph, self.windows, self.layers = graph_module.graph, windows, frozenset(layers)
        self.tensors = tensor_nodes(graph_module)
        self._runner = fx.Interpreter(graph_module)
        values = self.values_of(image)
        self.local: dict[fx.Node, Local] = local_operations(graph_module, values, self.call) if is_local else {}
        shapes = {node: values[node].shape for node in self.tensors if isinstance(values[node], torch.Tensor)}
        self.spans = self._changed(shapes) if is_local else {}
        self.last_reads = _last_reads(self.graph, self.layers)
        self._shapes, self._item = shapes, image.element_size()

    def call(self, node: fx.Node, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 - of any operation
        """Returns what a node gives for its positional and named arguments."""
        return getattr(self._runner, node.op)(node.target, args, kwargs)

    def values_of(self, image: torch.Tensor) -> dict[fx.Node, Any]:
        """Returns what each node gives for an image."""
        found: dict[fx.Node, Any] = {}
        for node in self.graph.nodes:
            if node.op == "placeholder":
                found[node] = laid_out(image)
            elif node.op != "output":
                found[node] = self.call(node, *fx.node.map_arg((node.args, node.kwargs), found.__getitem__))
        return found

    def _changed(self, shapes: Mapping[fx.Node, torch.Size]) -> dict[fx.Node, tuple[Spans, Spans]]:
        found: dict[fx.Node, tuple[Spans, Spans]] = {}
        for node in self.graph.nodes:
            local = self.local.get(node)
            if node.op == "placeholder":
                found[node] = (self.windows.vertical, self.windows.horizontal)
            elif local is not None and all(source in found for source in local.sources):
                down, across = (
                    reduce(_both, [reach.changed(found[of][axis], shapes[node][2 + axis]) for of in local.sources])
                    for axis, reach in enumerate(local.reach)
                )
                found[node] = (down, across)
        return found

    def box(self, node: fx.Node, numbers: torch.Tensor, known: Known) -> Box | None:
        """Returns the box of a node's units that windows change, or nothing where it fills most of the map.

        Args:
            node: The node.
            numbers: Of the windows.
            known: Boxes of these windows that were asked for before; many nodes have the same.
        """
        if node not in self.spans:
            return None
        key = (id(self.spans[node][0]), id(self.spans[node][1]), self._shapes[node][2:])
        if key not in known:
            known[key] = self._box(node, numbers)
        return known[key]

    def _box(self, node: fx.Node, numbers: torch.Tensor) -> Box | None:
        columns, (height, width) = self.windows.grid[1], self._shapes[node][2:]
        down, across = self.spans[node]
        down, across = down.rows(numbers // columns), across.rows(numbers % columns)
        size = (int((down.stop - down.start).max()), int((across.stop - across.start).max()))
        if size[0] * size[1] > _MOST * height * width:
            return None
        return Box(down.start.clamp(max=height - size[0]), across.start.clamp(max=width - size[1]), size)

    def order(self, together: int) -> torch.Tensor:
        """Returns the numbers of all windows, so many of which run together, those beside each other that change alike.

        Windows at a border change less than others: rows and columns go by how much they change in all, in tiles.
        """
        side = max(1, math.isqrt(together))
        rows, columns = (torch.split(self._by_size(axis), side) for axis in (0, 1))
        tiles = [down.unsqueeze(1) * self.windows.grid[1] + across for down in rows for across in columns]
        return torch.cat([tile.flatten() for tile in tiles])

    def _by_size(self, axis: int) -> torch.Tensor:
        """Returns the rows or columns of windows by the share of all maps that they change."""
        sizes = [(own[axis].stop - own[axis].start) / self._shapes[node][2 + axis] for node, own in self.spans.items()]
        if not sizes:
            return torch.arange(self.windows.grid[axis])
        return torch.stack(sizes).sum(0).argsort(stable=True)

    def bytes_of_a_window(self) -> int:
        """Returns what a window's tensors take in memory, at most."""
        every, values, boxed, known = torch.arange(self.windows.total), 0, set[fx.Node](), Known()
        for node, shape in self._shapes.items():
            box = self.box(node, every, known) if all(of in boxed for of in self.sources(node)) else None
            if box is not None:
                boxed.add(node)
            # A box is computed from a copy of what it sees.
            values += shape.numel() if box is None else 2 * shape[1] * box.size[0] * box.size[1]
        return values * self._item

    def sources(self, node: fx.Node) -> tuple[fx.Node, ...]:
        """Returns the nodes whose boxes a local operation takes; none of any other."""
        return self.local[node].sources if node in self.local else ()


class Unchanged:
    """An image, and all that is kept of it to compute only what windows change.

    Args:
        plan: Of its size.
        image: ``(1, channels, height, width)``.

    Attributes:
        output: The graph's, ``(1, classes)``.
        layers: Values of the plan's layers.

    Cost:
        One forward pass; memory for what it computes as far as boxes are of it.
    """

    def __init__(self, plan: Plan, image: torch.Tensor) -> None:
        """Runs the image."""
        values = plan.values_of(image)
        self._plan = plan
        self._kept: dict[fx.Node, torch.Tensor] = {node: values[node] for node in plan.spans}
        self._image = laid_out(image)
        self.output: torch.Tensor = values[plan.graph.output_node().all_input_nodes[0]]
        self.layers = {node: values[node] for node in plan.layers}
        self._around: dict[tuple[object, ...], torch.Tensor] = {}

    def run(self, numbers: torch.Tensor, fill: torch.Tensor) -> tuple[torch.Tensor, dict[fx.Node, State]]:
        """Returns the outputs ``(n, classes)`` with each of some windows hidden, and the values of the layers.

        Args:
            numbers: Of windows, ``(n,)``.
            fill: What takes the place of their pixels, ``(channels, height, width)``.
        """
        plan = self._plan
        states: dict[fx.Node, State] = {}
        plain: dict[fx.Node, Any] = {}
        known = Known()
        for node in plan.graph.nodes:
            if node.op == "output":
                break
            box = (
                plan.box(node, numbers, known)
                if all(isinstance(states[of], Boxed) for of in plan.sources(node))
                else None
            )
            if node.op == "placeholder":
                states[node] = self._hidden(numbers, fill, box)
            elif box is not None:
                states[node] = Boxed(self._computed(node, box, states), box)
            else:
                of = self._reading(node in plan.tensors, states, plain, len(numbers))
                found = plan.call(node, *fx.node.map_arg((node.args, node.kwargs), of))
                (states if node in plan.tensors else plain)[node] = found
            for read in plan.last_reads.get(node, ()):
                states.pop(read, None)
        output = plan.graph.output_node().all_input_nodes[0]
        return self._whole(output, states), {node: states[node] for node in plan.layers}

    def _hidden(self, numbers: torch.Tensor, fill: torch.Tensor, box: Box | None) -> State:
        mask = self._plan.windows.hidden(numbers).to(self._image.device)
        if box is None:
            return laid_out(torch.where(mask, fill, self._image))
        kept, filled = (crops(of.permute(1, 2, 0).contiguous(), box) for of in (self._image[0], fill))
        inside = _boxes_of(mask, box)
        return Boxed(torch.where(inside, filled, kept), box)

    def _reading(
        self, is_tensor: bool, states: dict[fx.Node, State], plain: dict[fx.Node, Any], n: int
    ) -> Callable[[fx.Node], Any]:
        """Returns what an operation on whole tensors reads; one that asks for sizes alone needs no values."""

        def read(node: fx.Node) -> Any:  # noqa: ANN401 - of any operation
            if node in plain:
                return plain[node]
            if not is_tensor and isinstance(states[node], Boxed):
                return self._kept[node].expand(n, *self._kept[node].shape[1:])
            return self._whole(node, states)

        return read

    def _whole(self, node: fx.Node, states: dict[fx.Node, State]) -> Any:  # noqa: ANN401 - tuples as well
        state = states[node]
        return whole(state, self._kept[node]) if isinstance(state, Boxed) else state

    def _computed(self, node: fx.Node, box: Box, states: Mapping[fx.Node, State]) -> torch.Tensor:
        local = self._plan.local[node]
        patches = [self._patch(of, local, box, states[of], self._kept[node].shape) for of in local.sources]
        found = local.run(patches)
        if local.scale is not None:
            found = found * crops(local.scale[0].permute(1, 2, 0).contiguous(), box)
        return found

    def _patch(self, node: fx.Node, local: Local, box: Box, state: State, shape: torch.Size) -> torch.Tensor:
        """Returns what the units of a box see of a source."""
        assert isinstance(state, Boxed)  # noqa: S101 - whole ones make the operation whole
        (top, height), (left, width) = (
            reach.seen(start, size)
            for reach, start, size in zip(local.reach, (box.top, box.left), box.size, strict=True)
        )
        seen = Box(top, left, (height, width))
        if seen.is_at(state.at):
            return state.values
        # Around the map lie as many edges as its outermost units see.
        around = [
            (reach.before, max(0, (units - 1) * reach.stride + reach.width - reach.before - side))
            for reach, units, side in zip(local.reach, shape[2:], self._kept[node].shape[2:], strict=True)
        ]
        (above, below), (before, behind) = around
        patches = crops(self._surrounded(node, (above, below, before, behind), local.edge), seen.moved(above, before))
        paste(patches, seen, state)
        return patches

    def _surrounded(self, node: fx.Node, around: tuple[int, int, int, int], edge: float) -> torch.Tensor:
        """Returns the unchanged values of a node with edges, ``(height, width, channels)``."""
        key = (node, around, edge)
        if key not in self._around:
            above, below, before, behind = around
            inner = self._kept[node][0].permute(1, 2, 0)
            height, width, channels = inner.shape
            found = inner.new_full((above + height + below, before + width + behind, channels), edge)
            found[above : above + height, before : before + width] = inner
            self._around[key] = found
        return self._around[key]


def _boxes_of(mask: torch.Tensor, box: Box) -> torch.Tensor:
    """Returns what each row of a mask ``(n, 1, height, width)`` has in its own box."""
    rows = (box.top.unsqueeze(1) + torch.arange(box.size[0])).to(mask.device)
    columns = (box.left.unsqueeze(1) + torch.arange(box.size[1])).to(mask.device)
    numbers = torch.arange(len(mask), device=mask.device).view(-1, 1, 1)
    return mask[:, 0][numbers, rows.unsqueeze(2), columns.unsqueeze(1)].unsqueeze(1)


def _both(one: Spans, other: Spans) -> Spans:
    """Returns the spans that hold those of two."""
    return Spans(torch.minimum(one.start, other.start), torch.maximum(one.stop, other.stop))


def _last_reads(graph: fx.Graph, kept: Collection[fx.Node]) -> dict[fx.Node, list[fx.Node]]:
    """Returns at each node the values that nobody reads after it."""
    seen, found = {*kept, graph.output_node(), *graph.output_node().all_input_nodes}, dict[fx.Node, list[fx.Node]]()
    for node in reversed(graph.nodes):
        fresh: Iterable[fx.Node] = [of for of in (node, *node.all_input_nodes) if of not in seen]
        found[node] = list(dict.fromkeys(fresh))
        seen.update(found[node])
    return found
