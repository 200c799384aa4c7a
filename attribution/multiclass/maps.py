"""Importance and effects of a group of images that are explained together."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch.nn import functional

from attribution.class_sets import Classes, ClassSets, class_sets
from attribution.multiclass.blocks import row_blocks
from attribution.multiclass.directions import SpanningDirections, split_directions
from attribution.multiclass.effects import NO_EFFECTS, Effects, Signs, exact, sketched, truncated
from attribution.multiclass.matrices import Rows, Totals
from attribution.multiclass.stream import class_sums, one_hot_directions

TakenMode = Literal["exact", "sketch", "importance"]
Mode = Literal["auto", "exact", "sketch", "importance"]
Advance = Callable[[int], None]


class Plan(NamedTuple):
    """How effects are found: ``n_directions`` leading ones and ``n_signs`` random ones, for a sketch.

    ``transform`` is applied to every row, for attributions that are not linear in the output; ``spanning`` finds
    directions, and keeps the last ones.
    """

    classes: Classes
    mode: TakenMode
    n_directions: int
    n_signs: int
    transform: Callable[[torch.Tensor], torch.Tensor] | None
    spanning: SpanningDirections


class ClassMaps(NamedTuple):
    """``importance`` ``(g, *features)``, its ``effects``, and what was summed, one row an image."""

    importance: torch.Tensor
    effects: Effects
    table: torch.Tensor
    class_variation: torch.Tensor
    attributed_variation: torch.Tensor
    completeness_delta: torch.Tensor
    n_rows: torch.Tensor


def class_maps(
    rows: Rows, images: torch.Tensor, plan: Plan, signs: torch.Tensor, size: int, advance: Advance
) -> ClassMaps:
    """Returns maps of images ``(g,)``, in chunks of ``size`` points; ``advance`` is told of each row of each image.

    Cost:
        One forward-mode product, a forward and a backward pass for the importance; a backward pass for each further
        row.
    """
    totals = rows.totals(images)
    sets = class_sets(plan.classes, totals.outputs, rows.network.likelihoods)
    advance(len(images))
    if plan.transform is not None:
        streamed = class_sums(row_blocks(rows, images, one_hot_directions(sets), size, advance), plan.transform, sets)
        totals = totals._replace(sums=streamed.sums)
        effects = exact(streamed.individual)
        return _maps(streamed.importance, effects, sets, totals, sets.mask.sum(1))
    effects, n_rows = NO_EFFECTS, torch.zeros_like(images)
    if plan.mode != "importance":
        # First, for what smaller passes leave behind in the allocator would be of no use to larger ones.
        effects, n_rows = _effects(rows, images, sets, totals, plan, signs, size, advance)
    # A constant: what it owes to the image would double the gradient.
    weights = sets.centred(totals.sums.double())
    (importance,) = rows.along(images, weights.unsqueeze(0))
    advance(len(images))
    return _maps(importance, effects, sets, totals, n_rows)


def joined(groups: Sequence[ClassMaps]) -> ClassMaps:
    """Returns the maps of several groups one after another; nothing where one of them has nothing."""
    longest = max(group.table.shape[1] for group in groups)
    tables = [functional.pad(group.table, (0, longest - group.table.shape[1]), value=-1) for group in groups]
    effects = Effects(*(_joined(parts) for parts in zip(*(group.effects for group in groups), strict=True)))
    names = ("importance", "class_variation", "attributed_variation", "completeness_delta", "n_rows")
    return ClassMaps(
        effects=effects,
        table=torch.cat(tables),
        **{name: torch.cat([getattr(group, name) for group in groups]) for name in names},
    )


def _joined(parts: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    found = [part for part in parts if part is not None]
    return torch.cat(found) if len(found) == len(parts) else None


def _effects(
    rows: Rows,
    images: torch.Tensor,
    sets: ClassSets,
    totals: Totals,
    plan: Plan,
    signs: torch.Tensor,
    size: int,
    advance: Advance,
) -> tuple[Effects, torch.Tensor]:
    spanning = plan.spanning.of(rows.head(totals.outputs), sets)
    wanted = plan.n_directions if plan.mode == "sketch" else sets.mask.shape[1]
    directions = split_directions(spanning, sets, wanted, signs)
    leading = torch.zeros_like(rows.inputs[images], dtype=torch.promote_types(rows.inputs.dtype, torch.float32))
    for block in row_blocks(rows, images, directions.leading, size, advance):
        leading += block.square_().sum(1)  # in place: at this point memory is at its peak
    random = Signs()
    for block in row_blocks(rows, images, directions.signs, size, advance):
        for sample in block.square().unbind(1):
            random.add(sample)
    if plan.mode == "exact":
        return exact(leading), directions.n_rows
    if directions.signs.shape[1]:
        return sketched(leading, random), directions.n_rows
    return truncated(leading, directions.complete), directions.n_rows


def _maps(
    importance: torch.Tensor, effects: Effects, sets: ClassSets, totals: Totals, n_rows: torch.Tensor
) -> ClassMaps:
    return ClassMaps(
        importance,
        effects,
        sets.table,
        _variation(sets, totals.outputs),
        _variation(sets, totals.sums),
        importance.flatten(1).sum(1, dtype=torch.float64) - _variation(sets, totals.complete),
        n_rows,
    )


def _variation(sets: ClassSets, values: torch.Tensor) -> torch.Tensor:
    return sets.centred(values.double()).square().sum(1)
