"""The maps of a part of a data set, as arrays by name, and files of them."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attribution_contracts.tasks.explain import Kept
from workers.drawing.files import Map
from workers.drawing.rendering import RenderedFile
from workers.explaining.done import Done

MAPS = "maps"
"""The quantity of a file of maps."""
NPZ, NPY = "application/x-npz", "application/x-npy"


class KeptMaps:
    """The maps of one part: an array a kind of map, with a row an image."""

    def __init__(self, first: int, classes: Sequence[int], kept: Kept, standing: str | None) -> None:
        """Begins without any.

        Args:
            first: Position in the data set of the first image.
            classes: Of each image of the part.
            kept: What of each map.
            standing: The quantity that stands for the method.
        """
        self._first, self._classes, self._kept, self._standing = first, classes, kept, standing
        self.arrays: dict[str, NDArray[np.float32]] = {}
        self.stands: str | None = None
        """The name of those that stand for the method."""
        self._channels: dict[str, NDArray[np.int64]] = {}

    def add(self, done: Done) -> Map | None:
        """Keeps the maps of an image; the one that stands for the method."""
        named = dict[str, list[Map]]()
        targets = [target.index for target in done.targets]
        for one in done.maps:
            named.setdefault(_name(one, targets), []).append(one)
        row = done.row.position - self._first
        for name, maps in named.items() if self._kept != "none" else ():
            if maps[0].subject.channel is None:
                self._put(name, row, self._of(maps[0]))
            else:  # of single neurons, which may be others in each image
                self._put(name, row, np.concatenate([one.values for one in maps]))
                numbers = np.array([one.subject.channel for one in maps])
                self._channels.setdefault(name, np.full((len(self._classes), len(maps)), -1))[row] = numbers
        own = [one for one in done.maps if one.field == self._standing and one.subject.target in (None, *targets[:1])]
        if own and self._kept != "none":
            self.stands = _name(own[0], targets)
        return own[0] if own else None

    def file(self) -> RenderedFile:
        """All of them, compressed, with the position and the class of each image."""
        positions = np.arange(self._first, self._first + len(self._classes))
        beside = {"positions": positions, "labels": np.array(self._classes)}
        channels = {f"{name}.channels": numbers for name, numbers in self._channels.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **beside, **self.arrays, **channels)
        name = f"maps-{self._first:07d}.npz"
        return RenderedFile(name, MAPS, NPZ, buffer.getvalue(), [len(positions)])

    def _of(self, one: Map) -> NDArray[np.float32]:
        return one.values.sum(0, dtype=np.float64).astype(np.float32) if self._kept == "summed" else one.values

    def _put(self, name: str, row: int, values: NDArray[np.float32]) -> None:
        if name not in self.arrays:
            self.arrays[name] = np.full((len(self._classes), *values.shape), np.nan, np.float32)
        self.arrays[name][row] = values


def loaded(content: bytes, name: str) -> NDArray[np.float32] | None:
    """One of the arrays of a part's file; nothing where no image of the part has such a map."""
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        array: NDArray[np.float32] | None = found[name] if name in found.files else None
        return array


def plane(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A kept map as `(height, width)`, its channels summed."""
    summed: NDArray[np.float32] = values if values.ndim == 2 else values.sum(0)
    return summed


def _name(one: Map, targets: Sequence[int]) -> str:
    """What tells a map from the others of its image, whichever classes are explained of each."""
    words = [one.field, one.subject.layer, one.subject.part]
    if one.subject.target is not None and len(targets) > 1:
        words.append(f"class-{targets.index(one.subject.target)}")
    return ".".join(word for word in words if word)
