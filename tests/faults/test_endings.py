"""Other ways to end: cancelled, late, drained, and merged after losses."""

import signal
from collections.abc import Collection

from sqlalchemy import select

from storage.database import reading
from storage.ledger.jobs import cancel
from storage.tables import DEFAULT_TENANT, workers
from tests.faults.house import House, send


def stop(house: House, job_id: str) -> str:
    return cancel(house.engine, DEFAULT_TENANT, job_id).status


def test_a_running_job_stops_within_a_step_and_a_queued_one_at_once(house: House):
    house.gather()
    running = [house.submit("sleep", seconds=600) for _ in house.workers]
    for job_id in running:
        house.runner(job_id)
    queued = house.submit()
    assert stop(house, queued) == "cancelled"
    assert [stop(house, job_id) for job_id in running] == ["running"] * len(running)
    assert all(stop(house, job_id) in {"running", "cancelled"} for job_id in running)
    rows = house.finish(running)
    assert {(row["status"], row["attempt"], row["body"]) for row in rows} == {("cancelled", 1, None)}
    ended = [house.row(job_id) for job_id in (queued, *running)]
    assert [stop(house, job_id) for job_id in (queued, *running)] == ["cancelled"] * len(ended)
    assert [house.row(job_id) for job_id in (queued, *running)] == ended


def test_a_cancelled_job_of_a_lost_worker_is_not_run_again(house: House):
    job_id = house.submit("sleep", seconds=600)
    _, pid = house.runner(job_id)
    send(pid, signal.SIGKILL)
    stop(house, job_id)
    row = house.finish([job_id])[0]
    assert (row["status"], row["attempt"]) == ("cancelled", 1)


def test_a_split_job_survives_the_loss_of_a_worker_and_counts_each_child_once(house: House, size):
    children = size(40, 1000)
    job_id = house.submit("fan_out", children=children, max_attempts=20)
    house.until(lambda: house.row(job_id)["children_done"] >= children // 4, "a part of the children is done")
    for worker in house.workers:
        send(worker.process.pid, signal.SIGKILL)
    row = house.finish([job_id])[0]
    assert row["status"] == "succeeded"
    assert (row["children_done"], row["children_failed"]) == (children, 0)
    assert row["body"]["details"] == {"children": children}


def test_without_a_free_worker_a_job_expires_at_its_deadline_and_others_wait(house: House):
    house.gather()
    busy = [house.submit("sleep", seconds=600) for _ in house.workers]
    for job_id in busy:
        house.runner(job_id)
    late, patient = house.submit(deadline_s=0.5), house.submit(deadline_s=3600)
    row = house.finish([late])[0]
    assert (row["status"], row["attempt"], row["error"]["code"]) == ("expired", 0, "deadline_passed")
    assert house.status(patient) == "queued"
    for job_id in busy:
        stop(house, job_id)
    assert house.finish([patient])[0]["status"] == "succeeded"


def test_sigterm_lets_the_running_job_finish(house: House):
    job_id = house.submit("sleep", seconds=2.0)
    worker, _ = house.runner(job_id)
    worker.process.terminate()
    assert worker.process.wait(60) == 0
    row = house.row(job_id)
    assert (row["status"], row["attempt"]) == ("succeeded", 1)


def test_a_worker_without_a_job_is_there_until_it_ends(house: House):
    job_id = house.submit("sleep", seconds=1.0)
    worker, _ = house.runner(job_id)
    name = house.finish([job_id])[0]["worker"]
    house.until(lambda: name in there(house), "the worker has shown itself")
    worker.process.terminate()
    assert worker.process.wait(60) == 0
    assert name not in there(house)


def there(house: House) -> Collection[str]:
    with reading(house.engine) as connection:
        return connection.execute(select(workers.c.name)).scalars().all()
