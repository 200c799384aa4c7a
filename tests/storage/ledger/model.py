"""The ledger in plain Python: what `test_ledger_machine` compares the real one with."""

from dataclasses import dataclass, field

LIVE = {"queued", "running"}


@dataclass
class ModelJob:
    """A job as the rules say it should be."""

    id: str
    rank: int
    max_attempts: int
    is_late: bool = False
    parent: "ModelJob | None" = None
    status: str = "queued"
    phase: str = "run"
    attempt: int = 0
    cancel_requested: bool = False
    has_lease: bool = False
    is_lost: bool = False
    results: int = 0
    children: "list[ModelJob]" = field(default_factory=list)
    done: int = 0
    failed: int = 0

    def is_owned_by(self, attempt: int, phase: str) -> bool:
        return (self.status, self.attempt, self.phase) == ("running", attempt, phase) and self.has_lease


@dataclass
class ModelLedger:
    """Jobs in the order in which they were made."""

    jobs: dict[str, ModelJob] = field(default_factory=dict)

    def add(self, job: ModelJob) -> None:
        self.jobs[job.id] = job

    def live(self) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.status in LIVE]

    def claim(self, limit: int) -> list[ModelJob]:
        ready = [job for job in self.jobs.values() if job.status == "queued" and (not job.is_late or job.attempt)]
        taken = sorted(ready, key=lambda job: -job.rank)[:limit]
        for job in taken:
            job.status, job.attempt, job.has_lease, job.is_lost = "running", job.attempt + 1, True, False
        return taken

    def end(self, job: ModelJob, status: str) -> int:
        """Ends a job; returns how many merges that queues."""
        job.status, job.has_lease, job.is_lost = status, False, False
        job.results += status == "succeeded"
        parent = job.parent
        if parent is None or (parent.status, parent.phase) != ("running", "wait"):
            return 0
        parent.done, parent.failed = parent.done + 1, parent.failed + (status != "succeeded")
        return self.merge_if_last(parent)

    def merge_if_last(self, parent: ModelJob) -> int:
        if parent.done < len(parent.children):
            return 0
        parent.status, parent.phase = "queued", "merge"
        parent.max_attempts += parent.attempt
        return 1

    def requeue(self, job: ModelJob) -> None:
        job.status, job.has_lease, job.is_lost = "queued", False, False

    def try_again(self, job: ModelJob) -> int:
        """A retryable failure; returns how many workers to wake."""
        if job.attempt >= job.max_attempts:
            return self.end(job, "failed")
        if job.cancel_requested:
            return self.end(job, "cancelled")
        self.requeue(job)
        return 1

    def split(self, job: ModelJob, children: list[ModelJob]) -> int:
        if job.cancel_requested:
            return self.end(job, "cancelled")
        job.phase, job.has_lease, job.is_lost, job.children = "wait", False, False, children
        for child in children:
            self.add(child)
        return len(children) or self.merge_if_last(job)

    def cancel(self, job: ModelJob) -> None:
        if job.status not in LIVE:
            return
        is_waiting = job.phase == "wait"
        job.cancel_requested = True
        if job.status == "queued" or is_waiting:
            self.end(job, "cancelled")
        if is_waiting:
            for child in job.children:
                self.cancel(child)

    def recover(self) -> tuple[int, int, int, int, int]:
        lost = [job for job in self.jobs.values() if job.is_lost]
        late = [job for job in self.jobs.values() if job.status == "queued" and job.is_late and not job.attempt]
        told = [job for job in lost if job.cancel_requested]
        spent = [job for job in lost if not job.cancel_requested and job.attempt >= job.max_attempts]
        back = [job for job in lost if job not in told and job not in spent]
        merges = sum(self.end(job, "cancelled") for job in told) + sum(self.end(job, "failed") for job in spent)
        merges += sum(self.end(job, "expired") for job in late)
        for job in back:
            self.requeue(job)
        return len(back), len(spent), len(told), len(late), merges
