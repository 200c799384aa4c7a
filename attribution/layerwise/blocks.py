"""The blocks of a transformer: what attends in each, the tokens that it ends with, and who reads them in the end."""

from typing import NamedTuple

import torch
from torch import fx

from attribution.errors import NetworkError
from attribution.networks.attentions import Attention, attentions_of
from attribution.networks.lattices import Placement
from attribution.networks.layers import Layer
from attribution.networks.network import Network
from attribution.passes.tails import Tail


class Blocks(NamedTuple):
    """The blocks of a network in forward order.

    Attributes:
        attentions: One a block.
        ends: The layer that each block ends with, by name: the sum of its branch and its shortcut.
        placement: Of the tokens at the ends, the same for all.
    """

    attentions: tuple[Attention, ...]
    ends: tuple[str, ...]
    placement: Placement


def no_blocks(network: Network) -> str | None:
    """Returns why the blocks of a network cannot be told apart, or nothing where they can."""
    try:
        blocks_of(network)
    except NetworkError as error:
        return str(error)
    return None


def blocks_of(network: Network) -> Blocks:
    """Returns the blocks of a network that has met its images.

    Raises:
        NetworkError: It has no graph or no attention, hides it in a function, attends in windows, or the places of its
            tokens are unknown.
    """
    if network.graph is None:
        raise NetworkError(f"attention is found on the graph, and there is none: {network.report().reason}")
    found, hidden, products = attentions_of(network.graph)
    if not found and not hidden:
        raise NetworkError("no attention in this network: use cam, layer_shapley or integrated_gradients")
    names = {node: layer.name for node, layer in network.layers_by_node.items()}
    if hidden or products:
        where = _name((*hidden, *products)[0], names)
        raise NetworkError(
            f"the attention at {where!r} hides its probabilities, as attention in shifted windows, without a softmax or"
            " with heads that talk to each other does: use cam, layer_shapley or integrated_gradients"
        )
    ends = _ends(network, found, names)
    placements = [network.placements()[name] for name in ends]
    if any(_places(one) != _places(placements[0]) for one in placements):
        raise NetworkError(
            "the tokens of its blocks are not the same ones, as where patches are merged on the way: attention of"
            " several blocks cannot be multiplied; use cam, layer_shapley or integrated_gradients"
        )
    return Blocks(found, ends, placements[0])


def require_attention(probabilities: torch.Tensor, n_images: int, n_tokens: int, name: str) -> None:
    """Accepts probabilities ``(n, heads, tokens, tokens)`` of all tokens of each image.

    Raises:
        NetworkError: They are of windows, or of something else than the tokens.
    """
    shape = tuple(probabilities.shape)
    if len(shape) != 4 or (shape[0], *shape[2:]) != (n_images, n_tokens, n_tokens):
        raise NetworkError(
            f"the attention at {name!r} has probabilities {shape} for {n_images} images of {n_tokens} tokens, expected"
            f" ({n_images}, heads, {n_tokens}, {n_tokens}): it attends in windows or to something else; use cam,"
            " layer_shapley or integrated_gradients"
        )


def reading_token(network: Network, blocks: Blocks) -> int:
    """Returns the one token in front of or behind the patches that the outputs come from, a class token.

    Raises:
        NetworkError: They come from several, or from patches.

    Cost:
        A forward pass of one image, and a backward pass behind the last block.
    """
    tail, example = Tail(network, blocks.ends[-1]), network.examples()[:1]
    cached = tail.cached(example)
    with torch.enable_grad():
        tokens = cached.activation.detach().requires_grad_()
        outputs = tail.run(tokens, cached, torch.zeros(1, dtype=torch.int64, device=tokens.device))
        weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(
            outputs
        )
        (gradient,) = torch.autograd.grad((outputs * weights).sum(), tokens, materialize_grads=True)
    axis = blocks.placement.axes[0]
    read = gradient[0].movedim(axis - 1, 0).flatten(1).any(1).nonzero().flatten().tolist()
    first, stop = blocks.placement.first, blocks.placement.first + blocks.placement.sizes[0] * blocks.placement.sizes[1]
    if len(read) != 1 or first <= read[0] < stop:
        raise NetworkError(
            f"rollout is read at the class token, and the outputs of this network come from {len(read)} tokens: use"
            " legrad, which needs none"
        )
    return int(read[0])


def _ends(network: Network, found: tuple[Attention, ...], names: dict[fx.Node, str]) -> tuple[str, ...]:
    assert network.graph is not None  # noqa: S101 - the caller has seen to it
    order = {node: place for place, node in enumerate(network.graph.graph.nodes)}
    starts = [order[one.node] for one in found]
    sums = [(order[node], layer) for node, layer in network.layers_by_node.items() if _is_end(network, layer)]
    ends = []
    for attention, start, stop in zip(found, starts, [*starts[1:], len(order)], strict=True):
        inside = [layer.name for place, layer in sums if start < place < stop]
        if not inside:
            raise NetworkError(
                f"behind the attention at {_name(attention.node, names)!r} no sum that all else runs through has tokens"
                " whose places are known, as where it attends in windows, to channels, or beside another; use cam,"
                " layer_shapley or integrated_gradients"
            )
        ends.append(inside[-1])
    return tuple(ends)


def _is_end(network: Network, layer: Layer) -> bool:
    placement = network.placements().get(layer.name)
    is_sum = layer.kind == "addition" and layer.cuts
    return is_sum and placement is not None and placement.axes == (1,)


def _places(placement: Placement) -> tuple[object, ...]:
    return placement.sizes, placement.first, placement.lattice.start, placement.lattice.stride


def _name(node: fx.Node, names: dict[fx.Node, str]) -> str:
    users = [names[user] for user in node.users if user in names]
    return names.get(node) or next(iter(users), node.name)
