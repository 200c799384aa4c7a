"""From maps to artefacts: raw arrays and pictures, stored, with the references that the result shows."""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attribution.networks.lattices import Lattice
from attribution_contracts.file_names import FileNames
from attribution_contracts.render import RenderOptions
from attribution_contracts.results import ArtifactRef
from storage.ledger.records import StoredArtifact
from workers.datasets.ahead import ahead
from workers.drawing.overlays import Scene
from workers.drawing.planes import limits
from workers.drawing.rendering import RenderedFile, Shown, render
from workers.jobs.outputs import Outputs
from workers.methods.calls import OutputKind

_TOGETHER, _TOGETHER_BYTES = 256, 64 * 1024 * 1024
"""Files that are held until they are entered in the ledger together, and their bytes."""


class Subject(NamedTuple):
    """What a file is of."""

    image: int | None
    """Position in the request; nothing where it is of the job as a whole."""
    target: int | None = None
    layer: str | None = None
    part: str | None = None
    """Tells several files of one image and class apart."""
    channel: int | None = None
    """Of the layer, where it is of a single neuron."""

    def file_name(self, name: str) -> str:
        """What a file of this is called, unless another file of the result is."""
        steps = {"image": self.image, "class": self.target}
        words = [f"{word}-{number}" for word, number in steps.items() if number is not None]
        if self.layer is not None:
            words.append(f"layer-{re.sub(r'[^A-Za-z0-9._-]', '_', self.layer)}")
        if self.channel is not None:
            words.append(f"channel-{self.channel}")
        return "-".join([*words, *([self.part] if self.part else []), name])


class Map(NamedTuple):
    """One output of one image, or of the model alone."""

    scene: Scene | None
    """What it is drawn over; nothing where there is no image."""
    subject: Subject
    field: str
    kind: OutputKind
    values: NDArray[np.float32]
    """`(channels, height, width)`."""
    lattice: Lattice | None = None
    """Of a layer's map: where its units lie in the image, where that is known."""
    title: tuple[str, ...] = ()
    """Lines of a legend."""
    ends: tuple[str, str] = ("", "")
    """What negative and positive values speak for, in words."""


class Drawn:
    """The files of a result, and the references to them; they are stored some at a time.

    `look` is called before each file and raises to stop.
    """

    def __init__(self, outputs: Outputs, look: Callable[[], None] = lambda: None) -> None:
        self.references: list[ArtifactRef] = []
        self._outputs, self._look, self._names = outputs, look, FileNames("result.json")
        self._stored: list[StoredArtifact] = []
        self._waiting: list[tuple[StoredArtifact, bytes]] = []

    def keep(self, subject: Subject, *files: RenderedFile) -> None:
        """Adds files to the result."""
        for file in files:
            self.references.append(self.beside(subject, file))

    def beside(self, subject: Subject, file: RenderedFile) -> ArtifactRef:
        """Adds a file that is not one of the references."""
        self._look()
        digest = sha256(file.content).hexdigest()
        stored = StoredArtifact(digest, file.media_type, len(file.content), file.details)
        self._waiting.append((stored, file.content))
        if len(self._waiting) >= _TOGETHER or sum(len(content) for _, content in self._waiting) >= _TOGETHER_BYTES:
            self.stored()
        return self._reference(subject, file, digest)

    def refer(self, files: Sequence[ArtifactRef]) -> None:
        """Adds files of parts, which are stored already, to the result."""
        theirs = [StoredArtifact(file.sha256, file.media_type, file.size) for file in files]
        self._outputs.enter(theirs)
        self._stored += theirs
        self.references += [file.model_copy(update={"name": self._names.own(file.name)}) for file in files]

    def stored(self) -> list[StoredArtifact]:
        """All files that were added, now that each of them is stored."""
        self._outputs.keep(self._waiting)
        self._stored += [stored for stored, _ in self._waiting]
        self._waiting.clear()
        return self._stored

    def _reference(self, subject: Subject, file: RenderedFile, digest: str) -> ArtifactRef:
        return ArtifactRef(
            name=self._names.own(subject.file_name(file.name)),
            image=subject.image,
            target=subject.target,
            layer=subject.layer,
            channel=subject.channel,
            quantity=file.quantity,
            of=file.of,
            media_type=file.media_type,
            href=f"/v1/artifacts/{digest}",
            sha256=digest,
            size=len(file.content),
            shape=file.shape,
            colormap=file.colormap,
            range=file.range,
            smooth=file.smooth,
            frame=file.frame,
            units=file.units,
        )

    def content(self, reference: ArtifactRef) -> bytes:
        """The bytes of a file."""
        self._look()
        for stored, content in self._waiting:
            if stored.sha256 == reference.sha256:
                return content
        return self._outputs.content(reference.sha256)

    def of_image(self, position: int | None) -> list[ArtifactRef]:
        """The files of one image, the sheet of its layers first."""
        found = [reference for reference in self.references if reference.image == position]
        return sorted(found, key=lambda reference: reference.quantity != "layers")


def map_within(reference: ArtifactRef, content: bytes) -> Image.Image:
    """The map of a picture, without the legend around it."""
    picture = Image.open(io.BytesIO(content))
    if reference.frame is None:
        return picture
    left, top, right, bottom = (round(edge) for edge in reference.frame)
    return picture.crop((left, top, right, bottom))


def draw(drawn: Drawn, maps: Iterable[Map], options: RenderOptions, progress: Callable[[int], None]) -> None:
    """Renders and stores the maps; those of one output, layer and part share a scale where the options say so.

    Args:
        drawn: Where they go.
        maps: Of one job.
        options: How they are drawn.
        progress: Called before each map with how many are done; raises to stop.
    """
    by_field: dict[tuple[str, OutputKind, str | None, str | None], list[Map]] = {}
    for item in maps:
        by_field.setdefault((item.field, item.kind, item.subject.layer, item.subject.part), []).append(item)
    scaled = [
        (item, limit)
        for (_, kind, _, _), mine in by_field.items()
        for item, limit in zip(mine, limits([item.values for item in mine], kind, options), strict=True)
    ]

    def rendered(work: tuple[Map, float]) -> list[RenderedFile]:
        item, limit = work
        shown = Shown(item.field, item.kind, item.values, item.scene, item.lattice, item.title, item.ends)
        return render(shown, limit, options)

    # Compression works outside of Python's lock.
    with closing(ahead(rendered, scaled)) as done:
        for number, (item, _) in enumerate(scaled):
            progress(number)
            drawn.keep(item.subject, *next(done))
