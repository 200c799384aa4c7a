"""What single neurons of a layer answer to an image: their maps, and the sum of every map."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from attribution.checks import require_count, require_finite
from attribution.errors import InvalidOption
from attribution.layerwise.passes import LayerPass
from attribution.layerwise.places import mapped_layers, maps_of
from attribution.networks.network import Network, require_network
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk, laid_out

_N_TOP = 9
"""Neurons that are shown unless told."""


class ActivationMaps(NamedTuple):
    """Maps of single neurons, as the network computes them, by layer in forward order.

    Attributes:
        maps: ``(batch, n, height, width)`` of the layer, in its own units: of the neurons in ``channels``.
        channels: int64 ``(batch, n)``, the neurons of each image that ``maps`` shows, in that order.
        sums: float64 ``(batch, channels)``, the sum of every map of the layer.
        chunk_size: Images evaluated at once, after any halving.
    """

    maps: dict[str, torch.Tensor]
    channels: dict[str, torch.Tensor]
    sums: dict[str, torch.Tensor]
    chunk_size: int


class _Part(NamedTuple):
    """The same of one layer and some images."""

    maps: torch.Tensor
    channels: torch.Tensor
    sums: torch.Tensor


def activation_maps(
    network: Network,
    inputs: torch.Tensor,
    *,
    layers: str | Sequence[str] = "last",
    n_top: int | None = None,
    channels: Sequence[int] | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> ActivationMaps:
    r"""Shows what neurons of a layer answer to an image, and which of them stand out.

    A neuron is a feature map :math:`A_k` of the layer, one channel at all its places. It stands out by its sum

    .. math:: s_k = \sum_{y, x} A_k(y, x).

    The values are those that the layer puts out: what an operation behind it changes in place is not in them.

    Args:
        network: What to look into; with a graph.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        layers: ``"last"``, the last layer with places; ``"stages"``, ``"all"``, or names, kinds and patterns of layers.
        n_top: How many neurons with the largest sums are shown of each image and layer, 9 unless told, or all where
            there are fewer; of equal sums the lower channel comes first.
        channels: The neurons to show, in this order, from 0; instead of ``n_top``.
        chunk_size: Images at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with images done and to do; may raise to cancel.

    Returns:
        The maps, the neurons that they are of, and the sums of all.

    Raises:
        InvalidInput: Inputs do not fit the network.
        InvalidOption: An option out of range, a channel that a layer does not have, or a layer that is not there or has
            no places.
        NetworkError: The network has no graph or no layer with places, or a map is not finite.
        OutOfMemory: A single image does not fit into memory.

    Cost:
        One forward pass an image, for all layers together; the memory of the chosen layers' values.

    Guarantee:
        Exact: the network's own values. That a neuron stands out says nothing of what it does for a class.

    Source:
        The activation maps and the spike plot of "Explainability in Deep Learning Image Classification Networks"
        (VGG16, VGGFace, VGGEmotion); Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", 4.1.

    >>> head = [torch.nn.Conv2d(1, 2, 1, bias=False), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    >>> _ = head[0].weight.data.copy_(torch.tensor([2.0, 3.0]).view(2, 1, 1, 1))
    >>> found = activation_maps(Network(torch.nn.Sequential(*head)), torch.tensor([[[[1.0, 4.0]]]]), n_top=1)
    >>> found.channels["0"].tolist(), found.maps["0"].tolist(), found.sums["0"].tolist()
    ([[1]], [[[[3.0, 12.0]]]], [[10.0, 15.0]])
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    count, asked = _asked(n_top, channels)
    with torch.inference_mode(False), torch.no_grad():
        network.class_count(inputs)  # layers have shapes once it has run
        chosen = mapped_layers(network, layers)
        planes = {layer: maps_of(network, layer) for layer in chosen}
        found: dict[str, list[_Part]] = {}

        def work(start: int, stop: int) -> None:
            parts: dict[str, _Part] = {}

            def receive(layer: str, values: torch.Tensor) -> torch.Tensor:
                parts[layer] = _part(layer, planes[layer](values), count, asked)
                return values

            LayerPass(network, chosen, receive).run(laid_out(inputs[start:stop]))
            for layer, part in parts.items():
                found.setdefault(layer, []).append(part)

        chunks = Chunks(default_chunk(network, inputs) if chunk_size is None else chunk_size, len(inputs), progress)
        chunks.run(len(inputs), work)
    whole = {layer: _Part(*map(torch.cat, zip(*found[layer], strict=True))) for layer in chosen if layer in found}
    require_finite("the maps", *(part.sums for part in whole.values()))
    return ActivationMaps(
        {layer: part.maps.to(inputs.dtype) for layer, part in whole.items()},
        {layer: part.channels for layer, part in whole.items()},
        {layer: part.sums for layer, part in whole.items()},
        chunks.size,
    )


def _asked(n_top: int | None, channels: Sequence[int] | None) -> tuple[int, list[int] | None]:
    """Returns how many neurons are shown, and which where they were named.

    Raises:
        InvalidOption: Both or none of them, or one twice.
    """
    if channels is None:
        return require_count(_N_TOP if n_top is None else n_top, "n_top"), None
    if n_top is not None:
        raise InvalidOption("channels says which neurons are shown and n_top how many: give one of them")
    asked = [require_count(channel, "a channel", 0) for channel in channels]
    if not asked or len(set(asked)) < len(asked):
        raise InvalidOption(f"channels is {asked}, expected one or several neurons, each once")
    return len(asked), asked


def _part(layer: str, maps: torch.Tensor, n_top: int, asked: list[int] | None) -> _Part:
    """Returns what is kept of the maps ``(n, channels, height, width)`` of a layer.

    Raises:
        InvalidOption: It lacks one of the channels.
    """
    sums = maps.flatten(2).sum(2, dtype=torch.float64)
    if asked is None:
        shown = sums.argsort(dim=1, descending=True, stable=True)[:, :n_top]
    else:
        if max(asked) >= sums.shape[1]:
            raise InvalidOption(
                f"channels names {max(asked)}, but layer {layer!r} has the channels 0 to {sums.shape[1] - 1}"
            )
        shown = torch.tensor(asked, device=sums.device).expand(len(sums), -1)
    return _Part(maps[torch.arange(len(maps), device=shown.device)[:, None], shown], shown, sums)
