"""The broker dies, forgets everything or holds garbage: it only carries wake-ups, so no job minds."""

import os
import signal
from urllib.parse import urlsplit

import redis

from attribution_contracts.queue import KEY_PREFIX, QUEUE
from tests.faults.house import House


def client(house: House) -> redis.Redis:
    return redis.Redis(unix_socket_path=urlsplit(house.broker.url).path)


def load(house: House, jobs: int) -> list[str]:
    return [house.submit("sleep", seconds=0.05, max_attempts=20) for _ in range(jobs)]


def test_a_killed_broker_delays_jobs_and_loses_none(house: House, size):
    before = load(house, size(30, 300))
    house.until(lambda: house.status(before[3]) == "succeeded", "the load runs")
    os.kill(house.broker.pid, signal.SIGKILL)
    house.until(lambda: not house.broker.is_running(), "the broker is dead")
    during = load(house, size(10, 100))
    assert all(house.status(job_id) == "queued" for job_id in during[-5:])
    house.broker.start()
    after = load(house, size(10, 100))
    rows = house.finish(before + during + after)
    assert {row["status"] for row in rows} == {"succeeded"}
    assert all(row["result_attempt"] == row["attempt"] for row in rows)


def test_a_flushed_broker_loses_wake_ups_and_no_job(house: House, size):
    job_ids = load(house, size(30, 300))
    house.until(lambda: house.status(job_ids[3]) == "succeeded", "the load runs")
    client(house).flushall()
    assert {row["status"] for row in house.finish(job_ids)} == {"succeeded"}


GARBAGE = (b"\x00\xff\xfe not json", b'{"body": "!!!", "headers": {}}', b"{}", b"[1, 2", b'{"body": 1}')


def test_garbage_in_the_queue_is_survived(house: House, size):
    for garbage in GARBAGE[: size(2, len(GARBAGE))]:
        client(house).rpush(KEY_PREFIX + QUEUE, garbage)  # the end from which workers take: it comes before the job
        job_id = house.submit()
        assert house.finish([job_id])[0]["status"] == "succeeded"
    house.until(lambda: client(house).llen(KEY_PREFIX + QUEUE) == 0, "a worker swallowed all of it")
