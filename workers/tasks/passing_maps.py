"""What is taken from the maps of a data set as its parts pass, one at a time: means of classes, single maps, all."""

import io
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from workers.drawing.explained import class_name
from workers.drawing.explained_sets import mean_sheet
from workers.drawing.rendering import RenderedFile
from workers.tasks.kept_maps import NPY, NPZ, plane

MOST_MEANS = 64
"""Classes with a mean map: those with the most images."""


class _Sum:
    """Of the maps of one class."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.images, self.signed, self.absolute = 0, np.zeros(shape), np.zeros(shape)

    def add(self, one: NDArray[np.float32]) -> None:
        self.images += 1
        self.signed += one
        self.absolute += np.abs(one)


class PassingMaps:
    """The maps that stand for the method, in the order of the data set."""

    def __init__(self, explained: pa.Table, wanted: Collection[int], *, are_joined: bool) -> None:
        """Begins with none.

        Args:
            explained: The rows of the images that have maps.
            wanted: Positions of images whose maps are held.
            are_joined: Whether all maps are held, for one file.
        """
        self.held = dict[int, NDArray[np.float32]]()
        """By position."""
        self._label: dict[int, int] = dict(
            zip(explained["position"].to_pylist(), explained["label"].to_pylist(), strict=True)
        )
        counts = Counter(self._label.values())
        self._classes = set(sorted(counts, key=lambda label: (-counts[label], label))[:MOST_MEANS])
        self._wanted, self._are_joined = set(wanted), are_joined
        self._sums = dict[int, _Sum]()
        self._blocks = list[tuple[int, NDArray[np.float32] | None]]()

    def take(self, first: int, count: int, maps: NDArray[np.float32] | None) -> None:
        """The maps of the images from a position on; nothing where none of them has one."""
        if self._are_joined:
            self._blocks.append((count, maps))
        for position, one in enumerate([] if maps is None else maps, first):
            if position in self._wanted:
                self.held[position] = one.copy()
            label = self._label.get(position, -1)
            if label in self._classes and np.isfinite(one).all():
                self._sums.setdefault(label, _Sum(one.shape)).add(one)

    def means(self, method: str, labels: Sequence[str]) -> Iterator[RenderedFile]:
        """The mean map of each class, as numbers and as a sheet."""
        if not self._sums:
            return
        found = sorted(self._sums.items())
        mean = np.stack([total.signed / total.images for _, total in found]).astype(np.float32)
        absolute = np.stack([total.absolute / total.images for _, total in found]).astype(np.float32)
        images = np.array([total.images for _, total in found])
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            allow_pickle=False,
            classes=np.array([index for index, _ in found]),
            images=images,
            mean=mean,
            mean_absolute=absolute,
        )
        yield RenderedFile("class_means.npz", "class_mean_values", NPZ, buffer.getvalue(), list(mean.shape))
        captions = [f"{class_name(labels, index)}: {total.images:,} images" for index, total in found]
        yield mean_sheet(captions, [plane(one) for one in mean], method)

    def joined(self, classes: Sequence[int]) -> Iterator[RenderedFile]:
        """All maps as one array, with the class of each image; an image without a map has not-a-numbers there."""
        shape = next((maps.shape[1:] for _, maps in self._blocks if maps is not None), None)
        if shape is None:
            return
        whole = (len(classes), *shape)
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": whole})
        for count, maps in self._blocks:
            buffer.write(np.full((count, *shape), np.nan, "<f4").tobytes() if maps is None else maps.tobytes())
        yield RenderedFile("heatmaps.npy", "heatmaps", NPY, buffer.getvalue(), list(whole))
        numbers = io.BytesIO()
        np.save(numbers, np.array(classes, dtype="<i8"), allow_pickle=False)
        yield RenderedFile("labels.npy", "labels", NPY, numbers.getvalue(), [len(classes)])
