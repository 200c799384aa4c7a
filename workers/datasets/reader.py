"""Reading a data set: batches of inputs, fetched, decoded and prepared ahead of the network."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from attribution_contracts.base import Sha256
from attribution_contracts.datasets import DatasetIndex
from attribution_contracts.models import ModelSpec
from storage.artifacts.owned import owned
from storage.artifacts.store import ArtifactStore
from workers.context import WorkerContext
from workers.datasets.ahead import ahead
from workers.images.decoding import decode
from workers.images.preprocessing import Prepared, preprocess
from workers.problems import InvalidDataset, InvalidImage, absence

LARGEST_READ = 64 * 1024 * 1024
"""Bytes of the pack that one thread holds at once, unless a single image is larger."""


@lru_cache(maxsize=2)  # a data set and the one for validation, whose shards follow each other
def _index(store: ArtifactStore, sha256: Sha256) -> DatasetIndex:
    """Parsed once for all shards: its digest names what never changes."""
    return DatasetIndex.model_validate_json(store.get(sha256))


class Batch(NamedTuple):
    """Some images in a row."""

    inputs: Tensor
    """`(b, channels, height, width)`, float32, on the device."""
    labels: Tensor
    """`int64 (b,)`, on the device."""
    positions: list[int]
    """In the data set."""


class Decoded(NamedTuple):
    """An image, or why there is none."""

    position: int
    """In the data set."""
    found: Prepared | InvalidImage


class DatasetReader:
    """A data set of a tenant, by its digest."""

    def __init__(self, context: WorkerContext, tenant: str, sha256: Sha256) -> None:
        """Reads the index.

        Raises:
            InvalidDataset: The tenant has no such data set, or its index is gone.
        """
        self._store, self._max_pixels = context.store, context.settings.max_image_pixels
        if owned(context.engine, tenant, sha256) is None:
            raise InvalidDataset(f"there is no data set with the content {sha256}: register it")
        try:
            self._index = _index(self._store, sha256)
        except FileNotFoundError as error:
            raise self._gone(sha256) from error

    @property
    def classes(self) -> list[int]:
        """The class of each image, in the order of the images."""
        return self._index.classes

    @property
    def labels(self) -> list[str]:
        """The name of each class."""
        return self._index.labels

    @property
    def names(self) -> list[str]:
        """The name of each image."""
        return self._index.names

    @property
    def digests(self) -> list[Sha256]:
        """The digest of each image's file."""
        return self._index.digests

    def __len__(self) -> int:
        return len(self._index.names)

    def batches(
        self, spec: ModelSpec, positions: Sequence[int], *, batch_size: int, device: torch.device | str
    ) -> Iterator[Batch]:
        """The images at some positions in that order, as the model sees them.

        Args:
            spec: The model's, whose preprocessing is applied.
            positions: Of the images; those that follow each other are read together.
            batch_size: Images of each batch but the last.
            device: Where the batches go, from pinned memory where it is a GPU.

        Raises:
            InvalidImage: An image does not fit the model's preprocessing.
            InvalidDataset: The pack is gone from the store.
        """
        target = torch.device(device)
        runs = (list(positions[start : start + batch_size]) for start in range(0, len(positions), batch_size))
        for batch in ahead(lambda positions: self._prepared(spec, positions, pin=target.type == "cuda"), runs):
            inputs, labels = (tensor.to(target, non_blocking=True) for tensor in (batch.inputs, batch.labels))
            yield Batch(inputs, labels, batch.positions)

    def images(self, spec: ModelSpec, positions: Sequence[int]) -> Iterator[Prepared]:
        """The same one by one, with the picture of each as the model sees it; raises like `batches`."""
        for position, content in self._files(positions):
            yield self._image(spec, position, content)

    def each(self, spec: ModelSpec, positions: Sequence[int], *, batch_size: int) -> Iterator[list[Decoded]]:
        """The same in batches, prepared ahead, with what is wrong with an image in the place of its picture.

        Raises:
            InvalidDataset: The pack is gone from the store.
        """

        def decoded(positions: list[int]) -> list[Decoded]:
            return [Decoded(position, self._tried(spec, position, file)) for position, file in self._files(positions)]

        runs = (list(positions[start : start + batch_size]) for start in range(0, len(positions), batch_size))
        yield from ahead(decoded, runs)

    def _tried(self, spec: ModelSpec, position: int, content: bytes) -> Prepared | InvalidImage:
        try:
            return self._image(spec, position, content)
        except InvalidImage as error:
            return error

    def _prepared(self, spec: ModelSpec, positions: list[int], *, pin: bool) -> Batch:
        inputs = torch.stack([image.tensor for image in self.images(spec, positions)])
        labels = torch.tensor([self.classes[position] for position in positions])
        return Batch(inputs.pin_memory(), labels.pin_memory(), positions) if pin else Batch(inputs, labels, positions)

    def _image(self, spec: ModelSpec, position: int, content: bytes) -> Prepared:
        try:
            picture = decode(content, spec.preprocessing.color, max_pixels=self._max_pixels)
            return preprocess(picture, spec.preprocessing)
        except InvalidImage as error:
            raise InvalidImage(f"{self.names[position]}: {error}") from error

    def _files(self, positions: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """The files of images, each read together with those that lie next to it."""
        offsets, sizes = self._index.offsets, self._index.sizes
        for near in self._neighbours(positions):
            begin = offsets[near[0]]
            block = self._read(begin, offsets[near[-1]] + sizes[near[-1]])
            for position in near:
                first = offsets[position] - begin
                yield position, block[first : first + sizes[position]]

    def _neighbours(self, positions: Sequence[int]) -> Iterator[list[int]]:
        """Runs of images that lie one after another, as long as that stays modest."""
        offsets, sizes = self._index.offsets, self._index.sizes
        run: list[int] = []
        for position in positions:
            is_next = bool(run) and position == run[-1] + 1
            if run and not (is_next and offsets[position] + sizes[position] - offsets[run[0]] <= LARGEST_READ):
                yield run
                run = []
            run.append(position)
        if run:
            yield run

    def _read(self, start: int, end: int) -> bytes:
        try:
            return self._store.read_range(self._index.pack, start, end)
        except FileNotFoundError as error:
            raise self._gone(self._index.pack) from error

    def _gone(self, sha256: Sha256) -> InvalidDataset:
        return InvalidDataset(absence(f"the artefact {sha256} of the data set is", self._store, "register it again"))
