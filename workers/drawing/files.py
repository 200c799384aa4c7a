"""From maps to artefacts: raw arrays and pictures, stored, with the references that the result shows."""

import re
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attribution_contracts.file_names import FileNames
from attribution_contracts.render import RenderOptions
from attribution_contracts.results import ArtifactRef
from storage.artifacts.store import ArtifactStore
from storage.ledger.records import StoredArtifact
from workers.datasets.ahead import ahead
from workers.drawing.rendering import RenderedFile, limits, render
from workers.methods.calls import OutputKind


class Subject(NamedTuple):
    """What a file is of."""

    image: int | None
    """Position in the request; nothing where it is of the job as a whole."""
    target: int | None = None
    layer: str | None = None
    part: str | None = None
    """Tells several files of one image and class apart."""

    def file_name(self, name: str) -> str:
        """What a file of this is called, unless another file of the result is."""
        steps = {"image": self.image, "class": self.target}
        words = [f"{word}-{number}" for word, number in steps.items() if number is not None]
        if self.layer is not None:
            words.append(f"layer-{re.sub(r'[^A-Za-z0-9._-]', '_', self.layer)}")
        return "-".join([*words, *([self.part] if self.part else []), name])


class Map(NamedTuple):
    """One output of one image, or of the model alone."""

    picture: Image.Image | None
    """What the network saw, for overlays; nothing where there is none."""
    subject: Subject
    field: str
    kind: OutputKind
    values: NDArray[np.float32]
    """`(channels, height, width)`."""


class Drawn:
    """What was stored, and the references to it; `look` is called before each file and raises to stop."""

    def __init__(self, store: ArtifactStore, look: Callable[[], None] = lambda: None) -> None:
        self.references: list[ArtifactRef] = []
        self.stored: list[StoredArtifact] = []
        self._store, self._look, self._names = store, look, FileNames("result.json")

    def keep(self, subject: Subject, *files: RenderedFile) -> None:
        """Stores files."""
        for file in files:
            self._look()
            self.refer(subject, file, self.put(file))

    def put(self, file: RenderedFile) -> str:
        """Stores the bytes of a file; its digest."""
        return self._store.put(file.content)

    def refer(self, subject: Subject, file: RenderedFile, digest: str) -> None:
        """Adds a file that is stored to the result."""
        self.stored.append(StoredArtifact(digest, file.media_type, len(file.content), file.details))
        self.references.append(
            ArtifactRef(
                name=self._names.own(subject.file_name(file.name)),
                image=subject.image,
                target=subject.target,
                layer=subject.layer,
                quantity=file.quantity,
                of=file.of,
                media_type=file.media_type,
                href=f"/v1/artifacts/{digest}",
                sha256=digest,
                size=len(file.content),
                shape=file.shape,
                colormap=file.colormap,
                range=file.range,
            )
        )

    def content(self, reference: ArtifactRef) -> bytes:
        """The bytes of a file."""
        self._look()
        return self._store.get(reference.sha256)

    def of_image(self, position: int | None) -> list[ArtifactRef]:
        """The files of one image."""
        return [reference for reference in self.references if reference.image == position]


def draw(drawn: Drawn, maps: Iterable[Map], options: RenderOptions, progress: Callable[[int], None]) -> None:
    """Renders and stores the maps; those of one output and layer share a scale where the options say so.

    Args:
        drawn: Where they go.
        maps: Of one job.
        options: How they are drawn.
        progress: Called before each map with how many are done; raises to stop.
    """
    by_field: dict[tuple[str, OutputKind, str | None], list[Map]] = {}
    for item in maps:
        by_field.setdefault((item.field, item.kind, item.subject.layer), []).append(item)
    scaled = [
        (item, limit)
        for (_, kind, _), mine in by_field.items()
        for item, limit in zip(mine, limits([item.values for item in mine], kind, options), strict=True)
    ]

    def rendered(work: tuple[Map, float]) -> list[tuple[RenderedFile, str]]:
        item, limit = work
        files = render(item.field, item.kind, item.values, item.picture, limit, options)
        return [(file, drawn.put(file)) for file in files]

    # Compression and the disk work outside of Python's lock.
    with closing(ahead(rendered, scaled)) as done:
        for number, (item, _) in enumerate(scaled):
            progress(number)
            for file, digest in next(done):
                drawn.refer(item.subject, file, digest)
