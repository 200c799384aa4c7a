"""From maps to artefacts: raw arrays and pictures, stored, with the references that the result shows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.render import RenderOptions
from contracts.results import ArtifactRef
from storage.artifacts import ArtifactStore
from storage.records import StoredArtifact
from workers.baselines import Row
from workers.methods import OutputKind
from workers.rendering import RenderedFile, limits, render


class Map(NamedTuple):
    """One output of one image and class."""

    row: Row
    target: int
    field: str
    kind: OutputKind
    values: NDArray[np.float32]
    """`(channels, height, width)`."""


class Drawn(NamedTuple):
    """What was stored."""

    references: list[ArtifactRef]
    stored: list[StoredArtifact]


def draw(store: ArtifactStore, maps: list[Map], options: RenderOptions) -> Drawn:
    """Renders and stores the maps; those of one output share a scale where the options say so."""
    drawn = Drawn([], [])
    for field, kind in dict.fromkeys((item.field, item.kind) for item in maps):
        mine = [item for item in maps if item.field == field]
        for item, limit in zip(mine, limits([item.values for item in mine], kind, options), strict=True):
            for file in render(field, kind, item.values, item.row.displayed, limit, options):
                _keep(store, drawn, item, file)
    return drawn


def _keep(store: ArtifactStore, drawn: Drawn, item: Map, file: RenderedFile) -> None:
    digest = store.put(file.content)
    drawn.stored.append(StoredArtifact(digest, file.media_type, len(file.content)))
    drawn.references.append(
        ArtifactRef(
            name=f"image-{item.row.position}-class-{item.target}-{file.name}",
            image=item.row.position,
            target=item.target,
            quantity=file.quantity,
            media_type=file.media_type,
            href=f"/v1/artifacts/{digest}",
            sha256=digest,
            size=len(file.content),
            shape=file.shape,
            colormap=file.colormap,
            range=file.range,
        )
    )
