"""Retraining of a decomposed classifier, on one worker."""

from collections.abc import Iterator, Sequence
from hashlib import sha256

import torch
from torch import Tensor, nn

from attribution import decompose, decomposed_bytes, decomposed_from_bytes, retrain
from attribution.decomposition.classifiers import head_of
from attribution.errors import InvalidInput
from attribution_contracts.tasks.decomposition import RetrainReport, RetrainTask
from attribution_contracts.tasks.jobs import Shard
from workers.jobs.checkpoints import Checkpoints
from workers.problems import InvalidModel
from workers.tasks.fit import weights_file
from workers.tasks.work import Ended, Whole, Work


class _Again:
    """The images of a data set, as often as they are asked for."""

    def __init__(self, work: Work, shard: Shard) -> None:
        self._work, self._shard = work, shard

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._work.batches(self._shard)


def retrain_whole(work: Work, parts: Sequence[Ended]) -> Whole:
    """Trains for all epochs, each in an order of its own, from where an attempt before this one got to."""
    del parts
    task, job = work.job.task, work.job
    assert isinstance(task, RetrainTask)  # noqa: S101 - the table of tasks sees to it
    shard = Shard(start=0, stop=job.dataset.images)
    checkpoints = Checkpoints(work.context, work.claimed)

    def shuffled(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed((work.claimed.seed << 16 ^ epoch) % 2**63)
        return work.batches(shard, order=torch.randperm(shard.stop, generator=generator).tolist())

    trained = retrain(
        _untrained(work, task),
        shuffled,
        epochs=task.epochs,
        scope=task.scope,
        optimiser=task.optimiser,
        learning_rate=task.learning_rate,
        weight_decay=task.weight_decay,
        validation=None
        if job.validation is None
        else _Again(work, Shard(start=0, stop=job.validation.images, of="validation")),
        seed=work.claimed.seed,
        n_images=shard.stop,
        progress=work.progress("retraining"),
        keep=checkpoints.keep,
        start=checkpoints.last(),
    )
    weights = weights_file(decomposed_bytes(trained.module))
    report = RetrainReport(
        weights=sha256(weights.content).hexdigest(),
        n_features=head_of(trained.module).indices.shape[1],
        losses=trained.losses.tolist(),
        accuracies=None if trained.accuracies is None else trained.accuracies.tolist(),
        learning_rate=trained.learning_rate,
    )
    return Whole(report, [weights])


def _untrained(work: Work, task: RetrainTask) -> nn.Module:
    """The decomposed classifier of the fit, or as an earlier retraining left it."""
    network, fitted = work.loaded.network, work.fitted(task.fit)
    if task.weights is None:
        return decompose(network, fitted)
    try:
        module = decomposed_from_bytes(network, work.artifact(task.weights))
    except InvalidInput as error:
        raise InvalidModel(f"weights {task.weights}: {error}") from error
    if not torch.equal(head_of(module).indices.cpu(), fitted.indices.cpu()):
        raise InvalidModel(
            f"weights {task.weights} are of other features than the fit {task.fit}: name the fit that they come from"
        )
    return module
