"""Where the units of each layer lie in the image: by the graph, and held against gradients before it is believed."""

from collections import defaultdict
from collections.abc import Mapping
from math import ceil, floor
from typing import Any, NamedTuple

import torch
from torch import fx

from attribution.networks.graph import tensor_nodes
from attribution.networks.grids import Grid, Pair, grid_behind, image_grid, step_of

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


def lattices_of(graph_module: fx.GraphModule, nodes: Mapping[str, fx.Node], image: torch.Tensor) -> dict[str, Lattice]:
    """Returns the lattice of each layer that has one, by name.

    It is computed along the graph from kernels, strides, padding, dilation and resizes; where branches meet, the wider
    window counts. Each is then measured: of a unit's gradient, most must lie where the unit is said to look. A layer
    whose units have no fixed place (attention, what was flattened), or that fails, has none.

    Args:
        graph_module: The graph.
        nodes: Its node of each layer.
        image: One image ``(1, channels, height, width)``.

    Cost:
        One forward pass, and a backward pass for each stride.
    """
    with torch.inference_mode(False), torch.enable_grad():
        image = image.clone().requires_grad_()
        run = _Keeping(graph_module)
        run.run(image)
        return _measured(nodes, image, run.kept, _grids(graph_module, image, run))


class _Keeping(fx.Interpreter):
    """Runs a graph and keeps its tensors, and the numbers that it computes of sizes."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__(graph_module, garbage_collect_values=False)
        self.kept: dict[fx.Node, torch.Tensor] = {}
        self.numbers: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 - torch.fx's signature
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.kept[n] = result
        elif isinstance(result, int | float | torch.Size):
            self.numbers[n] = result
        return result


def _grids(graph_module: fx.GraphModule, image: torch.Tensor, run: _Keeping) -> dict[fx.Node, Grid]:
    shapes = {node: tuple(tensor.shape) for node, tensor in run.kept.items()}
    modules, of_image = dict(graph_module.named_modules()), tensor_nodes(graph_module)
    found: dict[fx.Node, Grid] = {}
    for node, name in of_image.items():
        if node.op == "placeholder":
            found[node] = image_grid(image.shape)
        elif given := [found[argument] for argument in node.all_input_nodes if argument in found]:
            others = [argument for argument in node.all_input_nodes if argument in of_image and argument not in found]
            unplaced = [shapes[argument] for argument in others if argument in shapes]
            grid = grid_behind(step_of(node, name, modules, shapes, run.numbers), given, unplaced)
            if grid is not None:
                found[node] = grid
    return found


def _measured(
    nodes: Mapping[str, fx.Node],
    image: torch.Tensor,
    kept: Mapping[fx.Node, torch.Tensor],
    grids: Mapping[fx.Node, Grid],
) -> dict[str, Lattice]:
    """Returns the lattices that gradients agree with: of layers whose units lie alike, the last speaks for all."""
    found = {
        name: Lattice(*grids[node][2:])
        for name, node in nodes.items()
        if node in grids and grids[node].axes == (2, 3) and kept[node].dim() == 4
    }
    alike: defaultdict[tuple[Pair, Pair], list[str]] = defaultdict(list)
    for name, lattice in found.items():
        alike[lattice.start, lattice.stride].append(name)
    for names in alike.values():
        while names and not _agrees(kept[nodes[names[-1]]], found[names[-1]], image):
            del found[names.pop()]
    return found


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
