"""What a layer answers to the images of a data set: the maps of its channels, or one vector an image."""

from collections.abc import Callable
from functools import reduce
from typing import Literal, get_args

import torch

from attribution.checks import require_choice, require_finite
from attribution.data_sets.batches import Batches, over_batches
from attribution.data_sets.extremes import Extremes, Measure, extremes
from attribution.errors import InvalidOption
from attribution.layerwise.passes import LayerPass
from attribution.layerwise.places import LAST, mapped_layers, maps_of
from attribution.networks.layers import Layer
from attribution.networks.network import Network
from attribution.networks.selection import graph_of_layers
from attribution.passes.chunks import Progress

Form = Literal["mean", "flat"]

#: Called with a layer's values ``(n, channels, rows, columns)``, the logits, and the classes of the images.
Receive = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]


def chosen_layer(network: Network, layer: str) -> Layer:
    """Returns the layer of a name, or the last one with places; of a network that has run.

    Raises:
        InvalidOption: There is no such layer.
        NetworkError: The network has no graph, or no layer with places.
    """  # noqa: DOC502 - the choice of layers raises
    if layer == LAST:
        return next(iter(mapped_layers(network, LAST).values()))
    graph_of_layers(network)
    known = {one.name: one for one in network.layers}
    if layer not in known:
        raise InvalidOption(f"layer is {layer!r}, which is no layer's name here: see network.layers")
    return known[layer]


def over_layer(
    network: Network,
    batches: Batches,
    layer: str,
    receive: Receive,
    *,
    n_images: int | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Hands on a layer's values of all images in order, as maps: those of a layer without places are of one place.

    Args:
        network: One with a graph.
        batches: Images and their classes.
        layer: A layer's name, or ``"last"``, the last layer with places.
        receive: Called for some images at a time.
        n_images: How many there are, for the progress.
        chunk_size: Images at once; fitted to memory unless told.
        progress: Called between chunks with images done and to do; may raise to cancel.

    Raises:
        InvalidInput: There are no batches, or what they hold does not fit the network.
        InvalidOption: There is no such layer, or it has no row for each image, or neither channels nor places.
        NetworkError: The network has no graph, or no layer with places.

    Cost:
        One forward pass an image.
    """  # noqa: DOC502 - the passes that it calls raise

    def work(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        with torch.inference_mode(False), torch.no_grad():
            network.class_count(inputs)  # layers have shapes once it has run
            chosen = chosen_layer(network, layer)
            run = LayerPass(network, {chosen.name: chosen})
            logits = run.run(inputs)
            if chosen.name not in run.values:
                raise InvalidOption(f"layer {chosen.name!r} has no row for each image: choose another")
            receive(as_maps(network, chosen, run.values[chosen.name]), logits, labels)

    over_batches(network, batches, work, n_images=n_images, chunk_size=chunk_size, progress=progress)


def as_maps(network: Network, layer: Layer, values: torch.Tensor) -> torch.Tensor:
    """Returns a layer's values ``(n, ...)`` as ``(n, channels, rows, columns)``.

    Raises:
        InvalidOption: It has neither known places nor channels alone.
    """
    if layer.name in network.placements():
        return maps_of(network, layer.name)(values)
    if values.dim() == 4 and layer.kind in ("conv", "pooling", "activation", "normalisation", "addition"):
        return values
    if values.dim() == 2:
        return values[:, :, None, None]
    raise InvalidOption(
        f"layer {layer.name!r} gives values of shape {tuple(values.shape[1:])} that have no known channels: choose"
        " another"
    )


def layer_extremes(
    network: Network,
    batches: Batches,
    layer: str = LAST,
    *,
    n: int = 9,
    measure: Measure = "maximum",
    start: int = 0,
    n_images: int | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Extremes:
    r"""Finds the images that excite each feature map of a layer most, and least.

    .. math:: \max_{y, x} A_k, \qquad \overline{A_k} \qquad \text{or} \qquad \max_{y, x} |A_k|

    is what an image does to the feature map k, and only the first ``n`` of either end are held.

    Args:
        network: What to look into; with a graph.
        batches: Pairs of normalised images and their classes, in the order of the data set.
        layer: Its name, or ``"last"``, the last layer with places. One without places, as the outputs, has maps of one
            place.
        n: Images on either side, at least 1.
        measure: ``"maximum"``, ``"mean"`` or ``"absolute"``.
        start: Position in the data set of the first image.
        n_images: How many there are, for the progress.
        chunk_size: Images at once; fitted to memory unless told.
        progress: Called between chunks with images done and to do; may raise to cancel.

    Returns:
        The extremes of all channels; those of parts of a data set merge.

    Raises:
        InvalidInput: There are no images, or they do not fit the network.
        InvalidOption: An option out of range, or a layer that is not there.
        NetworkError: The network has no graph, or a map is not finite.

    Cost:
        One forward pass an image; of memory ``6 channels n`` numbers beside it.

    Guarantee:
        Exact, and the same for parts that are merged in any order: of equal images the first by position counts.

    Source:
        Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", figure 2.

    >>> head = [torch.nn.Conv2d(1, 2, 1, bias=False), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    >>> _ = head[0].weight.data.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
    >>> images = torch.tensor([1.0, 4.0, 2.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    >>> found = layer_extremes(Network(torch.nn.Sequential(*head)), [(images, torch.zeros(3).long())], "0", n=1)
    >>> found.most.positions.tolist(), found.least.positions.tolist()
    ([[1], [0]], [[0], [1]])
    """  # noqa: DOC502 - the passes that it calls raise
    parts: list[Extremes] = []
    position = start

    def receive(maps: torch.Tensor, _: torch.Tensor, labels: torch.Tensor) -> None:
        nonlocal position
        found = extremes(maps, range(position, position + len(labels)), n, measure)
        parts[:] = [parts[0].merge(found) if parts else found]
        position += len(labels)

    over_layer(network, batches, layer, receive, n_images=n_images, chunk_size=chunk_size, progress=progress)
    return reduce(Extremes.merge, parts)


def representation_of(maps: torch.Tensor, form: Form) -> torch.Tensor:
    """Returns one vector ``(n, d)`` an image: the mean of each map, or all its values.

    Raises:
        InvalidOption: An unknown form.
        NetworkError: A value is not finite.

    >>> representation_of(torch.tensor([[[[1.0, 3.0]]]]), "mean").tolist()
    [[2.0]]
    """  # noqa: DOC502 - the checks that it calls raise
    require_choice(form, "form", get_args(Form))
    require_finite("the representations", maps)
    return maps.mean((2, 3)) if form == "mean" else maps.flatten(1)
