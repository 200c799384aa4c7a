"""The filters of a network's first convolution: what it looks for in the pixels themselves."""

from typing import NamedTuple

import torch
from torch import fx, nn
from torch.nn import functional

from attribution.errors import NetworkError
from attribution.networks.layers import Layer
from attribution.networks.network import Network, require_network
from attribution.networks.selection import graph_of_layers
from attribution.passes.chunks import Progress

_FUNCTIONS = (torch.conv2d, functional.conv2d)


class FirstLayerFilters(NamedTuple):
    """The weights that meet the image.

    Attributes:
        filters: ``(n, channels, height, width)``, one a feature map of the layer, in its units by normalised inputs.
        norms: float64 ``(n,)``, the root of the sum of the squares of each filter.
        layer: The name of the layer.
        stride: Pixels from one place of the filters to the next, down and across.
    """

    filters: torch.Tensor
    norms: torch.Tensor
    layer: str
    stride: tuple[int, int]


def first_layer_filters(network: Network, *, progress: Progress | None = None) -> FirstLayerFilters:
    r"""Returns the filters of the first convolution of the forward pass.

    A unit of its feature map :math:`k` answers to a patch :math:`x` of the image by how far it looks like the filter:

    .. math:: a_k = \langle w_k, x \rangle + b_k.

    So the filter itself is, up to its length, the patch that excites the unit most; of no later layer is that so. Of a
    transformer these are the filters that make its patches.

    Args:
        network: What to look into; with a graph.
        progress: Called once, with 1 and 1; may raise to cancel.

    Returns:
        The filters, as they are in the network: its normalisation is not in them.

    Raises:
        InvalidInput: ``network`` is none.
        NetworkError: The network has no graph, no convolution over an image, or filters that are not finite.

    Cost:
        No pass; a copy of the weights.

    Guarantee:
        Exact: the network's own weights. What they are for they do not say.

    Source:
        Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", figure 3; Zeiler &
        Fergus 2014, "Visualizing and Understanding Convolutional Networks", figure 5.

    >>> edge = nn.Conv2d(1, 1, (1, 2), bias=False)
    >>> _ = edge.weight.data.copy_(torch.tensor([[[[-3.0, 4.0]]]]))
    >>> found = first_layer_filters(Network(nn.Sequential(edge, nn.Flatten()), (1, 2, 2)))
    >>> found.layer, found.filters.tolist(), found.norms.tolist(), found.stride
    ('0', [[[[-3.0, 4.0]]]], [5.0], (1, 1))
    """  # noqa: DOC502 - the checks that it calls raise them
    graph = graph_of_layers(require_network(network))
    for node, layer in network.layers_by_node.items():
        found = _filters(graph, node, layer)
        if found is not None:
            break
    else:
        raise NetworkError("no convolution over an image: the network has no filters to show")
    if not bool(found.filters.isfinite().all()):
        raise NetworkError(f"the filters of {found.layer} are not finite: check the weights")
    if progress is not None:
        progress(1, 1)
    return found


def _filters(graph: fx.GraphModule, node: fx.Node, layer: Layer) -> FirstLayerFilters | None:
    """Returns those of a node of the graph, where it is a convolution over an image by weights of its own."""
    weight, stride = None, (1, 1)
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        if isinstance(module, nn.Conv2d):
            weight, stride = module.weight, (int(module.stride[0]), int(module.stride[1]))
    elif node.op == "call_function" and node.target in _FUNCTIONS:
        weight, stride = (
            _own_weight(graph, node),
            _pair(node.args[3] if len(node.args) > 3 else node.kwargs.get("stride", 1)),
        )
    if weight is None:
        return None
    filters = weight.detach().clone()
    return FirstLayerFilters(filters, filters.double().flatten(1).norm(dim=1), layer.name, stride)


def _own_weight(graph: fx.GraphModule, node: fx.Node) -> torch.Tensor | None:
    """Returns the weight of a function, where it is a tensor of the network and not computed."""
    source = node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")
    if not isinstance(source, fx.Node) or source.op != "get_attr":
        return None
    owner, _, name = str(source.target).rpartition(".")
    found = getattr(graph.get_submodule(owner), name)
    return found if isinstance(found, torch.Tensor) else None


def _pair(stride: object) -> tuple[int, int]:
    """Returns the stride of a function, down and across."""
    if isinstance(stride, int):
        return stride, stride
    assert isinstance(stride, tuple | list)  # noqa: S101 - torch takes nothing else
    return int(stride[0]), int(stride[-1])
