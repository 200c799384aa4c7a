"""Maps of attention weighted by its gradients: which patches a transformer's decision attends to."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from attribution.checks import require_choice, require_finite
from attribution.errors import InvalidOption
from attribution.layerwise.attended import VARIANTS, Variant, legrad_of, rolled_out
from attribution.layerwise.blocks import Blocks, blocks_of, reading_token, require_attention
from attribution.networks.lattices import Lattice
from attribution.networks.network import Network, require_network
from attribution.networks.selection import graph_of_layers
from attribution.passes.attending import AttendingPass, require_same_outputs
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk, laid_out
from attribution.passes.tails import Tail
from attribution.targets import Targets, require_classes, targets_of


class Attention(NamedTuple):
    """Maps by variant, never negative, on the grid of patches; all of one scale, so that images compare.

    For a target ``(batch,)`` the axis ``k`` is missing everywhere.

    Attributes:
        maps: By variant: ``(batch, k, rows, columns)``.
        lattice: Where the patches lie in the image.
        layer: The first of the layers that have these patches.
        chunk_size: Images evaluated at once, after any halving.
    """

    maps: dict[Variant, torch.Tensor]
    lattice: Lattice
    layer: str
    chunk_size: int


def attention(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    against: torch.Tensor | None = None,
    variants: Variant | Sequence[Variant] = "rollout",
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Attention:
    r"""Shows which patches the attention of a vision transformer brings to a class, weighted by its gradients.

    .. math:: R \leftarrow R + \mathrm{mean}_h \big( \mathrm{relu}(\nabla A_l * A_l) \big) R

    over the blocks l with the probabilities :math:`A_l`, from :math:`R = 1`, read in the class token's row
    (``rollout``); :mod:`attribution.layerwise.attended` has ``legrad``. The published maps are scaled for each image:
    here they keep their scale.

    Args:
        network: What to explain: one whose blocks attend with all of its tokens, as ``nn.MultiheadAttention``, by
            ``scaled_dot_product_attention`` or written out; its ``output`` says in which unit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)`` to explain k classes from the same forward pass.
        against: What each class is held against, so that a difference of outputs is explained: a class, int64 like
            ``target``, or weights over the classes, float ``(batch, classes)`` or ``(batch, k, classes)``. The map is
            that of the difference, and no difference of maps.
        variants: ``"rollout"``, ``"legrad"``, or both.
        chunk_size: Images at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with images done and in all; may raise to cancel.

    Returns:
        The maps of each variant.

    Raises:
        InvalidInput: Inputs that do not fit the network.
        InvalidTarget: Not one row of existing classes an image.
        InvalidOption: An unknown variant.
        NetworkError: The network has no graph, no attention or hides it in a function, attends in windows, the places
            of its tokens are unknown, or rollout is asked of one whose outputs come from several tokens.
        OutOfMemory: A single image does not fit into memory.

    Cost:
        ``rollout``: one forward and k backward passes an image, with the probabilities of all blocks in memory.
        ``legrad``: one forward pass, and k times one backward pass through each block.

    Guarantee:
        Probabilities and gradients are exact; what the map says is a heuristic. Values of the tokens, the layers
        between attention and what is negative take no part.

    Source:
        Chefer, Gur & Wolf 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
        Transformers"; Bousselham et al. 2024, "LeGrad: An Explainability Method for Vision Transformers via Feature
        Formation Sensitivity" (arXiv 2404.03214), without its scaling to [0, 1].

    >>> from torchvision.models import VisionTransformer
    >>> module = VisionTransformer(image_size=4, patch_size=2, num_layers=1, num_heads=1, hidden_dim=4, mlp_dim=4)
    >>> inputs = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> _ = torch.nn.init.ones_(module.heads.head.weight)
    >>> attention(Network(module), inputs, torch.tensor([0])).maps["rollout"].shape
    torch.Size([1, 2, 2])
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    asked = _asked(variants)
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.require_gradients(inputs))
        blocks = blocks_of(network)
        require_same_outputs(network, graph_of_layers(network), blocks.attentions)
        passes = _Passes(network, blocks, reading_token(network, blocks) if "rollout" in asked else None)
        parts: dict[Variant, list[torch.Tensor]] = {variant: [] for variant in asked}

        def work(start: int, stop: int) -> None:
            found = passes.maps(inputs[start:stop], targets.rows(slice(start, stop)), asked)
            for variant, values in found.items():
                parts[variant].append(values)

        chunks = Chunks(default_chunk(network, inputs) if chunk_size is None else chunk_size, len(inputs), progress)
        chunks.run(len(inputs), work)
    maps = {variant: torch.cat(values) for variant, values in parts.items()}
    require_finite("the maps", *maps.values())
    one = target.dim() == 1
    maps = {variant: (values[:, 0] if one else values).to(inputs.dtype) for variant, values in maps.items()}
    return Attention(maps, blocks.placement.lattice, blocks.ends[0], chunks.size)


def _asked(variants: Variant | Sequence[Variant]) -> list[Variant]:
    asked = [variants] if isinstance(variants, str) else list(variants)
    if not asked:
        raise InvalidOption(f"variants is empty, expected one or several of {', '.join(VARIANTS)}")
    for variant in asked:
        require_choice(variant, "variants", VARIANTS)
    return list(dict.fromkeys(asked))


class _Passes:
    """Makes maps of images."""

    def __init__(self, network: Network, blocks: Blocks, row: int | None) -> None:
        self._network, self._blocks, self._row = network, blocks, row
        self._tail = Tail(network, blocks.ends[-1])

    def maps(self, images: torch.Tensor, targets: Targets, variants: Sequence[Variant]) -> dict[Variant, torch.Tensor]:
        """Returns maps ``(n, k, rows, columns)`` by variant."""
        nodes = [self._network.nodes[name] for name in self._blocks.ends]
        run = AttendingPass(graph_of_layers(self._network), self._blocks.attentions, nodes)
        with torch.enable_grad():
            outputs = targets.of(self._network.explained(run.run(laid_out(images.detach()).requires_grad_())))
            probabilities = [run.probabilities[one.node] for one in self._blocks.attentions]
            tokens = [run.values[node] for node in nodes]
            for name, one in zip(self._blocks.ends, probabilities, strict=True):
                require_attention(one, len(images), tokens[0].shape[1], name)
            rows: dict[Variant, list[torch.Tensor]] = {variant: [] for variant in variants}
            if "legrad" in variants:
                scores = self._scores(images, tokens, targets)
                rows["legrad"] = [legrad_of(one) for one in _own_gradients(scores, probabilities)]
            if self._row is not None:
                for number in range(targets.k):
                    gradients = _gradients(outputs[:, number], probabilities)
                    rows["rollout"].append(rolled_out([one.detach() for one in probabilities], gradients, self._row))
        return {
            variant: torch.stack([self._blocks.placement.maps(one.unsqueeze(2))[:, 0] for one in own], dim=1)
            for variant, own in rows.items()
        }

    def _scores(self, images: torch.Tensor, tokens: Sequence[torch.Tensor], targets: Targets) -> list[torch.Tensor]:
        """Returns the explained numbers ``(n, k)`` that the network's end makes of the tokens behind each block."""
        cached = self._tail.cached(images)
        every = torch.arange(len(images), device=images.device)
        return [targets.of(self._tail.run(one, cached, every)) for one in tokens]


def _gradients(values: torch.Tensor, probabilities: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    # Rows do not meet in evaluation mode, so the gradient of the sum holds each row's own.
    return list(torch.autograd.grad(values.sum(), probabilities, retain_graph=True, materialize_grads=True))


def _own_gradients(scores: Sequence[torch.Tensor], probabilities: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Returns for each of the k numbers the gradient of each block's own score by its own attention."""
    return [
        [_gradients(of_block[:, number], [own])[0] for of_block, own in zip(scores, probabilities, strict=True)]
        for number in range(scores[0].shape[1])
    ]
