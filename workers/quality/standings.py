"""How the maps of a comparison stand to each other: the rank of each by every figure, and how far they agree."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from attribution.quality.ranks import spearman
from attribution_contracts.figures.standings import MapStandings, Standing
from attribution_contracts.results import ArtifactRef, CellResult, ImageResult
from workers.quality.told import MEASURED, told

GRID = (7, 7)
_LOWER_IS_BETTER = {"deletion_area", "sensitivity_maximum", "sensitivity_mean", "randomization_correlation"}


class _Map(NamedTuple):
    """The first map of one explanation."""

    cell: CellResult
    image: ImageResult
    file: ArtifactRef


def standings_of(
    cells: Sequence[CellResult], quantities: Sequence[Sequence[str]], content: Callable[[ArtifactRef], bytes]
) -> Iterator[MapStandings]:
    """Those of each image and model of which there are several maps.

    Args:
        cells: Of a comparison.
        quantities: Of each explanation, the one that stands for it first.
        content: The bytes of a file; raises to stop.
    """
    groups = dict[tuple[int, str], list[_Map]]()
    for cell in cells:
        for image in cell.images:
            file = _first_map(image, quantities[cell.explanation])
            if file is not None:
                groups.setdefault((image.index, cell.model.sha256), []).append(_Map(cell, image, file))
    for (position, _), maps in groups.items():
        if len(maps) > 1:
            figures = [figures_of(one.image, one.file) for one in maps]
            yield MapStandings(
                image=position,
                model=maps[0].cell.model,
                maps=[
                    Standing(
                        explanation=one.cell.explanation,
                        method=one.cell.method,
                        quantity=one.file.quantity,
                        layer=one.file.layer,
                        figures=own,
                        ranks={name: _rank(name, value, figures) for name, value in own.items()},
                    )
                    for one, own in zip(maps, figures, strict=True)
                ],
                agreement=_agreement([content(one.file) for one in maps]),
                grid=GRID,
            )


def figures_of(image: ImageResult, file: ArtifactRef) -> dict[str, float]:
    """What was measured of one map, by figure."""
    found = {
        one.name: one.value
        for one in told({field: getattr(image, field) for field in MEASURED})
        if (one.judged, one.quantity, one.layer) == ("map", file.quantity, file.layer)
        and file.target in (None, one.target)
    }
    relative = [one.relative for one in image.completeness if one.target == file.target]
    if relative and relative[0] is not None:
        found["completeness_error"] = abs(relative[0])
    return {name: value for name, value in found.items() if value is not None}


def _first_map(image: ImageResult, quantities: Sequence[str]) -> ArtifactRef | None:
    """The raw map that stands for an explanation: of the first class, and of the last of several layers."""
    if image.error is not None or not quantities:
        return None
    target = image.targets[0].index if image.targets else None
    files = [
        file
        for file in image.artifacts
        if file.quantity == quantities[0] and file.of is None and file.channel is None and file.target in (None, target)
    ]
    return files[-1] if files else None


def _rank(figure: str, value: float, of_all: Sequence[dict[str, float]]) -> int:
    values = [own[figure] for own in of_all if figure in own]
    if figure in _LOWER_IS_BETTER or figure.endswith("_error"):
        return 1 + sum(other < value for other in values)
    return 1 + sum(other > value for other in values)


def _agreement(files: Sequence[bytes]) -> list[list[float | None]]:
    said = torch.stack([_patches(file) for file in files])
    found = spearman(said.unsqueeze(1).expand(-1, len(said), -1), said.unsqueeze(0).expand(len(said), -1, -1))
    return [[None if bool(value.isnan()) else float(value) for value in row] for row in found]


def _patches(file: bytes) -> torch.Tensor:
    """What a map says of each patch: the mean of its sum over the channels."""
    values = torch.from_numpy(np.load(io.BytesIO(file), allow_pickle=False)).double()
    return adaptive_avg_pool2d(values.sum(0, keepdim=True), GRID).flatten()
