"""A worker that has done many jobs is no larger than one that has done a few."""

import psutil

from tests.faults.house import House, pid_of

MAX_GROWTH_BYTES = 8 * 1024 * 1024
"""Room for the allocator; a worker that kept each job's request and result would pass it at full size."""


def test_memory_of_a_worker_stays_flat(house: House, size):
    def run(jobs: int) -> dict[int, int]:
        rows = house.finish([house.submit() for _ in range(jobs)])
        runners = {pid_of(row["worker"]) for row in rows}
        mains = {worker.process.pid for worker in house.workers}
        return {pid: psutil.Process(pid).memory_info().rss for pid in runners | mains}

    house.gather()
    warm = run(60)
    last = run(size(300, 2000))
    grown = {pid: last[pid] - warm[pid] for pid in warm}
    assert max(grown.values()) < MAX_GROWTH_BYTES, grown
