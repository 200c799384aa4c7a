"""Maximal patches: the first images of either end of each shard, and in the end the patches that they show."""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import torch

from attribution.data_sets.extremes import NOBODY, Extremes, Ranking
from attribution.errors import InvalidOption, NetworkError
from attribution.layerwise.responses import chosen_layer, layer_extremes
from attribution.networks.layers import Layer
from attribution.networks.receptive_fields import ReceptiveFields, Window
from attribution.propagation.unit_maps import UnitRule, unit_maps
from attribution_contracts.tasks.jobs import Shard
from attribution_contracts.tasks.maximal_patches import (
    ChannelPatches,
    MaximalPatchesReport,
    MaximalPatchesTask,
    Patch,
)
from workers.datasets.reader import DatasetReader
from workers.drawing.explained import class_name
from workers.drawing.patches import Channel, Patched, channel_sheet, counted, overview
from workers.drawing.planes import MapValues
from workers.drawing.rendering import RenderedFile
from workers.drawing.words import amount
from workers.images.preprocessing import Prepared
from workers.jobs.tracking import watched
from workers.tasks.work import Ended, Part, Whole, Work

_N_CHANNELS = 9
_BY = {"maximum": "largest value", "mean": "mean", "absolute": "largest absolute value"}
_UNLESS_TOLD: tuple[UnitRule, ...] = ("lrp", "deconvolution")
"""Deconvolution draws much the same for every image where a network has few pools with switches."""


def patches_part(work: Work, shard: Shard) -> Part:
    """The extremes of one shard, of all channels of the layer."""
    task = work.job.task
    assert isinstance(task, MaximalPatchesTask)  # noqa: S101 - the table of tasks sees to it
    found = layer_extremes(
        work.loaded.network,
        work.batches(shard),
        task.layer,
        n=task.n_images,
        measure=task.measure,
        start=shard.start,
        n_images=shard.stop - shard.start,
        progress=work.progress("looking"),
    )
    _require_channels(task, found)
    return Part({}, found.to_bytes())


def patches_merge(work: Work, parts: Sequence[Ended]) -> Whole:
    """The extremes of all parts, and sheets of the patches of the channels that are shown."""
    task = work.job.task
    assert isinstance(task, MaximalPatchesTask)  # noqa: S101 - the table of tasks sees to it
    states = (Extremes.from_bytes(work.artifact(part.state.sha256)) for part in watched(parts, work.tracker.look))
    found = reduce(Extremes.merge, states)
    seen = _Seen(work, task, found)
    channels = task.channels or found.outstanding(task.n_channels or _N_CHANNELS) or [0]
    shown = [(seen.told(channel), seen.drawn(channel)) for channel in watched(channels, work.tracker.look)]
    report = MaximalPatchesReport(
        layer=seen.layer.name,
        measure=task.measure,
        images=found.n_images,
        n_channels=len(found.mean),
        beside=seen.rule,
        channels=[told for told, _ in shown],
        warnings=seen.warnings,
    )
    return Whole(report, _files(report, [drawn for _, drawn in shown]))


def _files(report: MaximalPatchesReport, drawn: Sequence[Channel]) -> list[RenderedFile]:
    title = f"What excites {len(drawn)} of the {report.n_channels:,} feature maps of {report.layer} most"
    whole = overview(drawn, [f"channel {one.channel}" for one in report.channels], title)
    own = [
        channel_sheet(one)._replace(name=f"channel-{told.channel}.png", quantity="channel_patches")
        for one, told in zip(drawn, report.channels, strict=True)
    ]
    return [whole, *own]


def _require_channels(task: MaximalPatchesTask, found: Extremes) -> None:
    if task.channels is not None and max(task.channels) >= len(found.mean):
        raise InvalidOption(
            f"channels names {max(task.channels)}, but the layer {task.layer!r} has the channels 0 to"
            f" {len(found.mean) - 1}"
        )


class _Row(NamedTuple):
    """One image of a ranking."""

    position: int
    value: float
    row: int
    column: int


class _Seen:
    """The images that extremes name, and what the units in them see."""

    def __init__(self, work: Work, task: MaximalPatchesTask, found: Extremes) -> None:
        self._work, self._task, self._found = work, task, found
        pinned, self._network = work.job.dataset, work.loaded.network
        self._reader = DatasetReader(work.context, work.claimed.tenant, pinned.sha256)
        self._classes = pinned.classes
        example = self._images([0])[0].tensor.unsqueeze(0).to(work.context.models.device)
        self._network.class_count(example)
        self.layer: Layer = chosen_layer(self._network, task.layer)
        self._fields = ReceptiveFields(self._network, self.layer.name)
        self.warnings: list[str] = []
        self.rule = self._rule(example)

    def told(self, channel: int) -> ChannelPatches:
        """What is reported of a channel."""
        return ChannelPatches(
            channel=channel,
            mean=float(self._found.mean[channel]),
            std=float(self._found.std[channel]),
            most=[self._patch(one) for one in self._rows(self._found.most, channel)],
            least=[self._patch(one) for one in self._rows(self._found.least, channel)],
        )

    def drawn(self, channel: int) -> Channel:
        """What is shown of a channel."""
        most, least = (list(self._rows(side, channel)) for side in (self._found.most, self._found.least))
        images = self._images([one.position for one in most])
        maps = self._maps(channel, most, images)
        patches = [
            Patched(
                image.displayed, self._shown(one, image), None if maps is None else maps[at], self._peak(one, image)
            )
            for at, (one, image) in enumerate(zip(most, images, strict=True))
        ]
        others = [Patched(one.displayed, _whole(one)) for one in self._images([one.position for one in least])]
        how, mean, std = (
            _BY[self._task.measure],
            *(amount(float(one[channel])) for one in (self._found.mean, self._found.std)),
        )
        return Channel(
            f"channel {channel} of {self.layer.name} by its {how}: {mean} ± {std} over {self._found.n_images:,} images",
            patches,
            others,
            (
                f"excite it most: {self._said(most)}",
                f"{str(self.rule).replace('_', ' ')} of the unit with the largest value",
                f"excite it least: {self._said(least)}",
            ),
        )

    def _said(self, rows: Sequence[_Row]) -> str:
        names = [class_name(self._work.loaded.spec.labels, self._class(one.position)) for one in rows]
        return f"{amount(rows[0].value)} to {amount(rows[-1].value)}; {counted(names)}"

    def _rule(self, example: torch.Tensor) -> UnitRule | None:
        """What leads units back: as was asked for, or what applies."""
        asked = self._task.beside
        if asked == "none":
            return None
        reasons: list[str] = []
        disabled = self._work.context.settings.disabled_methods
        for rule in (asked,) if asked is not None else _UNLESS_TOLD:
            if rule in disabled:
                reasons.append(f"{rule}: the operator has disabled it")
                continue
            try:
                unit_maps(self._network, example, self.layer.name, torch.tensor([0]), rule=rule)
            except NetworkError as error:
                if asked is not None:
                    raise
                reasons.append(f"{rule}: {error}")
            else:
                return rule
        self.warnings.append(f"nothing leads units back to the image beside the patches ({'; '.join(reasons)})")
        return None

    def _maps(self, channel: int, rows: Sequence[_Row], images: Sequence[Prepared]) -> MapValues | None:
        if self.rule is None:
            return None
        inputs = torch.stack([image.tensor for image in images]).to(self._work.context.models.device)
        height, width = self._found.sizes
        units = torch.tensor([(channel * height + one.row) * width + one.column for one in rows])
        maps = unit_maps(self._network, inputs, self.layer.name, units, rule=self.rule)
        # Relevance is of places; what rectifiers hand back is a change of colours.
        found: MapValues = (maps.sum(1, keepdim=True) if self.rule == "lrp" else maps).cpu().numpy()
        return found

    def _rows(self, ranking: Ranking, channel: int) -> Iterator[_Row]:
        columns = zip(*(column[channel].tolist() for column in ranking), strict=True)
        for value, position, place in columns:
            if position != NOBODY:
                yield _Row(position, value, *divmod(place, self._found.sizes[1]))

    def _patch(self, one: _Row) -> Patch:
        label = self._class(one.position)
        labels = self._work.loaded.spec.labels
        return Patch(
            image=self._reader.names[one.position],
            label=label,
            name=labels[label] if labels else None,
            value=one.value,
            row=one.row,
            column=one.column,
            window=self._fields.of(one.row, one.column),
        )

    def _class(self, position: int) -> int:
        return self._classes[self._reader.classes[position]]

    def _shown(self, one: _Row, image: Prepared) -> Window:
        """What the unit sees; of a mean, which every unit is in, the whole image."""
        return _whole(image) if self._task.measure == "mean" else self._fields.of(one.row, one.column)

    def _peak(self, one: _Row, image: Prepared) -> tuple[float, float] | None:
        lattice = self._network.lattices().get(self.layer.name)
        if lattice is None or self._shown(one, image) != _whole(image) or max(self._found.sizes) == 1:
            return None
        (down, across), (high, wide) = lattice.start, lattice.stride
        return across + one.column * wide, down + one.row * high

    def _images(self, positions: Sequence[int]) -> list[Prepared]:
        return list(self._reader.images(self._work.loaded.spec, positions))


def _whole(image: Prepared) -> Window:
    return Window(0, 0, image.displayed.height, image.displayed.width)
