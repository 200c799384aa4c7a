"""Several processes on one ledger."""

import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from sqlalchemy import Engine, func, select

from attribution_contracts.states import JobStatus
from storage.database import reading, writing
from storage.ledger.jobs import enter
from storage.tables import jobs, results
from tests.storage import in_processes
from tests.storage.helpers import new


def test_four_processes_claim_500_jobs_each_exactly_once(
    url: str, engine: Engine, processes: ProcessPoolExecutor
) -> None:
    asked = [new() for _ in range(500)]
    with writing(engine) as connection:
        for one in asked:
            enter(connection, one)
    start_at = time.time() + 0.5
    done = list(processes.map(in_processes.worked, [url] * 4, [start_at] * 4))
    assert Counter(job_id for share in done for job_id in share) == Counter(one.id for one in asked)
    assert all(done), "one process did all the work"
    with reading(engine) as connection:
        states = set(connection.execute(select(jobs.c.status, jobs.c.attempt, jobs.c.version)))
        assert states == {(JobStatus.SUCCEEDED.value, 1, 3)}
        assert connection.execute(select(func.count()).select_from(results)).scalar_one() == 500
