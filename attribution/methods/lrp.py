"""Layer-wise relevance propagation: an output handed back layer by layer, by rules."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from attribution.checks import require_finite, require_number
from attribution.layerwise.chosen import chosen_layers
from attribution.networks.network import Network, require_network
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk
from attribution.propagation.attention_rules import TransformerRelevance, transformer_relevance
from attribution.propagation.layer_rules import LayerRule, LrpRule, chosen_rules, relevance_started
from attribution.propagation.rule_sets import ATTENTION_RULES, TransformerRule, require_no_layers, rule_of
from attribution.propagation.shares import Concept, Shares, handed_back, joined, require_concept
from attribution.targets import require_classes, targets_of


class Lrp(NamedTuple):
    """``maps`` of each input value in units of the logit, and what is lost on the way.

    For a target ``(batch,)`` the axis ``k`` is missing everywhere. The sum of a map and of all that is absorbed is
    ``explained``, up to ``convergence_delta``.

    Attributes:
        maps: ``(batch, k, channels, height, width)``, the inputs' dtype.
        convergence_delta: ``(batch, k)``, float64: the sum of the map and of what is absorbed, minus ``explained``:
            rounding, and with ``attn_lrp`` what softmaxes keep.
        explained: ``(batch, k)``, float64: the logit or difference of logits, or the relevance of the concept.
        absorbed_by_biases: ``(batch, k)``, float64: relevance that biases keep, those of normalisations among them.
        absorbed_by_epsilon: ``(batch, k)``, float64: relevance that the stabiliser keeps, and functions that give
            something for nothing.
        absorbed_by_tokens: ``(batch, k)``, float64: of transformers, what a class token and its like keep.
        absorbed_by_embeddings: ``(batch, k)``, float64: of transformers, what embeddings of positions keep.
        rule: What was followed.
        layer_maps: By layer that was asked for and has places, ``(batch, k, height, width)``, over its channels.
        layer_scores: By layer, ``(batch, k, channels)``, over places.
        chunk_size: Images evaluated at once, after any halving.
    """

    maps: torch.Tensor
    convergence_delta: torch.Tensor
    explained: torch.Tensor
    absorbed_by_biases: torch.Tensor
    absorbed_by_epsilon: torch.Tensor
    absorbed_by_tokens: torch.Tensor
    absorbed_by_embeddings: torch.Tensor
    rule: LrpRule | TransformerRule | Mapping[str, LayerRule]
    layer_maps: dict[str, torch.Tensor]
    layer_scores: dict[str, torch.Tensor]
    chunk_size: int


def lrp(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    against: torch.Tensor | None = None,
    rule: LrpRule | TransformerRule | Mapping[str, LayerRule] | None = None,
    epsilon: float = 1e-4,
    gamma: float = 0.25,
    layers: str | Sequence[str] | None = None,
    concept: Concept | None = None,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Lrp:
    r"""Hands the relevance of a logit back to the image, each layer's to its inputs by their share in its output.

    .. math:: R_j = \sum_k \frac{a_j w_{jk}}{z_k + \epsilon \, \mathrm{sign} z_k} R_k

    for the rule ``epsilon``; :mod:`attribution.propagation.layer_rules` has the others. It starts from :math:`f_c`,
    and from :math:`f_c` at c and :math:`-f_a` at a where a class is held against another.

    Args:
        network: What to explain, with a graph all of whose operations have a rule; its ``output`` is the logit.
        inputs: Normalised images, float ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)``, or ``(batch, k)`` to explain k classes from the same forward passes.
        against: What each class is held against, so that a difference of outputs is explained: a class, int64 like
            ``target``, or weights over the classes, float ``(batch, classes)`` or ``(batch, k, classes)``.
        rule: Of convolutions and linear layers: ``"epsilon"``, ``"epsilon_plus"`` (``alpha1_beta0`` for convolutions,
            ``epsilon`` for linear layers), ``"gamma"``, ``"alpha1_beta0"``; or rules by name, kind or pattern of
            layers, the last that fits, and ``epsilon`` where none does. Of transformers: ``"cp_lrp"``, which holds the
            probabilities of attention constant, or ``"attn_lrp"``, which hands relevance on through them; see
            :mod:`attribution.propagation.attention_rules`. Unless told ``epsilon_plus`` where its rules apply to all
            of the network, else ``cp_lrp``.
        epsilon: Stabiliser of every rule, in units of a layer's output, above 0.
        gamma: Of the rule ``gamma``: how much more positive contributions count; 0 is ``epsilon``.
        layers: Layers whose relevance comes back too: ``"last"``, ``"stages"``, ``"all"``, or names, kinds and
            patterns; none unless told, and none by the rules of transformers.
        concept: Channels of a layer: what relevance they have, and where it comes from; by rules of layers alone.
        chunk_size: Images at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with images done and in all; may raise to cancel.

    Returns:
        The maps, what was absorbed, and the relevance of layers.

    Raises:
        InvalidInput: Inputs that do not fit the network.
        InvalidTarget: Not one row of existing classes an image.
        InvalidOption: An unknown rule, a number out of range, layers or channels that are not there.
        NetworkError: The network has no graph, an operation without a rule, or maps that are not finite.
        OutOfMemory: A single image does not fit into memory.

    Cost:
        One forward and k backward passes an image, for all layers together; with other rules than ``epsilon`` two or
        three times the work in the layers that follow them.

    Guarantee:
        Conserved: the map and what is absorbed add up to the logit, up to rounding. Which rule is right is a choice:
        ``epsilon`` with a small epsilon is the input times the gradient on networks of rectifiers, less biases.

    Source:
        Bach et al. 2015, "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
        Propagation"; Montavon et al. 2019, "Layer-Wise Relevance Propagation: An Overview"; Achtibat et al. 2023,
        "From attribution maps to human-understandable explanations through concept relevance propagation"; of
        transformers Ali et al. 2022, "XAI for Transformers", and Achtibat et al. 2024, "AttnLRP".

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1))
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[2.0, -1.0]])), linear[1].bias.data.fill_(1.0)
    >>> inputs, target = torch.tensor([[[[3.0, 1.0]]]]), torch.tensor([0])
    >>> found = lrp(Network(linear), inputs, target, rule="epsilon", epsilon=1e-9)
    >>> [round(value, 6) for value in found.maps.flatten().tolist()], round(float(found.absorbed_by_biases), 6)
    ([6.0, -1.0], 1.0)
    """  # noqa: DOC502 - the checks and chunks that it calls raise them
    inputs = require_network(network).require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    require_number(epsilon, "epsilon", 1e-12)
    require_number(gamma, "gamma", 0.0)
    # Gradients need ordinary tensors, also where the caller is in inference mode.
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.require_gradients(inputs))
        rule = rule_of(network) if rule is None else rule
        if rule == "cp_lrp" or rule == "attn_lrp":
            require_no_layers(layers, concept, rule)
            return _of_transformer(
                transformer_relevance(
                    network,
                    inputs,
                    target,
                    against=against,
                    rule=ATTENTION_RULES[rule],
                    chunk_size=chunk_size,
                    progress=progress,
                ),
                rule,
            )
        rules = chosen_rules(network, rule, epsilon, gamma)
        concept = require_concept(network, concept)
        chosen = chosen_layers(network, layers, concept)
        parts: list[Shares] = []

        def work(start: int, stop: int) -> None:
            part = targets.rows(slice(start, stop))
            with torch.enable_grad():
                run = relevance_started(network, rules, inputs[start:stop], part, chosen.kept)
                parts.append(handed_back(run, part, concept, chosen.mapped))

        chunks = Chunks(default_chunk(network, inputs) if chunk_size is None else chunk_size, len(inputs), progress)
        chunks.run(len(inputs), work)
    shares = joined(parts)
    require_finite("maps", shares.inputs, shares.missing)

    def own(values: torch.Tensor, dtype: torch.dtype = inputs.dtype) -> torch.Tensor:
        return (values if target.dim() == 2 else values[:, 0]).to(dtype)

    nothing = own(torch.zeros_like(shares.explained), torch.float64)
    return Lrp(
        own(shares.inputs),
        own(shares.missing, torch.float64),
        own(shares.explained, torch.float64),
        own(shares.absorbed[:, :, 0], torch.float64),
        own(shares.absorbed[:, :, 1], torch.float64),
        nothing,
        nothing,
        rule,
        {name: own(values) for name, values in chosen.of(shares.maps).items()},
        {name: own(values) for name, values in chosen.of(shares.scores).items()},
        chunks.size,
    )


def _of_transformer(found: TransformerRelevance, rule: TransformerRule) -> Lrp:
    sums = found.maps.flatten(-3).sum(-1, dtype=torch.float64)
    return Lrp(
        found.maps,
        found.convergence_delta,
        sums + sum(found.absorbed.values()) - found.convergence_delta,
        found.absorbed["biases"],
        torch.zeros_like(found.convergence_delta),
        found.absorbed["tokens"],
        found.absorbed["embeddings"],
        rule,
        {},
        {},
        found.chunk_size,
    )
