r"""What a network is found to do, by running it on probes, before anything is explained.

=================== ==================================================================================================
check               figure
=================== ==================================================================================================
``same_function``   outputs of the copy against those of the caller's module with its hooks, in place
``graph``           outputs of the graph against those of the copy
``deterministic``   outputs of the same probes, twice
``rows``            outputs and gradients of two different rows together against each alone
``gradient_exists`` the share of gradients at probes that are finite and not all zero
``gradient``        :math:`|g \cdot v - (f(x + e v) - f(x - e v)) / 2 e|` over its size for random unit directions v:
                    the median over directions, the worst of one and two rows in both layouts of memory
``link``            how outputs become probabilities: found out, or as told
=================== ==================================================================================================

Differences are relative to how much the outputs vary; in float64 where the network runs there.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Literal, NamedTuple, Protocol

import torch
from torch import fx, nn
from torch.func import functional_call

from attribution.errors import NetworkError
from attribution.memory import is_out_of_memory
from attribution.networks.agreement import agreement, difference, in_parts, sizes_of
from attribution.networks.derivatives import Function, derivative_error, faulty_part, gradient_of
from attribution.networks.link import Link, add_up_to_one, are_probabilities
from attribution.networks.norms import StoredStatistics
from attribution.networks.outputs_only import OutputsOnly
from attribution.networks.places import (
    RandomDraws,
    first_difference,
    has_dice,
    line_of_error,
    values_by_place,
)

Verdict = Literal["right", "refused", "noted", "unknown"]

#: Weights of a network are doubled for a moment only where that takes no more than this.
_TWIN_BYTES = 2**30
#: Beyond the first two, and where something random was called that seems to have no effect.
_FURTHER_RUNS = 1
_MORE_RUNS = 8
_FAR = 1e3
#: With fewer digits than this a difference of outputs says nothing of a derivative.
_COARSE = 1e-4


class Subject(Protocol):
    """What is measured."""

    @property
    def module(self) -> nn.Module:
        """The frozen copy."""
        ...

    @property
    def graph(self) -> fx.GraphModule | None:
        """Its graph, where it has one that gives what it does."""
        ...

    @property
    def names(self) -> Mapping[fx.Node, str]:
        """The layer's name of each node that is one."""
        ...

    def run(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the raw outputs ``(batch, classes)``."""
        ...

    def run_copy(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns those of the copy, whether it has a graph or not."""
        ...


class Check(NamedTuple):
    """One thing that was found out: a ``figure`` beside its ``bound``, and what follows.

    ``verdict`` is ``"right"``; ``"refused"``, where what depends on it is refused; ``"noted"``, where it is let pass
    and ``detail`` is worth knowing; or ``"unknown"``, where it could not be measured.
    """

    name: str
    figure: float | None
    bound: float | None
    verdict: Verdict
    detail: str


class Measured(NamedTuple):
    """The ``checks``, the ``link`` that was found, and why there are no gradients to explain with."""

    checks: tuple[Check, ...]
    link: Link
    no_gradients: str | None


def measured(network: Subject, examples: torch.Tensor, link: Link | None, before: Sequence[Check]) -> Measured:
    """Measures a network on three examples.

    Args:
        network: Whose graph, if it has one, gives what its module does.
        examples: As ``probes`` returns them; only the first, where two do not fit into memory.
        link: What the caller says of the outputs, or nothing.
        before: The checks of the copy and the graph.

    Returns:
        All checks, and what follows from them.

    Raises:
        NetworkError: The outputs are random, or an image's outputs depend on the rest of the batch.
    """  # noqa: DOC502 - the checks that it calls raise
    with torch.random.fork_rng(devices=[examples.device] if examples.device.type == "cuda" else []):
        checks = [*before, _deterministic(network, examples)]
        if len(examples) == 1:
            detail = "two images at once do not fit into memory"
            checks.append(Check("rows", None, None, "unknown", detail))
            found, no_gradients = [Check("gradient", None, None, "unknown", detail)], None
        else:
            twin = _twin(network, examples)
            checks.append(_rows(network, twin, examples))
            found, no_gradients = _gradients(network, twin, examples)
    known = _link(network, examples, link)
    return Measured((*checks, *found, known[1]), known[0], no_gradients)


class _Twin(NamedTuple):
    """The network in float64, or as it is where it does not run there."""

    function: Function
    dtype: torch.dtype

    @property
    def rounding(self) -> float:
        """What differences in rounding amount to."""
        return max(1e-7, 100 * torch.finfo(self.dtype).eps)


def _twin(network: Subject, examples: torch.Tensor) -> _Twin:
    """Returns the network in float64, where it runs there and gives the same."""
    own = _Twin(network.run_copy if network.graph is None else network.run, examples.dtype)
    module = network.module if network.graph is None else network.graph
    size = 2 * sum(tensor.nbytes for tensor in module.state_dict().values() if isinstance(tensor, torch.Tensor))
    if examples.dtype == torch.float64 or size > _TWIN_BYTES:
        return own
    state = {
        name: tensor.double() if tensor.is_floating_point() else tensor
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]
    }

    def function(inputs: torch.Tensor) -> torch.Tensor:
        with nullcontext() if module is network.graph else StoredStatistics():
            found: torch.Tensor = functional_call(module, state, (inputs.clone(),))
            return found

    try:
        with torch.no_grad():
            given, expected = function(examples[:2].double()), network.run(examples[:2])
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return own
    difference, bound = agreement(given.to(expected.dtype), expected)
    is_same = given.dtype == torch.float64 and difference <= 10 * bound
    return _Twin(function, torch.float64) if is_same else own


def _deterministic(network: Subject, examples: torch.Tensor) -> Check:
    """Runs the examples twice, and more often where something draws random numbers to no effect.

    The copy is run beside the graph, in which numbers drawn as it was traced stay what they were.

    Returns:
        What was seen.

    Raises:
        NetworkError: The outputs differ.
    """  # noqa: DOC502 - what it calls raises
    checks = [_repeatable(network, network.run_copy, examples)]
    if network.graph is not None:
        checks.append(_repeatable(network, network.run, examples))
    return next((check for check in checks if check.verdict != "right"), checks[0])


def _repeatable(network: Subject, run: Function, examples: torch.Tensor) -> Check:
    bound = max(1e-5, 10 * torch.finfo(examples.dtype).eps)
    with torch.no_grad():
        draws = RandomDraws()
        first = in_parts(run, examples)
        with draws:
            others = [in_parts(run, examples)]
        others += [in_parts(run, examples) for _ in range(_FURTHER_RUNS)]
        if draws.found or draws.moved or has_dice(network.module):
            others += [in_parts(run, examples) for _ in range(_MORE_RUNS)]
        figure = max(difference(other, first, first) for other in others)
    if draws.found and figure == 0:
        detail = f"it draws random numbers ({', '.join(draws.found)}) that did not change the outputs of probes"
        return Check("deterministic", figure, bound, "noted", detail)
    if not draws.found and figure <= bound:
        return Check("deterministic", figure, bound, "right", "")
    place = _differing_place(network, examples)
    what = " in ".join(filter(None, (", ".join(draws.found), place))) or "something in it"
    raise NetworkError(
        "the network is random in evaluation mode: the same images give outputs that differ by"
        f" {100 * figure:.2g} %; {what} draws random numbers or keeps count. Make it depend on self.training"
        " (functional.dropout needs training=self.training), and on nothing but the image"
    )


def _differing_place(network: Subject, examples: torch.Tensor) -> str | None:
    with torch.no_grad():
        # In the graph places have finer names, but what was drawn as it was traced is no longer drawn.
        for graph in dict.fromkeys([network.graph, None]):
            one = values_by_place(graph, network.module, network.names, examples[:1])
            # Draws of few bits agree now and then.
            for _ in range(_MORE_RUNS):
                again = values_by_place(graph, network.module, network.names, examples[:1])
                if (place := first_difference(one, again, 1e-6)) is not None:
                    return f"layer {place!r}"
    return None


def _values(network: Subject, inputs: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    return values_by_place(network.graph, network.module, network.names, inputs)


def _rows(network: Subject, twin: _Twin, examples: torch.Tensor) -> Check:
    pair = examples[:2].to(twin.dtype)
    with torch.no_grad():
        together = twin.function(pair)
        alone = torch.cat([twin.function(pair[:1]), twin.function(pair[1:])])
    figure, bound = difference(together, alone, alone), 10 * twin.rounding
    if figure <= bound:
        return Check("rows", figure, bound, "right", "")
    with torch.no_grad():
        both, first = (_values(network, examples[:count]) for count in (2, 1))
    place = first_difference(both, first, max(bound, 100 * torch.finfo(examples.dtype).eps))
    where = "" if place is None else f"; the first layer where they meet is {place!r}"
    raise NetworkError(
        f"an image's outputs depend on the other images of its batch (by {100 * figure:.2g} %){where}. Batch"
        " normalisation needs stored statistics (track_running_stats=True), and nothing may be summed or attended to"
        " over the batch"
    )


def _gradients(network: Subject, twin: _Twin, examples: torch.Tensor) -> tuple[list[Check], str | None]:
    """Returns what is found of gradients, and why there are none to explain with."""
    if isinstance(network.module, OutputsOnly):
        return [Check("gradient_exists", None, None, "refused", network.module.why)], network.module.why
    pair = examples[:2].to(twin.dtype)
    with torch.no_grad():
        outputs = twin.function(pair)
    # Classes may be masked, with infinities or with numbers in which all else drowns.
    kept = outputs.isfinite().all(0).nonzero()[:, 0]
    outputs = outputs[:, kept]
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(len(kept), generator=generator, dtype=torch.float64).to(outputs)
    sizes = sizes_of(outputs, outputs)
    weights = weights / torch.where(sizes > 0, sizes, 1)
    twin, run = twin._replace(function=_of_classes(twin.function, kept)), _of_classes(network.run, kept)
    try:
        exact = gradient_of(twin.function, pair, weights)
        own = gradient_of(run, examples[:1], weights)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = f"a backward pass fails: {str(error).splitlines()[0]} {line_of_error(error)}".rstrip()
        return [Check("gradient_exists", 0.0, 1.0, "refused", reason)], reason
    parts = [own, *(() if exact is None else exact)]
    if exact is None or own is None or not all(bool(part.isfinite().all()) for part in parts):
        reason = _why_no_gradient(network, examples, exact)
        return [Check("gradient_exists", 0.0, 1.0, "refused", reason)], reason
    share = sum(bool(part.any()) for part in parts) / len(parts)
    if share == 0 and not _has_gradient_nearby(twin, examples, weights):
        if bool(((outputs[0] - outputs[1]).abs() <= twin.rounding * torch.where(sizes > 0, sizes, 1)).all()):
            detail = "the outputs of the probes are alike, and their gradients zero"
            return [Check("gradient_exists", share, 1.0, "noted", detail)], None
        reason = _why_no_gradient(network, examples, exact)
        return [Check("gradient_exists", share, 1.0, "refused", reason)], reason
    held, wrong = _held_against_differences(network.module, run, twin, examples, weights)
    return [Check("gradient_exists", share, 1.0, "right", ""), held], wrong


def _of_classes(function: Function, kept: torch.Tensor) -> Function:
    return lambda points: function(points)[:, kept]


def _has_gradient_nearby(twin: _Twin, examples: torch.Tensor, weights: torch.Tensor) -> bool:
    """Returns whether there is a gradient at other points, where there is none at the first two: they may be flat."""
    points = torch.cat([examples, 0.1 * examples, -examples]).to(twin.dtype)
    gradients = [gradient_of(twin.function, point.unsqueeze(0), weights) for point in points]
    return any(gradient is not None and bool(gradient.any()) for gradient in gradients)


def _why_no_gradient(network: Subject, examples: torch.Tensor, gradient: torch.Tensor | None) -> str:
    if gradient is not None and not bool(gradient.isfinite().all()):
        return "the gradient of the outputs with respect to the image is not finite"
    with torch.enable_grad():
        points = examples[:1].clone().requires_grad_()
        values = _values(network, points)
    lost = (name for name, value in values if value.is_floating_point() and not value.requires_grad)
    place = next(lost, None)
    where = "" if place is None else f": it is lost in {place!r}"
    return (
        f"no gradient of the outputs reaches the image{where}. Run frozen parts without torch.no_grad() or detach()"
        " (their parameters may stay frozen), and without rounding to integers"
    )


def _held_against_differences(
    module: nn.Module, run: Function, twin: _Twin, examples: torch.Tensor, weights: torch.Tensor
) -> tuple[Check, str | None]:
    """Holds gradients of one and two rows in both layouts against finite differences at the first of them.

    Returns:
        What was seen, and why there are no gradients to explain with.
    """
    start = examples[:1].to(twin.dtype)
    worst = Check("gradient", 0.0, None, "unknown", f"{examples.dtype} has too few digits for differences")
    for function, dtype in dict.fromkeys([(twin.function, twin.dtype), (run, examples.dtype)]):
        if torch.finfo(dtype).eps > _COARSE:
            continue
        found = []
        for layout in (torch.contiguous_format, torch.channels_last):
            for count in (1, 2):
                points = examples[:count].to(dtype).contiguous(memory_format=layout)
                gradient = gradient_of(function, points, weights)
                found.append(torch.zeros_like(start) if gradient is None else gradient[:1].to(twin.dtype))
        bound = 1e-2 if dtype == torch.float64 else 5e-2
        error = derivative_error(twin.function, start, weights, found, bound)
        if not error.is_known:
            worst = worst._replace(
                figure=None, detail="its outputs hardly depend on the image: rounding hides gradients"
            )
            continue
        if error.exceeds(bound):
            place = faulty_part(module, examples[:1], bound)
            where = "" if place is None else f"; the first module whose own gradient is wrong is {place!r}"
            reason = (
                "the gradient is not the derivative of the outputs: it differs from finite differences by"
                f" {error.error:.1%}{where}. Rounding, straight-through estimators, detached branches and backward"
                " passes of one's own do that; explain the network without"
            )
            return Check("gradient", error.error, bound, "refused", reason), reason
        if worst.bound is None or error.error / bound > (worst.figure or 0.0) / worst.bound:
            worst = Check("gradient", error.error, bound + error.rounding, "right", "")
    return worst, None


def _link(network: Subject, examples: torch.Tensor, told: Link | None) -> tuple[Link, Check]:
    with torch.no_grad():
        outputs = in_parts(network.run, examples)
        # Outputs of a head of zeros say nothing.
        are_likely = are_probabilities(outputs) and (add_up_to_one(outputs) or bool((outputs != outputs[:1]).any()))
        if are_likely and not add_up_to_one(outputs):
            # Raw outputs may happen to lie there; far out they do not.
            far = torch.cat([_FAR * examples, -_FAR * examples])
            are_likely = are_probabilities(in_parts(network.run, far))
    found: Link = "softmax" if outputs.shape[1] > 1 else "sigmoid"
    detail = "" if outputs.shape[1] > 1 else "one output: its probability is the sigmoid"
    if are_likely:
        kind = "add up to one" if add_up_to_one(outputs) else "lie between 0 and 1"
        found, detail = "none", f"the outputs {kind}: they are probabilities already"
    if told is None or told == found:
        verdict: Verdict = "noted" if are_likely and told is None else "right"
        return found, Check("link", None, None, verdict, detail and f"{found}: {detail}")
    detail = f"{told} as told; by the outputs it would be {found}" if are_likely or told == "none" else ""
    return told, Check("link", None, None, "noted" if detail else "right", detail)
