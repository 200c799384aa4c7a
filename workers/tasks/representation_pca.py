"""Principal components of a layer: representations of each shard, and in the end where every image lies.

A part keeps its representations, for the merge reads them twice: once for mean and scatter, once for coordinates. To
merge costs some thousandth of what the passes did, and holds one part at a time.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from functools import reduce

import torch
from safetensors.torch import load, save

from attribution.data_sets.principal import (
    Moments,
    Principal,
    between,
    moments,
    principal_components,
    require_width,
)
from attribution.layerwise.responses import chosen_layer, over_layer, representation_of
from attribution.networks.link import probabilities
from attribution_contracts.tasks.jobs import Shard
from attribution_contracts.tasks.representation_pca import (
    RepresentationPcaReport,
    RepresentationPcaTask,
    Separation,
)
from workers.datasets.reader import DatasetReader
from workers.drawing.explained import class_name
from workers.drawing.points import Points, points_page, scatter_chart, scree_chart
from workers.drawing.rendering import RenderedFile
from workers.jobs.tracking import watched
from workers.tasks.work import BINARY, Ended, Part, Whole, Work


def pca_part(work: Work, shard: Shard) -> Part:
    """The representations of one shard, with what the network says of each image."""
    task, network = work.job.task, work.loaded.network
    assert isinstance(task, RepresentationPcaTask)  # noqa: S101 - the table of tasks sees to it
    kept: list[tuple[torch.Tensor, ...]] = []

    def receive(maps: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        vectors = representation_of(maps, task.representation)
        require_width(vectors)
        sure = probabilities(logits.float(), network.link)
        winners = logits.argmax(1)
        likely = sure.gather(1, winners.unsqueeze(1))[:, 0]
        kept.append(tuple(one.cpu() for one in (vectors.float(), winners, likely, labels)))

    over_layer(
        network,
        work.batches(shard),
        task.layer,
        receive,
        n_images=shard.stop - shard.start,
        progress=work.progress("looking"),
    )
    names = ("representations", "predicted", "probability", "labels")
    columns = (torch.cat(column).contiguous() for column in zip(*kept, strict=True))
    return Part({}, save(dict(zip(names, columns, strict=True))))


def pca_merge(work: Work, parts: Sequence[Ended]) -> Whole:
    """The components of all parts, and every image's coordinates."""
    task = work.job.task
    assert isinstance(task, RepresentationPcaTask)  # noqa: S101 - the table of tasks sees to it
    found = principal_components(reduce(Moments.merge, map(_moments, _states(work, parts))), task.n_components)
    points = _points(work, _states(work, parts), found)
    first = points.coordinates[:, :2]
    shares = (found.spectrum / found.total).cumsum(0)
    report = RepresentationPcaReport(
        layer=_layer_name(work, task),
        representation=task.representation,
        images=len(first),
        width=len(found.mean),
        explained=found.explained.tolist(),
        half=1 + int((shares < 0.5).sum()),
        most=1 + int((shares < 0.9).sum()),
        separation=Separation(label=between(first, points.labels), prediction=between(first, points.predicted)),
    )
    reader = DatasetReader(work.context, work.claimed.tenant, work.job.dataset.sha256)
    title = f"{report.layer}: {report.images:,} images"
    page = points_page(
        points,
        title,
        task.color,
        found.explained.tolist(),
        (
            (position, image.displayed)
            for position in watched(points.pictured(task.n_pictures), work.tracker.look)
            for image in reader.images(work.loaded.spec, [position])
        ),
    )
    charts = [scatter_chart(points, title, task.color, found.explained.tolist()), scree_chart(found, title)]
    return Whole(report, [*charts, page, _table(points), _components(found)])


def _states(work: Work, parts: Sequence[Ended]) -> Iterator[dict[str, torch.Tensor]]:
    for part in watched(parts, work.tracker.look):
        yield load(work.artifact(part.state.sha256))


def _moments(state: dict[str, torch.Tensor]) -> Moments:
    return moments(state["representations"])


def _points(work: Work, states: Iterator[dict[str, torch.Tensor]], found: Principal) -> Points:
    columns = zip(
        *(
            (
                found.coordinates(state["representations"]),
                state["labels"],
                state["predicted"],
                state["probability"],
            )
            for state in states
        ),
        strict=True,
    )
    coordinates, labels, predicted, probability = map(torch.cat, columns)
    names = DatasetReader(work.context, work.claimed.tenant, work.job.dataset.sha256).names
    return Points(coordinates, labels, predicted, probability, names, work.loaded.spec.labels)


def _layer_name(work: Work, task: RepresentationPcaTask) -> str:
    network, device = work.loaded.network, work.context.models.device
    reader = DatasetReader(work.context, work.claimed.tenant, work.job.dataset.sha256)
    [example] = reader.images(work.loaded.spec, [0])
    network.class_count(example.tensor.unsqueeze(0).to(device))  # layers have shapes once it has run
    return chosen_layer(network, task.layer).name


def _table(points: Points) -> RenderedFile:
    """A row an image, for other programs."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    count = points.coordinates.shape[1]
    header = ["image", "label", "label_name", "prediction", "prediction_name", "probability", "right"]
    writer.writerow([*header, *(f"pc{number + 1}" for number in range(count))])
    columns = (points.names, points.labels.tolist(), points.predicted.tolist(), points.probability.tolist())
    for row, (name, label, winner, sure) in enumerate(zip(*columns, strict=True)):
        said = [label, class_name(points.classes, label), winner, class_name(points.classes, winner), f"{sure:.6g}"]
        places = [f"{value:.8g}" for value in points.coordinates[row].tolist()]
        writer.writerow([name, *said, int(label == winner), *places])
    content = buffer.getvalue().encode()
    return RenderedFile("coordinates.csv", "coordinates", "text/csv", content, [len(points.names), count])


def _components(found: Principal) -> RenderedFile:
    """What turns other representations into coordinates."""
    tensors = {name: getattr(found, name).contiguous() for name in ("mean", "components", "spectrum")}
    content = save(tensors)
    return RenderedFile("components.safetensors", "components", BINARY, content, list(found.components.shape))
