"""What can go wrong with the work itself, in words for the client.

WorkProblem
    InvalidImage    bytes that are no usable image
    InvalidModel    an architecture, option or weights file that makes no usable classifier
    InvalidDataset  a source that makes no usable data set
    DisabledMethod  a method that the operator has disabled
    MissingArtifact a fit, weights or the state of a part that is not in the store
    NothingExplained    a data set of which no image has a map
    TooLittleMemory     too large for this machine
"""

from typing import TYPE_CHECKING, ClassVar

from attribution_contracts.problems import ErrorCode

if TYPE_CHECKING:  # processes that judge a file need no store
    from storage.artifacts.store import ArtifactStore


class WorkProblem(Exception):
    """A failure whose message says what was given, what was expected and what to do."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class InvalidImage(WorkProblem):
    """The bytes are not an image that can be used."""

    code = ErrorCode.INVALID_IMAGE


class InvalidModel(WorkProblem):
    """No usable classifier comes out of the specification and its weights."""

    code = ErrorCode.INVALID_MODEL


class InvalidDataset(WorkProblem):
    """No usable data set comes out of the source."""

    code = ErrorCode.INVALID_DATASET


class DisabledMethod(WorkProblem):
    """The operator of this worker has disabled the method."""

    code = ErrorCode.METHOD_DISABLED


class MissingArtifact(WorkProblem):
    """An artefact that the work refers to is not in the store any more."""

    code = ErrorCode.STORE_UNAVAILABLE


class NothingExplained(WorkProblem):
    """No image of a data set could be explained."""

    code = ErrorCode.NO_IMAGE_EXPLAINED


class TooLittleMemory(WorkProblem):
    """The machine has too little memory for what was asked."""

    code = ErrorCode.OUT_OF_MEMORY


def absence(what: str, store: "ArtifactStore", remedy: str) -> str:
    """What is said of an artefact that the ledger knows and the store of this worker does not have."""
    return (
        f"{what} not in the artefact store of the worker that looked, {store.url}: where the gateway's is another, the "
        "operator sets ATTRIBUTION_ARTIFACT_URL (or ATTRIBUTION_DATA_DIR) alike for gateways and workers; else it was "
        f"deleted: {remedy}"
    )
