"""Single deletions of a job's images, and how far its maps say what they do."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from attribution.quality.deletions import noise_maps, patch_sums, rank_correlation, saco
from attribution.quality.occlusion import input_x_gradient_maps
from attribution_contracts.figures.deletions import DeletionScore, PatchDeletions
from attribution_contracts.quality import DeletionOptions
from workers.methods.calls import Call, MethodOutput
from workers.quality.judged import Reference, against_of, at_input, defined, of_target, reference_of
from workers.quality.known_falls import falls_of


class _Judged(NamedTuple):
    """What maps say of the patches of each image."""

    of: Reference
    sums: list[Tensor]
    """Of each map `(batch, rows, columns)`."""


def deletions_of(
    call: Call, outputs: list[MethodOutput], predicted: Tensor, options: DeletionOptions
) -> list[list[PatchDeletions]]:
    """The falls of each image and class, and the figures of all its maps, from one set of passes.

    Another explanation of the same images and classes on the same worker is judged by the same falls, without passes.

    Args:
        call: The images, and the network whose outputs are followed.
        outputs: The maps to judge.
        predicted: The class that is followed where maps are of no class, `int64 (batch,)`.
        options: How patches are replaced.
    """
    table = call.target if call.target.shape[1] else predicted[:, None]
    found = falls_of(call, table, options)
    random = list(_random(call, options)) if options.references else []
    told: list[list[PatchDeletions]] = [[] for _ in call.rows]
    for place, target in enumerate(table.unbind(1)):
        falls = found.falls[:, place]
        scores = [_scores(one, falls) for one in _judged(call, outputs, target, options, random)]
        for row, mine in enumerate(told):
            mine.append(
                PatchDeletions(
                    target=int(target[row]),
                    output=float(found.outputs[row, place]),
                    falls=falls[row].tolist(),
                    forward_passes=math.prod(options.patches) + 1,
                    scores=[of_images[row] for of_images in scores],
                )
            )
    return told


def _random(call: Call, options: DeletionOptions) -> Iterator[Tensor]:
    generators = [row.generator("random map") for row in call.rows]
    for _ in range(options.random_maps):
        yield patch_sums(noise_maps(call.inputs, generators), call.inputs, options.patches)


def _judged(
    call: Call, outputs: list[MethodOutput], target: Tensor, options: DeletionOptions, random: list[Tensor]
) -> Iterator[_Judged]:
    """The maps of a class of each image, and what they are compared with."""
    for output in outputs:
        if of_target(output, target):
            sums = patch_sums(at_input(output, call.inputs), call.inputs, options.patches)
            yield _Judged(reference_of(output), [sums])
    if options.references:
        if call.network.no_gradients is None:
            beside = input_x_gradient_maps(call.network, call.inputs, target, against_of(call, target))
            yield _Judged(Reference("input_x_gradient"), [patch_sums(beside, call.inputs, options.patches)])
        yield _Judged(Reference("random"), random)


def _scores(judged: _Judged, falls: Tensor) -> list[DeletionScore]:
    """The figures of each image."""
    ranks = torch.stack([rank_correlation(sums, falls) for sums in judged.sums]).unbind(1)
    pairs = torch.stack([saco(sums, falls) for sums in judged.sums]).unbind(1)
    return [
        DeletionScore(
            **judged.of._asdict(),
            rank_correlation=defined(rank.mean()),
            saco=defined(pair.mean()),
            maps=len(judged.sums),
            rank_correlation_spread=defined(rank.std()) if len(judged.sums) > 1 else None,
            saco_spread=defined(pair.std()) if len(judged.sums) > 1 else None,
        )
        for rank, pair in zip(ranks, pairs, strict=True)
    ]
