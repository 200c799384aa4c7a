"""Where the units of each layer lie in the image: by the graph, and held against gradients before it is believed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any, NamedTuple

import torch
from torch import fx

from attribution.networks.graph import tensor_nodes
from attribution.networks.grids import Grid, Pair, grid_behind, image_grid, step_of
from attribution.networks.tokens import Tokens, merged_grid, tokens_behind, unmerged_grid

_SHARE = 0.5
"""Of the gradient's squares, which must lie inside of the window that a unit is said to see."""


class Lattice(NamedTuple):
    """Where the units of a layer lie in the image, rows first, in pixels from its upper left corner.

    The unit in row ``i`` has its middle ``start[0] + i stride[0]`` below the upper edge; that of the first pixel is at
    0.5. ``receptive_field`` is the size of the window that the unit sees, padding included. It may begin outside of
    the image.
    """

    start: Pair
    stride: Pair
    receptive_field: Pair


IMAGE = Lattice((0.5, 0.5), (1.0, 1.0), (1.0, 1.0))
"""Of the image itself."""


def shared_out(units: Sequence[int], sides: Sequence[int]) -> Lattice:
    """Returns where units lie that share an image out evenly: as well as can be said where nothing is known.

    >>> shared_out((2, 4), (8, 8))[:2]
    ((2.0, 1.0), (4.0, 2.0))
    """
    down, across = (side / count for count, side in zip(units, sides, strict=True))
    return Lattice((down / 2, across / 2), (down, across), (down, across))


class Placement(NamedTuple):
    """Which values of a layer lie where in the image.

    Attributes:
        axes: Of the layer's tensor, with its batch: rows and columns, or the one axis of tokens, row by row.
        sizes: How many rows and columns there are.
        first: Tokens in front of the patches, as a class token; they have no place.
        lattice: Where the units lie in the image.
        is_read: Whether the outputs change with the values that have a place at all.
    """

    axes: tuple[int, ...]
    sizes: tuple[int, int]
    first: int
    lattice: Lattice
    is_read: bool = True

    def maps(self, values: torch.Tensor) -> torch.Tensor:
        """Returns a layer's values ``(n, ...)`` as ``(n, channels, rows, columns)``, without those that have no place.

        >>> tokens = Placement((1,), (1, 2), 1, Lattice((0.5, 0.5), (1, 1), (1, 1)))
        >>> tokens.maps(torch.tensor([[[9.0], [1.0], [2.0]]])).tolist()
        [[[[1.0, 2.0]]]]
        """
        if len(self.axes) == 2:
            return values.movedim(self.axes, (2, 3))
        patches = values.narrow(self.axes[0], self.first, self.sizes[0] * self.sizes[1])
        patches = patches.movedim(self.axes[0], 2)
        return patches.reshape(*patches.shape[:2], *self.sizes)


def placements_of(
    graph_module: fx.GraphModule, nodes: Mapping[str, fx.Node], image: torch.Tensor
) -> dict[str, Placement]:
    """Returns the placement of each layer that has one, by name.

    It is computed along the graph from kernels, strides, padding, dilation and resizes; where branches meet, the wider
    window counts. Tokens that are patches keep their place through attention, behind which they see all of the image.
    Each is then measured: of a unit's gradient, most must lie where the unit is said to look. A layer whose units have
    no fixed place (what was flattened), or that fails, has none.

    Args:
        graph_module: The graph.
        nodes: Its node of each layer.
        image: One image ``(1, channels, height, width)``.

    Cost:
        One forward pass, and a backward pass for each stride.
    """
    with torch.inference_mode(False), torch.enable_grad():
        image = image.clone().requires_grad_()
        run = Keeping(graph_module)
        outputs = run.run(image)
        found = _measured(nodes, image, run.kept, _placed(graph_module, image, run, nodes))
        return _with_readers(found, outputs, {name: run.kept[nodes[name]] for name in found})


class Keeping(fx.Interpreter):
    """Runs a graph and keeps its tensors, and the numbers that it computes of sizes."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        """Keeps nothing yet."""
        super().__init__(graph_module, garbage_collect_values=False)
        self.kept: dict[fx.Node, torch.Tensor] = {}
        self.numbers: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 - torch.fx's signature
        """Returns what one operation gives."""
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            # A view of its own: what an identity returns is the tensor that a shortcut reads as well.
            self.kept[n] = result = result.view_as(result) if n.op.startswith("call_") else result
        elif isinstance(result, int | float | torch.Size):
            self.numbers[n] = result
        return result


def _placed(
    graph_module: fx.GraphModule, image: torch.Tensor, run: Keeping, nodes: Mapping[str, fx.Node]
) -> dict[str, Placement]:
    """Returns where the graph says that the layers' units lie."""
    grids, tokens = grids_of(graph_module, image, run)
    found: dict[str, Placement] = {}
    for name, node in nodes.items():
        if node in grids and grids[node].axes in ((2, 3), (1, 2)) and run.kept[node].dim() == 4:
            found[name] = Placement(grids[node].axes, grids[node].sizes, 0, Lattice(*grids[node][2:]))
        elif node in tokens and tokens[node].axis in (1, 2) and run.kept[node].dim() == 3:
            axis, _, first, grid, sees_all = tokens[node]
            lattice = Lattice(*grid[2:])
            if sees_all:
                lattice = lattice._replace(receptive_field=(2.0 * image.shape[2], 2.0 * image.shape[3]))
            found[name] = Placement((axis,), grid.sizes, first, lattice)
    return found


def grids_of(
    graph_module: fx.GraphModule, image: torch.Tensor, run: Keeping
) -> tuple[dict[fx.Node, Grid], dict[fx.Node, Tokens]]:
    """Returns where the units of each tensor lie that has rows and columns, and of each that has them as tokens."""
    shapes = {node: tuple(tensor.shape) for node, tensor in run.kept.items()}
    modules, of_image = dict(graph_module.named_modules()), tensor_nodes(graph_module)
    grids: dict[fx.Node, Grid] = {}
    tokens: dict[fx.Node, Tokens] = {}
    for node, name in of_image.items():
        if node.op == "placeholder":
            grids[node] = image_grid(image.shape)
            continue
        step = step_of(node, name, modules, shapes, run.numbers)
        sources = [argument for argument in node.all_input_nodes if argument in of_image]
        placed = [source for source in sources if source in grids]
        if placed and not any(source in tokens for source in sources):
            unplaced = [shapes[source] for source in sources if source not in grids and source in shapes]
            if (grid := grid_behind(step, [grids[source] for source in placed], unplaced)) is not None:
                grids[node] = grid
            elif (merged := merged_grid(step, grids[placed[0]], shapes[placed[0]])) is not None:
                tokens[node] = merged
        elif (found := tokens_behind(step, sources, tokens)) is not None:
            tokens[node] = found
        elif sources and sources[0] in tokens and (parted := unmerged_grid(step, tokens[sources[0]])) is not None:
            grids[node] = parted
    return grids, tokens


def _measured(
    nodes: Mapping[str, fx.Node],
    image: torch.Tensor,
    kept: Mapping[fx.Node, torch.Tensor],
    found: dict[str, Placement],
) -> dict[str, Placement]:
    """Returns the placements that gradients agree with: of layers whose units lie alike, the last speaks for all."""
    alike: defaultdict[tuple[Pair, Pair], list[str]] = defaultdict(list)
    for name, placement in found.items():
        # Of a unit that sees all of the image, its gradient tells nothing.
        if placement.lattice.receptive_field[0] < 2.0 * image.shape[2] or len(placement.axes) == 2:
            alike[placement.lattice.start, placement.lattice.stride].append(name)
    for names in alike.values():
        while names and not _agrees(found[names[-1]].maps(kept[nodes[names[-1]]]), found[names[-1]].lattice, image):
            del found[names.pop()]
    return found


def _with_readers(
    found: dict[str, Placement], outputs: torch.Tensor, values: Mapping[str, torch.Tensor]
) -> dict[str, Placement]:
    """Returns the placements of tokens with what is known of whether anybody reads those that have a place."""
    asked = {name: values[name] for name, one in found.items() if len(one.axes) == 1 and values[name].requires_grad}
    if not asked or not outputs.requires_grad:
        return found
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64).to(outputs)
    gradients = torch.autograd.grad((outputs * weights).sum(), list(asked.values()), materialize_grads=True)
    are_read = [bool(found[name].maps(one).any()) for name, one in zip(asked, gradients, strict=True)]
    # Of a network whose outputs do not change at all, as with a head of zeros, nothing is known.
    return found | {
        name: found[name]._replace(is_read=is_read or not any(are_read))
        for name, is_read in zip(asked, are_read, strict=True)
    }


def _agrees(values: torch.Tensor, lattice: Lattice, image: torch.Tensor) -> bool:
    """Returns whether a unit looks where the lattice says; one far from the middle and from its own mirror images."""
    row, column = values.shape[2] // 4, 3 * values.shape[3] // 4
    unit = values[0, :, row, column].sum()
    if not unit.requires_grad:
        return False
    [gradient] = torch.autograd.grad(unit, image, retain_graph=True, allow_unused=True)
    if gradient is None:
        return False
    energy = gradient[0].double().square().sum(0)
    inside = energy[_window(lattice, 0, row, energy), _window(lattice, 1, column, energy)]
    # Of a unit that is silent nothing is known, and what the graph says stands.
    return float(inside.sum()) >= _SHARE * float(energy.sum())


def _window(lattice: Lattice, axis: int, place: int, energy: torch.Tensor) -> slice:
    """Returns the pixels that a unit sees along an axis."""
    middle, half = lattice.start[axis] + place * lattice.stride[axis], lattice.receptive_field[axis] / 2
    return slice(max(0, floor(middle - half)), max(0, min(energy.shape[axis], ceil(middle + half))))
