"""The ledger's tables. Times are seconds since the epoch, UTC, by the database's clock; large things are artefacts."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    desc,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

DEFAULT_TENANT = "default"

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("status", String(16), nullable=False),
    Column("phase", String(16), nullable=False),  # run, wait (for children), merge
    Column("priority", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("method", String(64)),
    Column("request", JSON, nullable=False),
    Column("resolved", JSON),
    Column("labels", JSON, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("model_name", String(64)),
    Column("model_version", String(64)),
    Column("model_sha256", String(64)),
    Column("idempotency_key", String(255)),
    Column("idempotency_digest", String(64)),
    Column("cache_key", String(64)),
    Column("cached", Boolean, nullable=False),
    Column("batch_key", String(64)),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("worker", String(200)),
    Column("lease_until", Double),  # changes with every renewal; by its length reconcilers know how long to watch
    Column("lease_s", Double),
    Column("not_before", Double),  # of a job that waits before it is tried again, or a part whose split goes on
    Column("cancel_requested", Boolean, nullable=False),
    Column("progress_done", Integer, nullable=False),
    Column("progress_total", Integer, nullable=False),
    Column("progress_stage", String(64), nullable=False),
    Column("work_estimated", Double),
    Column("cost", JSON),
    Column("work_spent", Double),
    Column("trace_context", JSON),
    Column("parent_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE")),
    Column("shard_index", Integer),
    Column("children_total", Integer, nullable=False),
    Column("children_done", Integer, nullable=False),
    Column("children_failed", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("queued_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("deadline_at", Double),
    Column("expires_at", Double),
    Column("error", JSON),
    UniqueConstraint("tenant", "idempotency_key"),
    UniqueConstraint("parent_id", "shard_index"),
    Index("ix_jobs_next", "status", desc("priority"), "created_at", "id"),
    Index("ix_jobs_leases", "status", "lease_until"),
    Index("ix_jobs_deadlines", "status", "deadline_at"),
    Index("ix_jobs_recent", "tenant", "created_at", "id"),
    Index("ix_jobs_cache", "tenant", "cache_key"),
    Index("ix_jobs_ended", "finished_at"),
)

results = Table(
    "results",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("body", JSON, nullable=False),
)

job_labels = Table(
    "job_labels",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("value", String(200), nullable=False),
    Index("ix_job_labels_pair", "key", "value"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("media_type", String(100), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("details", JSON),  # of an image: width and height
    Column("created_at", Double, nullable=False),
)

job_artifacts = Table(
    "job_artifacts",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("role", String(16), primary_key=True),  # input, output, checkpoint
    Index("ix_job_artifacts_sha256", "sha256"),
)


def _versioned(name: str) -> Table:
    """A table of named things with versions: the specification, what a worker found, and digests."""
    return Table(
        name,
        metadata,
        Column("tenant", String(64), primary_key=True),
        Column("name", String(64), primary_key=True),
        Column("version", String(64), primary_key=True),
        Column("sha256", String(64), nullable=False),
        Column("artifact", String(64)),
        Column("state", String(16), nullable=False),
        Column("spec", JSON, nullable=False),
        Column("report", JSON),
        Column("error", JSON),
        Column("job_id", String(40)),
        Column("created_at", Double, nullable=False),
        Index(f"ix_{name}_sha256", "sha256"),
        Index(f"ix_{name}_listed", "tenant", "name", "created_at", "version"),
    )


models = _versioned("models")
datasets = _versioned("datasets")
fits = _versioned("fits")  # fitted decompositions and other things learnt from data, by the model's digest in `spec`

version_artifacts = Table(
    "version_artifacts",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("registry", String(16), primary_key=True),  # models, datasets, fits
    Column("name", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Index("ix_version_artifacts_sha256", "sha256"),
)
"""What a version needs for as long as it is there: weights and sets of images; index and pack."""

retired = Table(
    "retired",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("registry", String(16), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False),
)
"""What versions that were deleted had been: jobs were pinned to them by name, so none comes back as something else."""

turns = Table(
    "turns",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("next_at", Double, nullable=False),
)
"""What one of many processes does every so often: from when on it is anybody's again."""

workers = Table(
    "workers",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("seen_at", Double, nullable=False),
)
"""The workers that are there, whether or not they have a job."""
