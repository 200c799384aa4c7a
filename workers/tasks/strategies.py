"""Strategies: the maps of each shard as short vectors, and in the end their clusters, class by class."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor

import attribution
from attribution import Network
from attribution.data_sets.batches import over_batches
from attribution.data_sets.strategies import (
    MOST_CLUSTERED,
    Clusters,
    Nearest,
    Strategies,
    clusters_of,
    map_vectors,
    strategies_of,
)
from attribution.networks.link import probabilities
from attribution_contracts.tasks.jobs import Shard
from attribution_contracts.tasks.strategies import (
    MAP_METHODS,
    ClassStrategies,
    MapMethod,
    StrategiesReport,
    StrategiesTask,
    Strategy,
)
from workers.datasets.reader import DatasetReader
from workers.drawing.explained import class_name
from workers.drawing.rendering import RenderedFile
from workers.drawing.strategies import Example, Shown, strategy_sheet
from workers.jobs.tracking import watched
from workers.problems import InvalidModel
from workers.tasks.work import BINARY, Ended, Part, Whole, Work

MOST_SHEETS = 20
"""Classes with sheets: those with several strategies first."""
_NAMED = 5
"""Images that the report names of each strategy."""
_Maps = Callable[[Network, Tensor, Tensor], Any]
_MAPS: dict[MapMethod, _Maps] = {"lrp": attribution.lrp, "input_x_gradient": attribution.input_x_gradient}


class Decisions(NamedTuple):
    """What a shard or the whole data set holds of each image."""

    vectors: Tensor
    """float32 `(n, side * side)`."""
    labels: Tensor
    predicted: Tensor
    probability: Tensor
    """float32 `(n,)`, of the predicted class."""
    group: Tensor
    """int64 `(n,)`, the class that the image counts for, which is explained."""


class Found(NamedTuple):
    """The strategies of one class."""

    of: int
    """The class."""
    positions: Tensor
    """Of its images in the data set."""
    clusters: Clusters
    clustered: int
    known: Strategies
    near: Nearest
    members: list[Tensor]
    """The positions of each strategy's images, the closest to its centre first."""


def strategies_part(work: Work, shard: Shard) -> Part:
    """The vectors of one shard."""
    task, kept = _task(work), list[Decisions]()
    network = work.loaded.network.explaining("logit")
    method = map_method(work)

    def look(inputs: Tensor, labels: Tensor) -> None:
        logits = network.logits(inputs).detach()
        winners = logits.argmax(1)
        likely = probabilities(logits.float(), network.link).gather(1, winners[:, None])[:, 0]
        group = labels if task.group == "label" else winners
        vectors = map_vectors(maps_of(network, method, inputs, group), task.side)
        kept.append(Decisions(*(one.cpu() for one in (vectors, labels, winners, likely, group))))

    over_batches(
        network,
        work.batches(shard),
        look,
        n_images=shard.stop - shard.start,
        chunk_size=None,
        progress=work.progress("explaining"),
    )
    columns = (torch.cat(column).contiguous() for column in zip(*kept, strict=True))
    return Part({"maps": method}, save(dict(zip(Decisions._fields, columns, strict=True))))


def strategies_merge(work: Work, parts: Sequence[Ended]) -> Whole:
    """The clusters of each class, how far each image lies from them, and pictures."""
    task = _task(work)
    states = [load(work.artifact(part.state.sha256)) for part in watched(parts, work.tracker.look)]
    decisions = Decisions(*(torch.cat([state[name] for state in states]) for name in Decisions._fields))
    method: MapMethod = parts[0].result.details["maps"]
    found = list(watched(_found(task, decisions, work.claimed.seed), work.tracker.look))
    state = _state(found)
    reader = DatasetReader(work.context, work.claimed.tenant, work.job.dataset.sha256)
    names, labels = reader.names, work.loaded.spec.labels
    report = StrategiesReport(
        state=sha256(state.content).hexdigest(),
        maps=method,
        images=len(names),
        several=[one.of for one in found if one.clusters.n_clusters > 1],
        by_class=[_told(one, decisions, names, labels) for one in found],
    )
    first = sorted(found, key=lambda one: (one.clusters.n_clusters == 1, one.of))[:MOST_SHEETS]
    sheets = [_sheet(work, reader, one, decisions, method) for one in watched(first, work.tracker.look)]
    return Whole(report, [*sheets, _table(names, decisions, found), state])


def map_method(work: Work) -> MapMethod:
    """What maps are made by: as was asked for, or the first that applies.

    Raises:
        InvalidModel: None does.
    """
    if (asked := _task(work).maps) is not None:
        return asked
    disabled = work.context.settings.disabled_methods
    reasons = attribution.applicable_methods(work.loaded.network)
    reasons |= {method: "the operator has disabled it" for method in MAP_METHODS if method in disabled}
    for method in MAP_METHODS:
        if reasons[method] is None:
            return method
    raise InvalidModel("; ".join(f"{method}: {reasons[method]}" for method in MAP_METHODS))


def maps_of(network: Network, method: MapMethod, inputs: Tensor, target: Tensor) -> Tensor:
    """Maps `(n, channels, H, W)` of one class of each image."""
    maps: Tensor = _MAPS[method](network, inputs, target)[0].detach()
    return maps


def _task(work: Work) -> StrategiesTask:
    task = work.job.task
    assert isinstance(task, StrategiesTask)  # noqa: S101 - the table of tasks sees to it
    return task


def _found(task: StrategiesTask, decisions: Decisions, seed: int) -> Iterator[Found]:
    groups = sorted(set(decisions.group.tolist()))
    for index in groups if task.classes is None else [one for one in task.classes if one in groups]:
        positions = (decisions.group == index).nonzero()[:, 0]
        if len(positions) < 2:
            continue
        step = -(-len(positions) // MOST_CLUSTERED)
        some, whole = decisions.vectors[positions[::step]], decisions.vectors[positions]
        clusters = clusters_of(some, seed=seed)
        known = strategies_of(some, clusters.labels, seed=seed)
        near = known.nearest(whole)
        strategies = near.strategies.clone()
        strategies[::step] = clusters.labels  # what was clustered keeps its cluster
        order = near.distances.argsort(stable=True)
        members = [positions[order[strategies[order] == number]] for number in range(clusters.n_clusters)]
        near = near._replace(strategies=strategies)
        yield Found(index, positions, clusters, len(some), known, near, members)


def _told(found: Found, decisions: Decisions, names: Sequence[str], labels: Sequence[str]) -> ClassStrategies:
    n = len(found.positions)
    far = found.near.distances.argsort(descending=True, stable=True)[:_NAMED]
    return ClassStrategies(
        index=found.of,
        name=labels[found.of] if labels else None,
        images=n,
        clustered=found.clustered,
        n_neighbors=found.clusters.n_neighbors,
        eigenvalues=found.clusters.eigenvalues.tolist(),
        strategies=[
            Strategy(
                images=len(own),
                share=len(own) / n,
                right=float((decisions.predicted[own] == decisions.labels[own]).double().mean()),
                nearest=[names[at] for at in own[:_NAMED].tolist()],
            )
            for own in found.members
        ],
        farthest=[names[at] for at in found.positions[far].tolist()],
    )


def _sheet(work: Work, reader: DatasetReader, found: Found, decisions: Decisions, method: MapMethod) -> RenderedFile:
    task, labels = _task(work), work.loaded.spec.labels
    network = work.loaded.network.explaining("logit")
    shown = []
    for own in found.members:
        examples = []
        for position in own[: task.n_examples].tolist():
            [image] = reader.images(work.loaded.spec, [position])
            inputs = image.tensor.unsqueeze(0).to(work.context.models.device)
            target = torch.tensor([found.of], device=inputs.device)
            maps = maps_of(network, method, inputs, target)[0].sum(0).float().cpu().numpy()
            given = class_name(labels, int(decisions.predicted[position]))
            examples.append(Example(f"{reader.names[position]}\ntaken for {given}", image.displayed, maps))
        mean = decisions.vectors[own].mean(0).view(task.side, task.side).numpy()
        shown.append(Shown(f"{len(own):,} of {len(found.positions):,} images", mean, examples))
    title = f"{class_name(labels, found.of)}: {_counted(len(shown))}, by the maps of {method}"
    return strategy_sheet(title, found.of, shown)


def _counted(count: int) -> str:
    return "one strategy" if count == 1 else f"{count} strategies"


def _table(names: Sequence[str], decisions: Decisions, found: Sequence[Found]) -> RenderedFile:
    """A row an image whose class has strategies."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", "label", "prediction", "probability", "class", "strategy", "distance"])
    count = 0
    for one in found:
        rows = zip(one.positions.tolist(), one.near.strategies.tolist(), one.near.distances.tolist(), strict=True)
        for position, strategy, distance in rows:
            said = [int(decisions.labels[position]), int(decisions.predicted[position])]
            sure = f"{float(decisions.probability[position]):.6g}"
            writer.writerow([names[position], *said, sure, one.of, strategy, f"{distance:.6g}"])
            count += 1
    return RenderedFile("decisions.csv", "decisions", "text/csv", buffer.getvalue().encode(), [count, 7])


def _state(found: Sequence[Found]) -> RenderedFile:
    """The mixtures of all classes."""
    named = {f"{one.of}.{name}": value for one in found for name, value in one.known._asdict().items()}
    content = save({name: value.contiguous() for name, value in named.items()})
    return RenderedFile("strategies.safetensors", "strategies", BINARY, content, [len(content)])
