"""Cues: the answers to all that is left of each image of a shard, and in the end what each cue carries."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor

from attribution.data_sets.batches import over_batches
from attribution.data_sets.carried import carried
from attribution.networks.link import Link, probabilities
from attribution.perturbation import cues as pictures
from attribution_contracts.tasks.jobs import Shard
from attribution_contracts.tasks.part_shape_texture import (
    Cue,
    CueFigures,
    PartShapeTextureReport,
    PartShapeTextureTask,
)
from workers.datasets.reader import DatasetReader
from workers.drawing.cues import Example, carried_chart, cue_sheet
from workers.drawing.explained import class_name
from workers.drawing.rendering import RenderedFile
from workers.drawing.words import percent
from workers.jobs.tracking import watched
from workers.methods.baselines import generator_of
from workers.tasks.work import Ended, Part, Whole, Work

_OBJECT = (0.02, 0.8)
"""Shares of an image that an object is believed to have."""
_DOUBT = 0.2
"""Of the images: where more have no object by the rule, its silhouettes say little."""


class Answers(NamedTuple):
    """What the network says of images, and of all that is left of them: the images themselves come first."""

    labels: Tensor
    predicted: Tensor
    """int64 `(n, 1 + cues)`."""
    own: Tensor
    """float32 `(n, 1 + cues)`, the probability of the image's own class."""
    winner: Tensor
    """float32 `(n, 1 + cues)`, that of the class that the image itself is given."""
    foreground: Tensor
    """float32 `(n,)`, the share of the image that is taken for the object."""


@dataclass(frozen=True)
class _Cues:
    """What makes a picture of each cue, as a task asks for it."""

    task: PartShapeTextureTask
    seed: int

    def left(self, cue: Cue, images: Tensor, foreground: Tensor, digests: Sequence[str]) -> Tensor:
        """What is left of images; by lot where lots are drawn, the same for the same bytes of an image."""
        task, dice = self.task, [generator_of(self.seed, digest, cue) for digest in digests]
        made: dict[Cue, Callable[[], Tensor]] = {
            "shuffled": lambda: pictures.patches_shuffled(images, dice, grid=task.grid),
            "occluded": lambda: pictures.parts_occluded(images, dice, grid=task.grid, hidden=task.hidden),
            "silhouette": lambda: pictures.silhouettes(images, foreground),
            "texture": lambda: pictures.textures(images, foreground, share=task.window),
            "blurred": lambda: pictures.blurred(images, sigma=task.sigma),
            "edges": lambda: pictures.edges(images),
        }
        return made[cue]()


class _Scale(NamedTuple):
    """Between what the network takes and values from 0 to 1."""

    mean: Tensor
    std: Tensor

    def images(self, inputs: Tensor) -> Tensor:
        return (inputs * self.std + self.mean).clamp(0, 1)

    def inputs(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


def cues_part(work: Work, shard: Shard) -> Part:
    """The answers to one shard."""
    task, network = work.job.task, work.loaded.network
    assert isinstance(task, PartShapeTextureTask)  # noqa: S101 - the table of tasks sees to it
    scale, cues = _scale(work), _Cues(task, work.claimed.seed)
    digests = _reader(work).digests
    kept, start = list[Answers](), shard.start

    def answer(inputs: Tensor, labels: Tensor) -> None:
        nonlocal start
        images, own = scale.images(inputs), digests[start : start + len(inputs)]
        foreground, found = pictures.foregrounds(images), [network.logits(inputs).detach()]
        found += [network.logits(scale.inputs(cues.left(cue, images, foreground, own))).detach() for cue in task.cues]
        kept.append(_answers(torch.stack(found, 1), labels, foreground, network.link))
        start += len(inputs)

    over_batches(
        network,
        work.batches(shard),
        answer,
        n_images=shard.stop - shard.start,
        chunk_size=None,
        progress=work.progress("answering"),
    )
    columns = (torch.cat(column).contiguous() for column in zip(*kept, strict=True))
    return Part({}, save(dict(zip(Answers._fields, columns, strict=True))))


def _answers(logits: Tensor, labels: Tensor, foreground: Tensor, link: Link) -> Answers:
    """Of logits `(n, 1 + cues, classes)`."""
    sure = probabilities(logits.float().flatten(0, 1), link).view(logits.shape)
    predicted = logits.argmax(2)
    own, winner = (
        sure.gather(2, one.view(-1, 1, 1).expand(-1, sure.shape[1], 1))[:, :, 0] for one in (labels, predicted[:, 0])
    )
    found = (labels, predicted, own, winner, foreground.flatten(1).float().mean(1))
    return Answers(*(one.cpu() for one in found))


def cues_merge(work: Work, parts: Sequence[Ended]) -> Whole:
    """What each cue carries, the table of all images, and examples."""
    task = work.job.task
    assert isinstance(task, PartShapeTextureTask)  # noqa: S101 - the table of tasks sees to it
    states = [load(work.artifact(part.state.sha256)) for part in watched(parts, work.tracker.look)]
    found = Answers(*(torch.cat([state[name] for state in states]) for name in Answers._fields))
    whole = carried(found.labels, found.predicted[:, 0], found.predicted[:, 0])
    report = PartShapeTextureReport(
        images=len(found.labels),
        accuracy=whole.accuracy,
        accuracy_error=whole.accuracy_error,
        probability=float(found.own[:, 0].double().mean()),
        cues=[_figures(found, cue, number) for number, cue in enumerate(task.cues, 1)],
        warnings=_warnings(task, found),
    )
    files = [carried_chart(report), _table(work, task, found)]
    if examples := _examples(work, task, found):
        files.insert(0, cue_sheet(examples, f"What is left of {len(examples)} images, and what the network says of it"))
    return Whole(report, files)


def _figures(found: Answers, cue: Cue, number: int) -> CueFigures:
    share = carried(found.labels, found.predicted[:, 0], found.predicted[:, number])
    moved = (found.own[:, number] - found.own[:, 0]).double()
    n = len(moved)
    return CueFigures(
        cue=cue,
        accuracy=share.accuracy,
        accuracy_error=share.accuracy_error,
        carried=share.carried,
        carried_error=share.carried_error,
        moved=float(moved.mean()),
        moved_error=float(moved.std()) / n**0.5 if n > 1 else None,
        kept=float((found.predicted[:, 0] == found.predicted[:, number]).double().mean()),
    )


def _warnings(task: PartShapeTextureTask, found: Answers) -> list[str]:
    low, high = _OBJECT
    without = int(((found.foreground < low) | (found.foreground > high)).sum())
    n = len(found.foreground)
    if without <= _DOUBT * n or not {"silhouette", "texture"} & set(task.cues):
        return []
    said = (
        f"in {without:,} of {n:,} images the rule finds no object (less than {low:.0%} or more than {high:.0%} of the "
        "image differs from its rim in colour): their silhouettes say little, and their texture may be the background's"
    )
    return [said]


def _table(work: Work, task: PartShapeTextureTask, found: Answers) -> RenderedFile:
    """A row an image: how the probability moves with each cue."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    ways = ["image_itself", *task.cues]
    said = ("prediction", "label_probability", "winner_probability")
    writer.writerow(["image", "label", "foreground", *(f"{way}_{one}" for way in ways for one in said)])
    for row, name in enumerate(_reader(work).names):
        figures: list[object] = []
        for way in range(len(ways)):
            figures += [int(found.predicted[row, way]), *(f"{float(one[row, way]):.6g}" for one in found[2:4])]
        writer.writerow([name, int(found.labels[row]), f"{float(found.foreground[row]):.4g}", *figures])
    content = buffer.getvalue().encode()
    return RenderedFile("answers.csv", "answers", "text/csv", content, [len(found.labels), len(ways)])


def _examples(work: Work, task: PartShapeTextureTask, found: Answers) -> list[Example]:
    """Of each class in turn the first image that is right, for as many as are asked for."""
    cues, scale, reader, labels = (
        _Cues(task, work.claimed.seed),
        _scale(work),
        _reader(work),
        work.loaded.spec.labels,
    )
    examples = []
    for position in watched(_chosen(found, task.n_examples), work.tracker.look):
        [image] = reader.images(work.loaded.spec, [position])
        shown = scale.images(image.tensor.unsqueeze(0).to(scale.mean.device))
        foreground = pictures.foregrounds(shown)
        left = [shown, *(cues.left(cue, shown, foreground, [reader.digests[position]]) for cue in task.cues)]
        captions = [
            f"{way}\n{_said(labels, found, position, number)}" for number, way in enumerate(["the image", *task.cues])
        ]
        examples.append(Example(captions, [one[0].cpu().numpy() for one in left]))
    return examples


def _said(labels: Sequence[str], found: Answers, position: int, number: int) -> str:
    """What the network takes an image for, and the probability of its own class."""
    own, given = int(found.labels[position]), int(found.predicted[position, number])
    sure = f"{class_name(labels, own)}: {percent(float(found.own[position, number]), 0)}"
    return sure if own == given else f"taken for {class_name(labels, given)}\n{sure}"


def _chosen(found: Answers, count: int) -> list[int]:
    right = (found.predicted[:, 0] == found.labels).nonzero()[:, 0].tolist() or list(range(len(found.labels)))
    turns: dict[int, int] = {}
    ranked = []
    for position in right:
        label = int(found.labels[position])
        turns[label] = turns.get(label, -1) + 1
        ranked.append((turns[label], position))
    return [position for _, position in sorted(ranked)[:count]]


def _scale(work: Work) -> _Scale:
    preprocessing, device = work.loaded.spec.preprocessing, work.context.models.device
    mean, std = (torch.tensor(one, device=device).view(1, -1, 1, 1) for one in (preprocessing.mean, preprocessing.std))
    return _Scale(mean, std)


def _reader(work: Work) -> DatasetReader:
    return DatasetReader(work.context, work.claimed.tenant, work.job.dataset.sha256)
