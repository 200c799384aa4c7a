"""Following a job to its end: server-sent events, and polling where they do not come."""

import math
import time
from collections.abc import Iterator

from pydantic import ValidationError

from attribution_client.session import Session, read, seconds_until_retry
from attribution_contracts.jobs import Job

POLL_S = 1.0
SILENCE_S = 45.0
"""After this long without even a heartbeat the stream is taken for dead."""


def states(session: Session, job_id: str, timeout: float | None) -> Iterator[Job]:
    """The job as it is now, and each newer state until the final one.

    Raises:
        TimeoutError: The job is not final after `timeout` seconds; it goes on all the same.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    job, pause = _polled(session, job_id)
    yield job
    while not job.status.is_terminal:
        for newer in _events(session, job, _left(job, deadline, timeout)):
            job = newer
            yield job
        if job.status.is_terminal:
            return
        time.sleep(min(pause, _left(job, deadline, timeout)))
        polled, pause = _polled(session, job_id)
        if polled.version != job.version:
            job = polled
            yield job


def _polled(session: Session, job_id: str) -> tuple[Job, float]:
    response = session.get(f"/v1/jobs/{job_id}")
    return read(Job, response), seconds_until_retry(response) or POLL_S


def _events(session: Session, job: Job, seconds: float) -> Iterator[Job]:
    """States newer than `job` until the final one, the end of the stream, or the end of the time."""
    ends_at = time.monotonic() + seconds
    headers = {"accept": "text/event-stream", "last-event-id": str(job.version)}
    lines = session.lines(f"/v1/jobs/{job.id}/events", read_timeout=min(seconds, SILENCE_S), headers=headers)
    for newer in _jobs(lines):
        if newer is not None and newer.version > job.version:
            yield newer
            if newer.status.is_terminal:
                return
        if time.monotonic() > ends_at:
            return


def _jobs(lines: Iterator[str]) -> Iterator[Job | None]:
    """The job that each event carries, and None for every line that ends none; a garbled event ends the stream."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:"))
        if line or not data:
            yield None
            continue
        try:
            yield Job.model_validate_json("\n".join(data), extra="ignore")
        except ValidationError:
            return
        data = []


def _left(job: Job, deadline: float | None, timeout: float | None) -> float:
    """Seconds that remain."""
    if deadline is None or timeout is None:
        return math.inf
    left = deadline - time.monotonic()
    if left <= 0:
        standing = f"job {job.id} is still {job.status.value} after {timeout:g} s"
        raise TimeoutError(f"{standing} and goes on: wait again, or cancel it")
    return left
