"""Training a decomposed classifier, to give it back what the features left out took away."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch
from torch import nn
from torch.nn import functional

from attribution.checks import require_choice, require_count, require_labels, require_number
from attribution.data_sets.batches import Batches
from attribution.decomposition.checkpoints import checkpoint, resume
from attribution.decomposition.classifiers import head_of
from attribution.errors import InvalidInput, NetworkError
from attribution.passes.chunks import Progress

Scope = Literal["head", "all"]
Optimiser = Literal["sgd", "adam"]

#: Learning rates by optimiser and scope; the head has no weights before it to spoil.
_LEARNING_RATES = {("sgd", "head"): 0.05, ("sgd", "all"): 0.01, ("adam", "head"): 1e-2, ("adam", "all"): 1e-4}


class Retrained(NamedTuple):
    """A trained ``module`` in evaluation mode, and how it got there.

    Attributes:
        module: A copy; the one given is as it was.
        losses: Mean training loss of each epoch, ``(epochs,)``, float64.
        accuracies: Validation accuracy before and after each epoch, ``(epochs + 1,)``, float64; nothing without
            validation.
        learning_rate: The one used.
    """

    module: nn.Module
    losses: torch.Tensor
    accuracies: torch.Tensor | None
    learning_rate: float


def retrain(
    decomposed: nn.Module,
    batches: Batches | Callable[[int], Batches],
    *,
    epochs: int = 1,
    scope: Scope = "head",
    optimiser: Optimiser = "sgd",
    learning_rate: float | None = None,
    weight_decay: float = 0.0,
    validation: Batches | None = None,
    seed: int = 0,
    n_images: int | None = None,
    progress: Progress | None = None,
    keep: Callable[[Callable[[], dict[str, torch.Tensor]]], None] | None = None,
    start: dict[str, torch.Tensor] | None = None,
) -> Retrained:
    """Trains a decomposed classifier by cross-entropy: its head, or all of it.

    With ``"head"`` the rest stays in evaluation mode, so batch normalisation keeps its statistics and nothing but the
    head changes. With ``"all"`` the whole module is in training mode: batch normalisation normalises by the batch and
    updates its statistics, dropout drops. Our reading of the paper is the head first, then all: two calls.

    Args:
        decomposed: What ``decompose`` or an earlier call returned.
        batches: Pairs of images and classes; something that can be iterated once an epoch, or a function of the
            epoch's number (from 0), for another order or augmentation each time.
        epochs: Passes over the batches.
        scope: ``"head"`` or ``"all"``.
        optimiser: ``"sgd"`` (momentum 0.9) or ``"adam"``.
        learning_rate: Above 0; unless told 0.05 (head) and 0.01 (all) for SGD, 1e-2 and 1e-4 for Adam.
        weight_decay: Not negative.
        validation: Pairs that accuracy is measured on before the first and after each epoch; can be iterated again.
        seed: Of dropout and of whatever else draws from torch's own generator, which is put back afterwards.
        n_images: Images of an epoch, for the progress.
        progress: Called after each batch with images trained on and ``epochs * n_images`` (or 0); may raise to cancel.
        keep: Called after each epoch but the last with a function that returns the state as tensors, to be stored.
        start: Such a state, of a training with the same arguments, to go on from.

    Returns:
        The trained copy with its loss and accuracy by epoch.

    Raises:
        NetworkError: The module has no decomposed head, or its loss is not finite.
        InvalidInput: No batches, or a state of another training.
        InvalidTarget: A label that is no class.
        InvalidOption: An option out of range.

    Cost:
        A forward pass an image and epoch, with ``"all"`` a backward pass too; a copy of the weights.

    Guarantee:
        The same bytes for the same batches, seed, threads and device where torch's kernels are deterministic, also
        where a training was stopped and went on.

    Source:
        "Decomposing the Deep", section 5.2.3, which gives epochs but neither optimiser nor rate.
    """  # noqa: DOC502 - the checks that it calls raise them
    plan = _plan(epochs, scope, optimiser, learning_rate, weight_decay)
    require_count(seed, "seed", minimum=0, maximum=2**63 - 1)
    module = copy.deepcopy(decomposed)
    told = _Told(progress, epochs * (n_images or 0))
    with _seeded(module, seed), torch.inference_mode(False), torch.enable_grad():
        optimised = _optimiser(module, plan)
        if start is not None:
            losses, accuracies = resume(start, module, optimised)
            told.advance(len(losses) * (n_images or 0))
        else:
            losses, accuracies = [], [] if validation is None else [_accuracy(module, validation)]
        for epoch in range(len(losses), epochs):
            losses.append(_epoch(module, batches(epoch) if callable(batches) else batches, plan, optimised, told))
            if validation is not None:
                accuracies.append(_accuracy(module, validation))
            if keep is not None and epoch + 1 < epochs:
                keep(partial(checkpoint, module, optimised, losses, accuracies))
    return Retrained(
        module=module.eval().requires_grad_(True),
        losses=torch.tensor(losses, dtype=torch.float64),
        accuracies=torch.tensor(accuracies, dtype=torch.float64) if accuracies else None,
        learning_rate=plan.learning_rate,
    )


class _Plan(NamedTuple):
    scope: Scope
    optimiser: Optimiser
    learning_rate: float
    weight_decay: float


def _plan(epochs: int, scope: Scope, optimiser: Optimiser, learning_rate: float | None, weight_decay: float) -> _Plan:
    require_count(epochs, "epochs")
    require_choice(scope, "scope", get_args(Scope))
    require_choice(optimiser, "optimiser", get_args(Optimiser))
    rate = _LEARNING_RATES[optimiser, scope] if learning_rate is None else learning_rate
    require_number(rate, "learning_rate", 1e-12)
    return _Plan(scope, optimiser, rate, require_number(weight_decay, "weight_decay", 0.0))


class _Told:
    """Progress over all epochs."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def advance(self, n_images: int) -> None:
        self._done += n_images
        if self._progress is not None:
            self._progress(self._done, self._total)


@contextmanager
def _seeded(module: nn.Module, seed: int) -> Iterator[None]:
    """Seeds torch's own generators, the only source that dropout has, and puts them back."""
    device = head_of(module).weight.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _optimiser(module: nn.Module, plan: _Plan) -> torch.optim.Optimizer:
    module.requires_grad_(plan.scope == "all")
    head = head_of(module).requires_grad_(True)
    parameters = list(module.parameters() if plan.scope == "all" else head.parameters())
    if plan.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=plan.learning_rate, weight_decay=plan.weight_decay)
    return torch.optim.SGD(parameters, lr=plan.learning_rate, momentum=0.9, weight_decay=plan.weight_decay)


def _epoch(module: nn.Module, batches: Batches, plan: _Plan, optimised: torch.optim.Optimizer, told: _Told) -> float:
    """Trains over all batches once.

    Returns:
        The mean loss of an image.

    Raises:
        NetworkError: The loss is not finite.
        InvalidInput: There are no batches.
    """
    module.train(plan.scope == "all")
    total, n_images = 0.0, 0
    for inputs, labels in batches:
        loss = functional.cross_entropy(_logits(module, inputs), _labels(module, inputs, labels))
        if not bool(torch.isfinite(loss)):
            raise NetworkError(f"the loss is {float(loss.detach())} after {n_images} images; use a lower learning_rate")
        optimised.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch
        optimised.step()
        total, n_images = total + float(loss.detach()) * len(inputs), n_images + len(inputs)
        told.advance(len(inputs))
    if not n_images:
        raise InvalidInput("batches is empty, expected pairs of images and labels; an iterator can be used only once")
    return total / n_images


def _logits(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    # A copy, for an in-place first layer must not reach the caller's images.
    outputs = module(inputs.to(head_of(module).weight.device, non_blocking=True, copy=True))
    # In training mode some networks return their auxiliary classifiers as well.
    logits: torch.Tensor = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
    return logits


def _labels(module: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    head = head_of(module)
    require_labels(labels, len(inputs), len(head.weight))
    return labels.to(head.weight.device, non_blocking=True)


def _accuracy(module: nn.Module, batches: Batches) -> float:
    module.eval()
    right, n_images = 0, 0
    with torch.no_grad():
        for inputs, labels in batches:
            found = _logits(module, inputs).argmax(1)
            right += int((found == _labels(module, inputs, labels)).sum())
            n_images += len(inputs)
    if not n_images:
        raise InvalidInput("validation is empty, expected pairs of images and labels that can be iterated again")
    return right / n_images
