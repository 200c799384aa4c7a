"""Which ended jobs go: those older than the operator keeps, and the oldest where artefacts take more than he grants."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Engine, func, select, tuple_

from storage.database import reading, time_of
from storage.ledger.jobs import IS_ENDED
from storage.retention.deletion import family
from storage.retention.release import Freed
from storage.retention.remains import remains
from storage.tables import artifacts, job_artifacts, jobs, version_artifacts

PAGE = 100
"""Jobs that are deleted in one transaction."""


@dataclass(frozen=True)
class Limits:
    """What is kept of ended jobs; none is everything."""

    age_s: float | None = None
    bytes: int | None = None
    force: bool = False
    """Whether jobs go to make room also where no number of them makes enough."""

    def room(self, engine: Engine) -> int | None:
        """What jobs make room for; none where nothing was said, or where models and data sets alone need more."""
        if self.bytes is None or (not self.force and remains(engine).lasting > self.bytes):
            return None
        return self.bytes

    def ended_before(self, engine: Engine) -> float | None:
        """The time at which a job must have ended to be too old, by the ledger's clock."""
        return None if self.age_s is None else time_of(engine) - self.age_s


def ended(engine: Engine, *, since: float | None = None, before: float | None = None) -> Iterator[list[str]]:
    """Jobs that are parts of no other and that ended in a time, the earliest first, in pages."""
    last, key = (0.0 if since is None else since, ""), (jobs.c.finished_at, jobs.c.id)
    query = select(*key).where(IS_ENDED).order_by(*key).limit(PAGE)
    if before is not None:
        query = query.where(jobs.c.finished_at < before)
    while True:
        with reading(engine) as connection:
            page = connection.execute(query.where(tuple_(*key) > last)).all()
        if not page:
            return
        last = (page[-1].finished_at, page[-1].id)
        yield [row.id for row in page]


def stored_bytes(engine: Engine) -> int:
    """How much all artefacts take that the ledger knows of; the same bytes of two tenants are there once."""
    each = select(func.max(artifacts.c.size).label("size")).group_by(artifacts.c.sha256).subquery()
    with reading(engine) as connection:
        return int(connection.scalar(select(func.coalesce(func.sum(each.c.size), 0))) or 0)


class Forecast:
    """What would go with jobs if they were deleted one after another; nothing is written."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen = Counter[str]()

    def without(self, job_ids: list[str]) -> Iterator[Freed]:
        """What goes with each of the jobs, once those before it are gone."""
        whole = family(job_ids)
        mine = select(whole.c.root, job_artifacts.c.sha256).join(job_artifacts, job_artifacts.c.job_id == whole.c.id)
        with reading(self._engine) as connection:
            used = connection.execute(mine).all()
        by_job: dict[str, Counter[str]] = {job_id: Counter() for job_id in job_ids}
        for row in used:
            by_job[row.root][row.sha256] += 1
        everywhere, sizes = self._references({row.sha256 for row in used})
        for job_id in job_ids:
            gone = set[str]()
            for digest, count in by_job[job_id].items():
                self._seen[digest] += count
                if self._seen[digest] >= everywhere[digest]:
                    gone.add(digest)
            known = gone & sizes.keys()
            yield Freed(1, len(known), sum(sizes[digest] for digest in known))

    def _references(self, digests: set[str]) -> tuple[Counter[str], dict[str, int]]:
        """How often artefacts are referred to by anybody, and how large they are."""
        counts, sizes = Counter[str](), dict[str, int]()
        ordered = sorted(digests)
        with reading(self._engine) as connection:
            for start in range(0, len(ordered), 500):
                some = ordered[start : start + 500]
                for table in (job_artifacts, version_artifacts):
                    column = table.c.sha256
                    counted = select(column, func.count().label("count")).where(column.in_(some)).group_by(column)
                    counts.update({row[0]: row[1] for row in connection.execute(counted)})
                size = select(artifacts.c.sha256, func.max(artifacts.c.size)).where(artifacts.c.sha256.in_(some))
                sizes.update({row[0]: row[1] for row in connection.execute(size.group_by(artifacts.c.sha256))})
        return counts, sizes
