"""What an observer saw while jobs ran: the evidence that nothing was lost, done twice or changed after its end."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Engine, RowMapping, select

from attribution_contracts.states import TERMINAL
from storage.database import reading
from storage.tables import jobs, results

_ENDED = re.compile(r"job (\w+) attempt (\d+): succeeded in")
_REFUSED = re.compile(r"job (\w+): attempt (\d+) was no longer ours")


class Observer:
    """Remembers each job as it first was after its end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ends: dict[str, RowMapping] = {}

    def look(self) -> int:
        """Reads the ledger; how many jobs have ended.

        Raises:
            AssertionError: A job that had ended is another now.
        """
        query = select(jobs.c.id, jobs.c.status, jobs.c.version, jobs.c.attempt, jobs.c.worker, jobs.c.finished_at)
        with reading(self._engine) as connection:
            ended = connection.execute(query.where(jobs.c.status.in_(TERMINAL))).mappings().all()
        for row in ended:
            first = self._ends.setdefault(row["id"], row)
            assert first == row, f"{first} was final and became {row}"
        assert len(ended) == len(self._ends), "a job that had ended is gone"
        return len(ended)


@dataclass(frozen=True)
class Verdict:
    """What the ledger and the workers' logs say at the end."""

    lost: int
    """Jobs that did not succeed, or have no result."""
    double: int
    """Jobs of which two finishes were accepted, or whose result is another attempt's."""
    extra_executions: int
    """Attempts beyond the first of each job."""


def verdict(engine: Engine, job_ids: Collection[str], logs: str) -> Verdict:
    """Compares what was submitted with the ledger, and the ledger with what the workers logged."""
    query = select(jobs.c.id, jobs.c.status, jobs.c.attempt, results.c.attempt.label("kept")).outerjoin(results)
    with reading(engine) as connection:
        rows = {row.id: row for row in connection.execute(query)}
    refused = set(_REFUSED.findall(logs))
    finishes = Counter(job_id for job_id, attempt in _ENDED.findall(logs) if (job_id, attempt) not in refused)
    done = [rows[job_id] for job_id in job_ids if job_id in rows]
    return Verdict(
        lost=len(job_ids) - sum(row.status == "succeeded" and row.kept is not None for row in done),
        double=sum(finishes[row.id] > 1 or (row.kept is not None and row.kept != row.attempt) for row in done),
        extra_executions=sum(row.attempt - 1 for row in done),
    )
