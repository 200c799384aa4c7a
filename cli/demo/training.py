"""Training of the small demonstration classifiers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from attribution_contracts.models import Preprocessing

Progress = Callable[[int, int], None]
"""Called with the batches done and in all."""


class Recipe(NamedTuple):
    """How long and how fast to learn."""

    epochs: int
    batch_size: int = 64
    learning_rate: float = 2e-3


class Examples(NamedTuple):
    """Normalised inputs and their classes."""

    inputs: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, images: NDArray[np.uint8], labels: NDArray[np.int64], preprocessing: Preprocessing) -> "Examples":
        """Pixels `(n, channels, H, W)` of the right size already, normalised as the specification says."""
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        return cls((torch.from_numpy(images) / 255 - mean) / std, torch.from_numpy(labels))


class Trained(NamedTuple):
    """A classifier and what it reaches."""

    module: nn.Module
    accuracy: float
    """Share of the held-out examples that it gets right."""


def trained(
    build: Callable[[], nn.Module],
    examples: Examples,
    held_out: Examples,
    recipe: Recipe,
    seed: int,
    progress: Progress | None = None,
) -> Trained:
    """A new classifier after training: the same for the same seed and machine."""
    with _reproducible(seed):
        module = build()
        fit(module, examples, recipe, progress)
        return Trained(module, accuracy(module, held_out))


def fit(module: nn.Module, examples: Examples, recipe: Recipe, progress: Progress | None = None) -> None:
    """Trains a module in place, with a learning rate that rises and falls once; leaves it in evaluation mode."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=recipe.learning_rate)
    batches = [rows for _ in range(recipe.epochs) for rows in _shuffled(len(examples.labels), recipe.batch_size)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=len(batches))
    module.train()
    for done, rows in enumerate(batches, start=1):
        optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(module(examples.inputs[rows]), examples.labels[rows]))
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(done, len(batches))
    module.eval()


def accuracy(module: nn.Module, examples: Examples) -> float:
    """The share of examples whose highest logit is their label's."""
    return float(is_right(module, examples).float().mean())


@torch.no_grad()
def is_right(module: nn.Module, examples: Examples) -> torch.Tensor:
    """Whether the highest logit of each example is its label's."""
    predicted = torch.cat([module(rows).argmax(1) for rows in torch.split(examples.inputs, 64)])
    return predicted == examples.labels


def save(module: nn.Module, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes the weights as safetensors of a floating type, without the counters of batch normalisation."""
    state = {
        name: tensor.to(dtype).contiguous()
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(state, path)


def _shuffled(count: int, batch_size: int) -> Iterator[torch.Tensor]:
    yield from torch.split(torch.randperm(count), batch_size)


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """One thread and a random state of its own; both are put back afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
