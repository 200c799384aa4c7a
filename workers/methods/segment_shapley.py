"""Segment Shapley for a job."""

import math

import torch
from torch import Tensor

import attribution
from attribution import segments
from attribution_contracts.figures.hidden_parts import WindowPlace
from attribution_contracts.figures.segments import SegmentScore, SegmentsOfClass
from attribution_contracts.parameters.segment_shapley import SegmentShapleyParams
from attribution_contracts.parameters.segments import GridSegments, Segments, SlicSegments
from workers.methods.adapters import one_output_a_class, summed
from workers.methods.baselines import Row, baselines_of
from workers.methods.calls import Call, Explained, Figures, MethodOutput


def segment_shapley(call: Call) -> Explained:
    """Adapts `attribution.segment_shapley` to a job."""
    params: SegmentShapleyParams = call.params
    baselines = baselines_of(call.rows, params.baselines)
    found = attribution.segment_shapley(
        call.network,
        call.inputs,
        call.target,
        segments=torch.stack([_labels(params.segments, row) for row in call.rows]),
        baseline=baselines,
        against=call.against,
        sampler=params.sampler,
        n_samples=None if params.sampler == "exact" else params.evaluations * len(baselines),
        tolerance=params.tolerance,
        generator=[row.generator("segments") for row in call.rows],
        progress=call.progress,
    )
    outputs = one_output_a_class("attributions", found.maps, call.target)
    if found.standard_error is not None:
        outputs += one_output_a_class("standard_error", found.standard_error, call.target)
    outputs.append(MethodOutput("segments", found.labels.unsqueeze(1)))
    sums = found.maps.flatten(2).sum(2, dtype=torch.float64)
    figures = [
        Figures(own.sums, {**own.wire, "segments": _segments(found, row, call.target[row].tolist())})
        for row, own in enumerate(summed(found, call, sums))
    ]
    return Explained(outputs, figures, found.chunk_size)


def _labels(chosen: Segments, row: Row) -> Tensor:
    """The label of each pixel of what the network sees."""
    height, width = row.inputs.shape[1:]
    if isinstance(chosen, SlicSegments):
        return segments.slic(row.picture, min(chosen.n_segments, height * width), chosen.compactness)
    if isinstance(chosen, GridSegments):
        return segments.grid(height, width, min(chosen.rows, height), min(chosen.columns, width))
    return segments.stretched(torch.tensor(chosen.labels), height, width)


def _segments(found: attribution.SegmentShapley, row: int, targets: list[int]) -> list[SegmentsOfClass]:
    return [
        SegmentsOfClass(
            target=target,
            sampler=found.samplers[row],
            n_draws=int(found.n_draws[row]),
            scores=_scores(found, row, place),
        )
        for place, target in enumerate(targets)
    ]


def _scores(found: attribution.SegmentShapley, row: int, place: int) -> list[SegmentScore]:
    sizes = torch.bincount(found.labels[row].flatten()).tolist()
    values, errors, ends = (part[row, place].tolist() for part in (found.values, found.value_error, found.interval))
    return [
        SegmentScore(
            label=label,
            n_pixels=sizes[label],
            score=values[label],
            standard_error=errors[label] if math.isfinite(errors[label]) else None,
            interval=ends[label] if all(map(math.isfinite, ends[label])) else None,
            place=_place(found.labels[row] == label),
        )
        for label in sorted(range(len(sizes)), key=lambda label: -abs(values[label]))
    ]


def _place(is_segment: Tensor) -> WindowPlace:
    rows, columns = (is_segment.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    return WindowPlace(top=rows[0], left=columns[0], height=rows[-1] - rows[0] + 1, width=columns[-1] - columns[0] + 1)
