"""How far a job's maps lie within the masks or boxes that its images come with."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from attribution.quality.deletions import noise_maps
from attribution.quality.localization import Localization, centre_maps, localization
from attribution.quality.occlusion import input_x_gradient_maps
from attribution_contracts.figures.localization import LocalizationScore, MapLocalization
from attribution_contracts.quality import LocalizationOptions
from workers.methods.calls import Call, MethodOutput
from workers.quality.judged import against_of, at_input


class _Judged(NamedTuple):
    """How far maps lie within the masks, in the fields of the result."""

    judged: Literal["map", "random", "input_x_gradient", "centre"]
    quantity: str | None
    layer: str | None
    found: list[Localization]
    """Of each map, over the images."""


class _Marked(NamedTuple):
    """The images of a call that come with a mask or boxes."""

    call: Call
    positions: list[int]
    inputs: Tensor
    masks: Tensor
    """`bool (images, height, width)`."""
    options: LocalizationOptions

    def of(self, maps: Tensor) -> Localization:
        """How far maps of these images lie within."""
        return localization(maps, self.inputs, self.masks, tolerance=self.options.tolerance)


def localization_of(
    call: Call, outputs: list[MethodOutput], predicted: Tensor, options: LocalizationOptions
) -> list[list[MapLocalization]]:
    """The figures of all maps of each image and class; of an image without mask and boxes nothing.

    Args:
        call: The images, and the network that was explained.
        outputs: The maps to judge.
        predicted: The class that stands where maps are of no class, `int64 (batch,)`.
        options: What is judged beside the maps.
    """
    told: list[list[MapLocalization]] = [[] for _ in call.rows]
    marked = _marked(call, options)
    if marked is None:
        return told
    table = call.target if call.target.shape[1] else predicted[:, None]
    beside = list(_of_no_class(marked)) if options.references else []
    forward_passes = int(options.references and call.network.no_gradients is None)
    for target in table.unbind(1):
        judged = [*_maps(marked, outputs, target), *_input_x_gradient(marked, target), *beside]
        scores = [_scores(one) for one in judged]
        for place, position in enumerate(marked.positions):
            given = call.rows[position].given.evidence
            assert given is not None  # noqa: S101 - the masks are made of it
            told[position].append(
                MapLocalization(
                    target=int(target[position]),
                    given=given,
                    share=float(marked.masks[place].double().mean()),
                    tolerance=options.tolerance,
                    forward_passes=forward_passes,
                    scores=[of_images[place] for of_images in scores],
                )
            )
    return told


def _marked(call: Call, options: LocalizationOptions) -> _Marked | None:
    masks = {position: row.evidence for position, row in enumerate(call.rows) if row.evidence is not None}
    if not masks:
        return None
    return _Marked(call, list(masks), call.inputs[list(masks)], torch.stack(list(masks.values())), options)


def _maps(marked: _Marked, outputs: list[MethodOutput], target: Tensor) -> Iterator[_Judged]:
    for output in outputs:
        if output.targets is None or output.targets == target.tolist():
            maps = at_input(output, marked.call.inputs)[marked.positions]
            yield _Judged("map", output.field, output.layer, [marked.of(maps)])


def _input_x_gradient(marked: _Marked, target: Tensor) -> Iterator[_Judged]:
    if marked.options.references and marked.call.network.no_gradients is None:
        against = against_of(marked.call, target)
        own = None if against is None else against[marked.positions]
        maps = input_x_gradient_maps(marked.call.network, marked.inputs, target[marked.positions], own)
        yield _Judged("input_x_gradient", None, None, [marked.of(maps)])


def _of_no_class(marked: _Marked) -> Iterator[_Judged]:
    """What is the same whatever is explained."""
    yield _Judged("centre", None, None, [marked.of(centre_maps(marked.inputs))])
    generators = [marked.call.rows[position].generator("random map") for position in marked.positions]
    random = [marked.of(noise_maps(marked.inputs, generators)) for _ in range(marked.options.random_maps)]
    yield _Judged("random", None, None, random)


def _scores(judged: _Judged) -> list[LocalizationScore]:
    """The figures of each image."""
    pointing, mass, ranks = (torch.stack(figures).unbind(1) for figures in zip(*judged.found, strict=True))
    several = len(judged.found) > 1
    return [
        LocalizationScore(
            judged=judged.judged,
            quantity=judged.quantity,
            layer=judged.layer,
            maps=len(judged.found),
            pointing=float(points.mean()),
            mass_inside=None if inside.isnan().any() else float(inside.mean()),
            rank_accuracy=float(rank.mean()),
            pointing_spread=float(points.std()) if several else None,
            mass_inside_spread=float(inside.std()) if several else None,
            rank_accuracy_spread=float(rank.std()) if several else None,
        )
        for points, inside, rank in zip(pointing, mass, ranks, strict=True)
    ]
