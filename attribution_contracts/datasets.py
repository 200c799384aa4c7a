"""Data sets: what a client registers, what a worker reports of it, and the index that jobs read it by."""

import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, model_validator

from attribution_contracts.base import ClassName, Name, Sha256, Wire, require_one_of
from attribution_contracts.patterns import LOCATION
from attribution_contracts.problems import Problem
from attribution_contracts.states import ModelState

MAX_PIECE_BYTES = 64 * 1024 * 1024
MAX_PIECES = 10_000
SHOWN_REFUSALS = 1000
"""Refused files that a report names; what is beyond them is counted."""

Location = Annotated[
    str,
    StringConstraints(max_length=2000, pattern=LOCATION),
    Field(examples=["s3://bucket/flowers", "file:///data/flowers.zip"]),
]


_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?")


def are_numbers(labels: Iterable[str]) -> bool:
    """Whether every label is a number, so that it has an order by value and another as text."""
    return all(_NUMBER.fullmatch(label) for label in labels)


class DatasetSource(Wire):
    """Where the images come from: exactly one of the four."""

    example: ClassVar[dict[str, object]] = {"part": "archive"}

    part: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The part of the multipart body that holds the archive."""
    sha256: Sha256 | None = None
    """Digest of an archive uploaded before."""
    pieces: Annotated[list[Sha256], Field(min_length=1, max_length=MAX_PIECES)] | None = None
    """Digests of the archive's pieces in their order, each sent to `POST /v1/pieces` before."""
    location: Location | None = None
    """A folder or an archive that workers read themselves, where the operator allows it."""

    @model_validator(mode="after")
    def _require_one_source(self) -> "DatasetSource":
        require_one_of(self, "part", "sha256", "pieces", "location")
        return self

    @model_validator(mode="after")
    def _require_plain_location(self) -> "DatasetSource":
        if self.location is not None and {".", ".."} & set(self.location.split("/")):
            raise ValueError(f"location {self.location!r} has a step '.' or '..': name the folder itself")
        return self


class DatasetSpec(Wire):
    """A data set to register: an archive with a folder a class, with a `labels.csv`, or of NumPy arrays."""

    name: Name
    """What jobs call the data set."""
    version: Name = "1"
    """A version never changes once registered."""
    source: DatasetSource
    """The images and their classes."""
    labels: Annotated[list[ClassName], Field(max_length=100_000)] = []
    """Names of the classes in the order of the model's outputs; empty: the sorted names of the folders."""

    @model_validator(mode="after")
    def _require_distinct_labels(self) -> "DatasetSpec":
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must differ from each other, for folders are matched with them")
        return self


class Order(StrEnum):
    """What a data set's labels are ordered by."""

    GIVEN = "given"
    VALUE = "value"
    TEXT = "text"


class RefusedFile(Wire):
    """A file that is no part of the data set."""

    name: str
    """As the archive has it; bytes that are no text are escaped."""
    reason: str


class DatasetReport(Wire):
    """What a worker found when it read the source."""

    images: int
    labels: list[str]
    counts: list[int]
    """Images of each class."""
    order: Order | None = None
    """Of the labels: as they were given, else by value where all are numbers, else as text; null in reports that are
    older."""
    refused: int
    """Files that are no part of the data set."""
    refusals: Annotated[list[RefusedFile], Field(max_length=SHOWN_REFUSALS)] = []
    """The first of them by name, with the reason of each."""
    duplicates: int
    """Files left out because another of the same class has the same bytes."""
    warnings: list[str] = []
    """What to know before it is used."""


class DatasetVersion(Wire):
    """A registered version of a data set."""

    name: str
    version: str
    state: ModelState
    sha256: Sha256 | None
    """Digest of its content, whatever archive that came in; null until it is ready."""
    report: DatasetReport | None
    created_at: datetime
    error: Problem | None
    """Why it was refused."""
    check_job: str | None
    """The job that reads it, or did; null once that job was deleted."""


class DatasetList(Wire):
    """One page of the registered versions by name and age, refused files counted and not named."""

    datasets: list[DatasetVersion]
    next_cursor: str | None
    """Give this as `cursor` for the next page; null on the last one."""


class DatasetIndex(Wire):
    """Where each image lies in the pack, ordered by class and then by name; its digest is the data set's."""

    pack: Sha256
    """The artefact that holds the images' files one after another."""
    labels: list[str]
    names: list[str]
    classes: list[int]
    """Of each image, as a position in `labels`."""
    offsets: list[int]
    """Of each image's first byte."""
    sizes: list[int]
    digests: list[Sha256]

    @model_validator(mode="after")
    def _require_equal_lengths(self) -> "DatasetIndex":
        columns = (self.names, self.classes, self.offsets, self.sizes, self.digests)
        if len({len(column) for column in columns}) != 1:
            raise ValueError("names, classes, offsets, sizes and digests must have one entry an image each")
        return self


class UploadedPiece(Wire):
    """What an upload of a piece returns: the digest to name it by."""

    sha256: Sha256
    size: int
    """Bytes of the piece."""
