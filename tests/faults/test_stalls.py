"""A worker that stands still past its lease has lost its job, and nothing it does later changes that."""

import signal

from tests.faults.house import House, pid_of

LATE = ("lost to another worker while running", "was no longer ours")


def test_a_stopped_worker_is_overtaken_and_its_late_write_refused(house: House):
    house.gather()
    job_id = house.submit("sleep", seconds=1.0)
    stopped, stopped_pid = house.runner(job_id)
    stopped.send(signal.SIGSTOP)
    house.finish([job_id])
    row = house.row(job_id)
    assert (row["status"], row["attempt"], row["result_attempt"]) == ("succeeded", 2, 2)
    assert pid_of(row["worker"]) != stopped_pid
    assert row["body"]["provenance"]["worker"] == row["worker"]

    stopped.send(signal.SIGCONT)
    house.until(lambda: any(said_of(job_id, line) for line in stopped.log.read_text().splitlines()), "it notices")
    assert house.row(job_id) == row

    def works_again() -> bool:
        pair = [house.submit("sleep", seconds=0.5) for _ in house.workers]
        return stopped_pid in {pid_of(done["worker"]) for done in house.finish(pair)}

    house.until(works_again, "the stopped worker does later jobs")


def said_of(job_id: str, line: str) -> bool:
    return job_id in line and any(words in line for words in LATE)
