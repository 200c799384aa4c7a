"""Class activation maps of any layers, by five formulas, from one backward pass."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from attribution.checks import require_choice, require_finite
from attribution.errors import InvalidOption
from attribution.layerwise.cams import VARIANTS, Variant, cam_of
from attribution.layerwise.passes import layer_gradients
from attribution.layerwise.places import mapped_layers, maps_of
from attribution.networks.lattices import Lattice, shared_out
from attribution.networks.network import Network, require_network
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk
from attribution.targets import require_classes, targets_of

FUSED = "fused"
"""What the mean over layers is called among them."""


class Cam(NamedTuple):
    """Maps by variant and layer, signed, in units of the output; all of one scale, so that images compare.

    For a target ``(batch,)`` the axis ``k`` is missing everywhere.

    Attributes:
        maps: By variant, then by layer in forward order: ``(batch, k, height, width)`` of the layer, or of the image
            where layers are fused.
        chunk_size: Images evaluated at once, after any halving.
    """

    maps: dict[Variant, dict[str, torch.Tensor]]
    chunk_size: int


def cam(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    against: torch.Tensor | None = None,
    variants: Variant | Sequence[Variant] = "grad_cam",
    layers: str | Sequence[str] = "last",
    fuse: bool = False,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Cam:
    r"""Shows where a layer's feature maps speak for a class: their sum, weighted by the gradient of the output.

    .. math:: M = \sum_k w_k A_k, \qquad w_k = \frac{1}{HW} \sum_{ij} \frac{\partial f}{\partial A_{kij}}

    for ``grad_cam``; :mod:`attribution.layerwise.cams` has the weights of the others. The published maps are cut at
    zero and scaled for each image: here values keep their sign and scale, and the cut is a way of drawing.

    Args:
        network: What to explain; its ``output`` says in which unit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)`` to explain k classes from the same forward pass.
        against: What each class is held against, so that a difference of outputs is explained: a class, int64 like
            ``target``, or weights over the classes, float ``(batch, classes)`` or ``(batch, k, classes)``.
        variants: ``"grad_cam"``, ``"hires_cam"``, ``"layer_cam"``, ``"grad_cam_plus_plus"``, ``"x_grad_cam"``, or
            several of them, from the same pass.
        layers: ``"last"``, the last layer with places; ``"stages"``, ``"all"``, or names, kinds and patterns; of the
            first three those with height and width, or tokens that are patches and that the outputs depend on.
        fuse: The mean of all chosen layers, each laid over the image where its units look, in place of one map a layer.
        chunk_size: Images at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with images done and in all; may raise to cancel.

    Returns:
        The maps of each variant.

    Raises:
        InvalidInput: Inputs that do not fit the network.
        InvalidTarget: Not one row of existing classes an image.
        InvalidOption: An unknown variant, or a layer that is not there or has no height and width.
        NetworkError: The network has no graph or no layer with places, lets no gradient through, or one is not finite.
        OutOfMemory: A single image does not fit into memory.

    Cost:
        One forward and k backward passes an image, for all layers and variants together.

    Guarantee:
        Values and gradients are exact; what the map says is a heuristic. ``hires_cam`` adds up to the output less what
        biases add where all behind the layer is affine; the others to nothing.

    Source:
        Selvaraju et al. 2017, "Grad-CAM"; Draelos & Carin 2020, "Use HiResCAM instead of Grad-CAM"; Jiang et al. 2021,
        "LayerCAM"; Fu et al. 2020, "Axiom-based Grad-CAM"; Chattopadhay et al. 2018, "Grad-CAM++", whose weights assume
        the exponential of the output.

    >>> head = [torch.nn.Conv2d(1, 1, 1, bias=False), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    >>> _ = head[0].weight.data.fill_(2.0)
    >>> inputs = torch.tensor([[[[1.0, 3.0]]]])
    >>> cam(Network(torch.nn.Sequential(*head)), inputs, torch.tensor([0])).maps["grad_cam"]["0"].tolist()
    [[[1.0, 3.0]]]
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    asked = _asked(variants)
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.require_gradients(inputs))
        chosen = mapped_layers(network, layers)
        maps = {layer: maps_of(network, layer) for layer in chosen}
        found: dict[tuple[Variant, str, int], list[torch.Tensor]] = {}

        def work(start: int, stop: int) -> None:
            parts: dict[tuple[Variant, str, int], torch.Tensor] = {}

            def receive(layer: str, number: int, values: torch.Tensor, gradients: torch.Tensor) -> None:
                for variant in asked:
                    parts[variant, layer, number] = cam_of(variant, maps[layer](values), maps[layer](gradients))

            layer_gradients(network, inputs[start:stop], targets.rows(slice(start, stop)), chosen, receive)
            for key, part in parts.items():
                found.setdefault(key, []).append(part)

        chunks = Chunks(default_chunk(network, inputs) if chunk_size is None else chunk_size, len(inputs), progress)
        chunks.run(len(inputs), work)
    result = {
        variant: {
            layer: torch.stack([torch.cat(found[variant, layer, number]) for number in range(targets.k)], dim=1)
            for layer in chosen
            if (variant, layer, 0) in found
        }
        for variant in asked
    }
    require_finite("the maps", *(one for of_variant in result.values() for one in of_variant.values()))
    if fuse:
        result = {
            variant: {FUSED: _fused(own, network.lattices(), inputs.shape[2:])} for variant, own in result.items()
        }
    return Cam({variant: _cast(own, inputs.dtype, target.dim() == 1) for variant, own in result.items()}, chunks.size)


def _asked(variants: Variant | Sequence[Variant]) -> list[Variant]:
    asked = [variants] if isinstance(variants, str) else list(variants)
    if not asked:
        raise InvalidOption(f"variants is empty, expected one or several of {', '.join(VARIANTS)}")
    for variant in asked:
        require_choice(variant, "variants", VARIANTS)
    return list(dict.fromkeys(asked))


def _fused(maps: Mapping[str, torch.Tensor], lattices: Mapping[str, Lattice], size: torch.Size) -> torch.Tensor:
    return torch.stack([_laid(one, lattices.get(layer), size) for layer, one in maps.items()]).mean(0)


def _laid(maps: torch.Tensor, lattice: Lattice | None, size: torch.Size) -> torch.Tensor:
    """Returns maps ``(..., height, width)`` of a layer at the image's size, linearly between the middles of units."""
    lattice = lattice or shared_out(maps.shape[-2:], size)
    for axis, (side, start, stride) in enumerate(zip(size, lattice.start, lattice.stride, strict=True)):
        units = maps.shape[axis - 2]
        places = (torch.arange(side, dtype=torch.float64, device=maps.device) + 0.5 - start) / stride
        # Of a unit, how near each pixel is; beyond the outermost one all are its own.
        distance = places.clamp(0, units - 1)[:, None] - torch.arange(units, device=maps.device)
        weights = (1 - distance.abs()).clamp(min=0).to(maps.dtype)
        maps = (weights @ maps.movedim(axis - 2, -2)).movedim(-2, axis - 2)
    return maps


def _cast(maps: dict[str, torch.Tensor], dtype: torch.dtype, is_single: bool) -> dict[str, torch.Tensor]:
    return {layer: (one[:, 0] if is_single else one).to(dtype) for layer, one in maps.items()}
