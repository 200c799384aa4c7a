"""The states of a job and of a model version."""

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands; the last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Whether the job can never change again."""
        return self in TERMINAL


TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED})


class ModelState(StrEnum):
    """Where a version of a model or data set stands: being checked by a worker, ready for jobs, or refused."""

    CHECKING = "checking"
    READY = "ready"
    REFUSED = "refused"


class JobKind(StrEnum):
    """What a job does; each kind is one entry in the workers' table."""

    EXPLAIN = "explain"
    COMPARE = "compare"
    CHECK = "check"
    INGEST = "ingest"
    FIT = "fit"
    EVALUATE = "evaluate"
    SWEEP = "sweep"
    ABLATE = "ablate"
    RETRAIN = "retrain"
    MAXIMAL_PATCHES = "maximal_patches"
    REPRESENTATION_PCA = "representation_pca"
    PART_SHAPE_TEXTURE = "part_shape_texture"
    STRATEGIES = "strategies"
    EXPLAIN_DATA_SET = "explain_data_set"
    SELF_TEST = "self_test"


DATA_KINDS = (
    JobKind.FIT,
    JobKind.EVALUATE,
    JobKind.SWEEP,
    JobKind.ABLATE,
    JobKind.RETRAIN,
    JobKind.MAXIMAL_PATCHES,
    JobKind.REPRESENTATION_PCA,
    JobKind.PART_SHAPE_TEXTURE,
    JobKind.STRATEGIES,
    JobKind.EXPLAIN_DATA_SET,
)
"""Tasks over a data set."""


class Priority(StrEnum):
    """How urgent a job is: a worker takes the most urgent first, the oldest among equals."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """The number the ledger sorts by, the largest first."""
        return {Priority.LOW: 0, Priority.NORMAL: 5, Priority.HIGH: 9}[self]
