r"""Relevance through transformers, as a pass whose gradient, times the input, is the relevance.

=====================  ===============================================================================================
layer normalisation    its deviation is a constant, and so is the length of what is brought to length 1
elementwise function   :math:`x \cdot (y / x)` with the quotient a constant
attention, ``cp``      its probabilities are a constant: relevance goes through the values alone (CP-LRP)
attention, ``attn``    a product of two tensors gives each half, so that of :math:`\mathrm{softmax}(q k^T) v` the values
                       get a half, queries and keys a quarter each; the softmax passes its gradient on (AttnLRP)
gate                   a sigmoid that a product takes as a factor is a constant: all goes to the other factor
other products         half to each factor
maximum                all to the winner
=====================  ===============================================================================================

Functions of Python that a graph takes as one operation, such as the windowed attention of torchvision's Swin, are
looked into (:mod:`attribution.networks.unfolded`), and what is in them follows these rules.

What is concatenated (a class token), added (position embeddings) or a bias takes its share with it. With ``cp`` map and
shares add up to the output; with ``attn`` the softmax and what is added to its scores keep the rest.

Source: Ali et al. 2022, "XAI for Transformers: Better Explanations through Conservative Propagation" for ``cp``;
Arras et al. 2017, "Explaining Recurrent Neural Network Predictions in Sentiment Analysis", section 3.2.2 for gates;
Achtibat et al. 2024, "AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers" (arXiv 2402.05602)
for ``attn``.
"""

from collections.abc import Collection
from typing import Any, Literal, NamedTuple, get_args
from weakref import WeakKeyDictionary

import torch
from torch import fx, nn

from attribution.checks import require_choice, require_finite
from attribution.errors import NetworkError
from attribution.networks.agreement import agreement
from attribution.networks.attentions import Form, attentions_of
from attribution.networks.graph import operation
from attribution.networks.network import Network
from attribution.networks.operations import Kind, operation_kinds, sources
from attribution.networks.unfolded import is_unfoldable, unfolded
from attribution.passes.chunks import Chunks, Progress
from attribution.passes.gradients import default_chunk, laid_out
from attribution.propagation.attended_relevance import AttentionRule, attention_by_rule, module_by_rule
from attribution.propagation.rule_pass import RulePass, described, with_slope
from attribution.targets import Targets, require_classes, targets_of

Absorber = Literal["tokens", "embeddings", "biases"]
ABSORBERS: tuple[Absorber, ...] = get_args(Absorber)

_RULED: frozenset[Kind | None] = frozenset({"copy", "affine", "activation", "maximum", "product"})
_PRODUCTS = frozenset({"matmul", "bmm", "einsum"})
_SUMS = frozenset({"add", "radd", "iadd", "sub", "rsub", "isub"})
_JOINS = frozenset({"cat", "concat", "concatenate", "stack"})
_GATES = frozenset({"sigmoid", "hardsigmoid"})
#: How far each graph's pass is from its outputs, and what rounding explains; found once.
_AGREEMENTS: WeakKeyDictionary[fx.GraphModule, tuple[float, float]] = WeakKeyDictionary()


class TransformerRelevance(NamedTuple):
    """Relevance of pixels, and what did not reach them; all in units of the logit.

    Attributes:
        maps: ``(batch, k, channels, height, width)``.
        absorbed: By what took it, ``(batch, k)`` float64: ``tokens`` that are concatenated, such as a class token,
            ``embeddings`` that are added, such as those of positions, and ``biases``.
        convergence_delta: ``(batch, k)`` float64: the sum of the map and of what was absorbed, minus the explained
            output. With ``cp`` it is rounding; with ``attn`` what softmaxes keep.
        chunk_size: Images evaluated at once, after any halving.
    """

    maps: torch.Tensor
    absorbed: dict[Absorber, torch.Tensor]
    convergence_delta: torch.Tensor
    chunk_size: int


def transformer_relevance(
    network: Network,
    inputs: torch.Tensor,
    target: torch.Tensor,
    *,
    against: torch.Tensor | None = None,
    rule: AttentionRule = "cp",
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> TransformerRelevance:
    """Returns the relevance of pixels for a class, by the rules above.

    Args:
        network: One whose every operation has a rule; it explains logits.
        inputs: Normalised images ``(batch, channels, height, width)``.
        target: Classes, int64 ``(batch,)`` or ``(batch, k)``; for a target ``(batch,)`` the axis ``k`` is missing.
        against: What they are held against, as for every method; relevance is linear in the output.
        rule: Of attention.
        chunk_size: Images at once; fitted to memory unless told, halved when it runs out.
        progress: Called between chunks with images done and in all; may raise to cancel.

    Raises:
        NetworkError: An operation without a rule, attention that hides its probabilities, or no graph.
        InvalidOption: An unknown rule.

    Cost:
        One forward pass, two of the layers with constants, and k backward passes an image.
    """  # noqa: DOC502 - the checks that it calls raise
    require_choice(rule, "rule", get_args(AttentionRule))
    inputs = network.require_images(inputs)
    targets = targets_of(target, against, len(inputs), inputs.device)
    with torch.inference_mode(False), torch.no_grad():
        require_classes(targets, network.require_gradients(inputs))
        graph = require_attention_rules(network, f"lrp ({rule})")
        parts: list[_Part] = []

        def work(start: int, stop: int) -> None:
            parts.append(_relevance(graph, inputs[start:stop], targets.rows(slice(start, stop)), rule))

        chunks = Chunks(default_chunk(network, inputs) if chunk_size is None else chunk_size, len(inputs), progress)
        chunks.run(len(inputs), work)
    maps = torch.cat([part.maps for part in parts])
    require_finite("the maps", maps)
    absorbed = {name: torch.cat([part.absorbed[name] for part in parts]) for name in ABSORBERS}
    total = maps.flatten(2).sum(2, dtype=torch.float64) + sum(absorbed.values())
    delta = total - torch.cat([part.explained for part in parts])
    if target.dim() == 1:
        maps, delta, absorbed = maps[:, 0], delta[:, 0], {name: one[:, 0] for name, one in absorbed.items()}
    return TransformerRelevance(maps, absorbed, delta, chunks.size)


def require_attention_rules(network: Network, method: str) -> fx.GraphModule:
    """Returns the network's graph, where every operation has a rule of these.

    Raises:
        NetworkError: One has none, attention hides its probabilities, there is no graph, or other outputs than logits
            are explained.
    """
    if network.output != "logit":
        raise NetworkError(
            f"{method} explains logits, the network's output is {network.output}; use explaining('logit')"
        )
    graph = network.graph
    if graph is None:
        raise NetworkError(
            f"{method} needs the network's graph, and it has none: {network.report().reason};"
            " use input_x_gradient or integrated_gradients"
        )
    run = AttentionRulePass(graph, "cp")
    for node in operation_kinds(graph):
        if not run.has_rule(node):
            names = {node: name for name, node in network.nodes.items()}
            raise NetworkError(
                f"{method} has no rule for layer {names.get(node, node.name)!r} ({described(node, graph)});"
                " use input_x_gradient or integrated_gradients"
            )
    if graph not in _AGREEMENTS:
        example = network.examples()[:1]
        with torch.no_grad():
            _AGREEMENTS[graph] = agreement(run.run(example), graph.forward(example))
    figure, bound = _AGREEMENTS[graph]
    if not figure <= bound:
        raise NetworkError(
            f"{method}: the rules give other outputs than this network ({figure:.1%} apart), so something in it works"
            " beside them; use input_x_gradient or integrated_gradients"
        )
    return graph


class _Part(NamedTuple):
    maps: torch.Tensor
    absorbed: dict[Absorber, torch.Tensor]
    explained: torch.Tensor


def _relevance(graph: fx.GraphModule, images: torch.Tensor, targets: Targets, rule: AttentionRule) -> _Part:
    run = AttentionRulePass(graph, rule)
    with torch.enable_grad():
        points = laid_out(images.detach()).requires_grad_()
        explained = targets.of(run.run(points))
        wanted = [points, *(one.value for one in run.constants)]
        found = [
            # Rows do not meet in evaluation mode, so the gradient of the sum holds each row's own.
            torch.autograd.grad(explained[:, number].sum(), wanted, retain_graph=True, materialize_grads=True)
            for number in range(targets.k)
        ]
    absorbed = {name: torch.zeros(explained.shape, dtype=torch.float64, device=images.device) for name in ABSORBERS}
    for number, (_, *gradients) in enumerate(found):
        for one, gradient in zip(run.constants, gradients, strict=True):
            products = (gradient * one.constant).flatten(1).sum(1, dtype=torch.float64)
            # Of windows folded into the batch each image has several rows.
            absorbed[one.absorber][:, number] += products.view(len(images), -1).sum(1)
    maps = torch.stack([gradients[0] * points.detach() for gradients in found], dim=1)
    return _Part(maps.contiguous(), absorbed, explained.detach().double())


class _Constant(NamedTuple):
    """What an operation gives that does not come from the image, and all that it gives."""

    absorber: Absorber
    value: torch.Tensor
    constant: torch.Tensor


class AttentionRulePass(RulePass):
    """Runs a graph by the rules, and keeps the constants that absorb relevance."""

    def __init__(self, graph: fx.GraphModule, rule: AttentionRule, kept: Collection[fx.Node] = ()) -> None:
        """Prepares a pass; ``run(points)`` makes it."""
        super().__init__(graph, {}, kept)
        self._graph, self._rule, self._modules = graph, rule, dict(graph.named_modules())
        found, self._hidden, _ = attentions_of(graph)
        self._forms: dict[fx.Node, Form] = {one.node: one.form for one in found}
        self.constants: list[_Constant] = []

    def has_rule(self, node: fx.Node) -> bool:
        """Returns whether an operation on what depends on the image has a rule."""
        if self._unfolds(node):
            return True  # what is in it is seen as it runs
        if node in self._hidden:
            return False
        if node in self._forms or self._norm(node) or self._linear(node) or self._name(node) == "normalize":
            return True
        if self._name(node) in _PRODUCTS:
            factors = [one for one in node.args if isinstance(one, fx.Node)]
            return len(factors) == len(set(factors)) == 2
        return self._kinds[node] in _RULED

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 - torch.fx's signature
        """Returns what one operation gives, with the slope of its rule."""
        if n in self._forms and self._forms[n] != "written":
            result = self._attended(n)
        elif self._norm(n):
            result = self._normalised(n)
        elif self._unfolds(n):
            result = self._inside(n)
        else:
            result = self._ruled(n, super().run_node(n))
        if n in self._kept and isinstance(result, torch.Tensor):
            self.values[n] = result = result.view_as(result)
        return result

    def _name(self, node: fx.Node) -> str:
        return operation(node, self._modules).replace("_", "").lower()

    def _norm(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self._modules[str(node.target)], nn.LayerNorm)
        return node in self._kinds and self._name(node) == "layernorm"

    def _unfolds(self, node: fx.Node) -> bool:
        is_other = node in self._kinds and self._kinds[node] is None and node not in self._forms
        return is_other and is_unfoldable(node) and not self._norm(node)

    def _inside(self, node: fx.Node) -> Any:  # noqa: ANN401 - of any function
        given = {one: self.env[one] for one in sources(node, self._kinds) if self.env[one] is not None}
        name = described(node, self._graph)
        if not all(isinstance(value, torch.Tensor) for value in given.values()):
            raise NetworkError(f"{name} takes several tensors as one, and has no rule here")
        graph = unfolded(node, given, {one: self.env[one] for one in node.all_input_nodes if one not in given})
        run = AttentionRulePass(graph, self._rule)
        for one in operation_kinds(graph):
            if not run.has_rule(one):
                raise NetworkError(
                    f"{name} has an operation without a rule inside ({described(one, graph)});"
                    " use input_x_gradient or integrated_gradients"
                )
        result = run.run(*given.values())
        self.constants += run.constants
        return result

    def _is_gate(self, node: fx.Node) -> bool:
        while self._kinds.get(node) == "copy" and len(before := sources(node, self._kinds)) == 1:
            node = before[0]
        return self._name(node) in _GATES

    def _linear(self, node: fx.Node) -> bool:
        return node.op == "call_module" and isinstance(self._modules[str(node.target)], nn.Linear)

    def _ruled(self, node: fx.Node, value: Any) -> Any:  # noqa: ANN401 - of any operation
        kind, name = self._kinds.get(node), self._name(node)
        if node not in self._kinds or not isinstance(value, torch.Tensor) or not value.requires_grad:
            return value
        if node in self._forms:
            return value.detach() if self._rule == "cp" else value
        if kind == "activation" or name == "normalize":
            return _by_quotient(self.arguments(node)[0], value)
        if kind == "product" or name in _PRODUCTS:
            return self._shared(node, value)
        if kind == "affine" or self._linear(node) or name in _JOINS:
            self._note_constant(node, name, value)
        return value

    def _shared(self, node: fx.Node, value: torch.Tensor) -> torch.Tensor:
        """Returns a product that gives half to each of two factors; all to the one that relevance goes through."""
        factors = self.arguments(node)
        if len(factors) < 2 or not all(one.requires_grad for one in factors):
            return value
        first, second = factors
        gates = [self._is_gate(one) for one in sources(node, self._kinds)]
        if gates[0] != gates[1]:
            first, second = (one.detach() if gate else one for one, gate in zip(factors, gates, strict=True))
            return with_slope(value, self.again(node, first, second))
        return with_slope(
            value, (self.again(node, first, second.detach()) + self.again(node, first.detach(), second)) / 2
        )

    def _note_constant(self, node: fx.Node, name: str, value: torch.Tensor) -> None:
        nothing = [torch.zeros_like(one) for one in self.arguments(node)]
        with torch.no_grad():
            constant = self.again(node, *nothing)
        if bool(constant.any()):
            absorber: Absorber = "tokens" if name in _JOINS else "embeddings" if name in _SUMS else "biases"
            self.constants.append(_Constant(absorber, value, constant))

    def _noted(self, value: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if bias is not None and value.requires_grad:
            self.constants.append(_Constant("biases", value, bias.detach()))
        return value

    def _normalised(self, node: fx.Node) -> torch.Tensor:
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        if node.op == "call_module":
            module = self._modules[str(node.target)]
            assert isinstance(module, nn.LayerNorm)  # noqa: S101 - it was asked for
            return self._standard(args[0], module.normalized_shape, module.weight, module.bias, module.eps)
        return self._standard(*args, **kwargs)

    def _standard(
        self,
        input: torch.Tensor,  # noqa: A002 - torch's name
        normalized_shape: Collection[int],
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        eps: float = 1e-5,
    ) -> torch.Tensor:
        axes = tuple(range(-len(normalized_shape), 0))
        centred = input - input.mean(axes, keepdim=True)
        found = centred / (centred.detach().square().mean(axes, keepdim=True) + eps).sqrt()
        found = found if weight is None else found * weight
        return self._noted(found if bias is None else found + bias, bias)

    def _attended(self, node: fx.Node) -> Any:  # noqa: ANN401 - a tensor, or what the module gives
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        if self._forms[node] == "function":
            return attention_by_rule(self._rule, *args, **kwargs)
        module = self._modules[str(node.target)]
        assert isinstance(module, nn.MultiheadAttention)  # noqa: S101 - its form says so
        return module_by_rule(self._rule, self._noted, module, *args, **kwargs)


def _by_quotient(inputs: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    at = inputs.detach()
    # An input this close to nothing has no relevance to hand on, and its quotient may overflow.
    is_zero = at.abs() <= torch.finfo(at.dtype).tiny ** 0.5
    return with_slope(value, inputs * torch.where(is_zero, 0, value.detach() / torch.where(is_zero, 1, at)))
