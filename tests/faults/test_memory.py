"""A worker that has done many jobs is no larger than one that has done a few."""

import json

import psutil

from tests.faults.house import House, pid_of

MAX_GROWTH_BYTES = 8 * 1024 * 1024
"""Room for the allocator; a worker that kept each job's request and result would pass it at full size."""


def test_memory_of_a_worker_stays_flat(house: House, size, capsys):
    jobs = size(300, 2000)

    def run(count: int) -> dict[int, int]:
        rows = house.finish([house.submit() for _ in range(count)])
        runners = {pid_of(row["worker"]) for row in rows}
        mains = {worker.process.pid for worker in house.workers}
        return {pid: psutil.Process(pid).memory_info().rss for pid in runners | mains}

    house.gather()
    warm = run(60)
    last = run(jobs)
    grown = [last[pid] - warm[pid] for pid in warm]
    with capsys.disabled():
        print("\n" + json.dumps({"test": "memory", "jobs": jobs, "largest_growth_kib": max(grown) // 1024}))
    assert max(grown) < MAX_GROWTH_BYTES, grown
